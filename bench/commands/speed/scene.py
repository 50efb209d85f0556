"""Networks, images and settings of the speed benchmark.

Networks are untrained and images are noise, so that neither data nor weights are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier
from bench.data.split import Split
from bench.errors import UserError
from bench.evaluation.predictor import fold_for_inference
from bench.models.factory import build_classifier
from bench.registry import HEADS

CLASSES = 2
Precision = Literal["float32", "bf16"]
Maker = Literal["limit", "ours", "peer"]


@dataclass(frozen=True)
class Setting:
    """Settings of one run of the command.

    Attributes:
        backbone: registered name.
        size: side of the images in pixels.
        batch: images per forward pass.
        images: number of images to occlude, explain and train on.
        repeats: timings of every task, after one that warms up.
        steps: number of steps K of the deletion curves.
        quick: whether memory, and explainers that need more than a batch of passes per map, are skipped.
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
        setting: the settings of the run.
        device: device that is measured.
        plain: the black box in float32 and torch's default layout, as a user of another library has it.
        blackbox: the folded copy of the black box that the harness explains and predicts with.
        softcam: the same for a SoftCAM.
        images: (N,3,H,W) normalised noise in the default layout.
        targets: (N,) classes, half of them class 1.
    """

    setting: Setting
    device: torch.device
    plain: Classifier
    blackbox: Classifier
    softcam: EvidenceClassifier
    images: Tensor
    targets: Tensor

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns at most ``count`` images (n,3,H,W) in channels_last, and their targets (n,)."""
        return self.images[:count].contiguous(memory_format=torch.channels_last), self.targets[:count]


@dataclass(frozen=True)
class Task:
    """A task that is timed.

    Attributes:
        group: group of the task in the table.
        what: name of the task in its group.
        run: runs the task once and returns the number of images.
        maker: "limit" for bare passes, "ours" for this project, "peer" for another library.
    """

    group: str
    what: str
    run: Callable[[], int]
    maker: Maker = "ours"

    @property
    def name(self) -> str:
        """Name that is unique in a run."""
        return f"{self.group}: {self.what}"


def make_scene(setting: Setting, device: torch.device) -> Scene:
    """Builds networks with random weights and images of noise, the same in every call.

    Raises:
        UserError: There is no such backbone, or SoftCAM does not fit it.
    """
    generator = torch.Generator().manual_seed(0)
    count = max(setting.images, setting.batch)
    images = torch.randn(count, 3, setting.size, setting.size, generator=generator).to(device)
    plain, plain_softcam = (_classifier(setting.backbone, head, device) for head in ("blackbox", "softcam-dense"))
    blackbox, softcam = (fold_for_inference(one, images[:1]) for one in (plain, plain_softcam))
    if not isinstance(softcam, EvidenceClassifier):
        raise UserError(f"backbone {setting.backbone!r} gives no class evidence; choose a backbone that SoftCAM fits")
    return Scene(setting, device, plain, blackbox, softcam, images, torch.arange(count, device=device) % CLASSES)


def synthetic_split(pixels: NDArray[np.uint8], classes: int) -> Split:
    """Wraps images (N,3,H,W) uint8 in a split without masks, with labels in turn."""
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
