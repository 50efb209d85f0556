"""What is measured on: untrained networks and made images, so that neither data nor weights are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier, UserError
from bench.data.split import Split
from bench.evaluation.predictor import fold_for_inference
from bench.models.factory import build_classifier
from bench.registry import HEADS

CLASSES = 2
Precision = Literal["float32", "bf16"]
Maker = Literal["limit", "ours", "peer"]


@dataclass(frozen=True)
class Setting:
    """What one run of the command measures.

    Attributes:
        backbone: registered name. size: side of the images in pixels. batch: images a forward pass.
        images: how many are occluded, explained and trained on.
        repeats: timings of every task, after one that warms up.
        steps: K of the deletion curves.
        quick: leave out explainers that take more than a batch of passes a map, and the memory.
    """

    backbone: str = "resnet18"
    size: int = 128
    batch: int = 16
    images: int = 16
    repeats: int = 3
    steps: int = 30
    quick: bool = False


@dataclass(frozen=True)
class Scene:
    """Networks and images of one setting on one device.

    Attributes:
        plain: the black box in float32 as a user of another library has it: torch's default layout.
        blackbox, softcam: the copies that the harness explains and scores with.
        images: (N,3,H,W) normalised noise in the default layout. targets: (N,), half of them class 1.
    """

    setting: Setting
    device: torch.device
    plain: Classifier
    blackbox: Classifier
    softcam: EvidenceClassifier
    images: Tensor
    targets: Tensor

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """The first images (n,3,H,W), channels_last, and targets (n,); fewer where there are fewer."""
        return self.images[:count].contiguous(memory_format=torch.channels_last), self.targets[:count]


@dataclass(frozen=True)
class Task:
    """One piece of work that is timed.

    Attributes:
        work: the group it stands in. what: its name in that group.
        run: does it once -> how many images that were.
        maker: a bare limit, this project, or another library.
    """

    work: str
    what: str
    run: Callable[[], int]
    maker: Maker = "ours"

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.work}: {self.what}"


def make_scene(setting: Setting, device: torch.device) -> Scene:
    """Networks with random weights and images of noise, the same at every call.

    Raises:
        UserError: there is no such backbone, or no SoftCAM can stand on it.
    """
    generator = torch.Generator().manual_seed(0)
    count = max(setting.images, setting.batch)
    images = torch.randn(count, 3, setting.size, setting.size, generator=generator).to(device)
    plain, plain_softcam = (_classifier(setting.backbone, head, device) for head in ("blackbox", "softcam-dense"))
    blackbox, softcam = (fold_for_inference(one, images[:1]) for one in (plain, plain_softcam))
    if not isinstance(softcam, EvidenceClassifier):
        raise UserError(f"backbone {setting.backbone!r} gives no class evidence")
    return Scene(setting, device, plain, blackbox, softcam, images, torch.arange(count, device=device) % CLASSES)


def made_split(pixels: NDArray[np.uint8], classes: int) -> Split:
    """Images (N,3,H,W) uint8 as a split without masks, labels in turn."""
    names = tuple(map(str, range(len(pixels))))
    return Split(
        name="made",
        images=pixels,
        labels=np.arange(len(pixels)) % classes,
        masks=None,
        has_mask=np.zeros(len(pixels), dtype=bool),
        fov=None,
        ignored=None,
        ids=names,
        groups=names,
        classes=tuple(map(str, range(classes))),
        excluded=(),
        digest="",
    )


def _classifier(backbone: str, head: str, device: torch.device) -> Classifier:
    names = ("speed", backbone, head, 0)
    classifier, _ = build_classifier(names, HEADS[head](), CLASSES, pretrained=False)
    return classifier.to(device).eval().requires_grad_(False)
