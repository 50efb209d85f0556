"""Ten architectures go through ``evaluate``: found, cut, explained and scored, and left as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet
from torchvision.models.vision_transformer import VisionTransformer

from bench import evaluate
from bench.given.results.result import Result
from tests.bench.given.user_model import UserNet, same_state, state_of
from tests.support.tiny import small_vgg, timm_model

SIDE = 64
EXPLAINERS = ["gradcam", "saliency", "attention_rollout", "chefer", "legrad"]
OF_MAPS, OF_ATTENTION = {"gradcam"}, {"attention_rollout", "chefer", "legrad"}
METRICS = ["activation_precision", "pixel_auroc", "audc@zero"]
_VIT = {"img_size": SIDE, "depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": 2}
_SWIN = {"img_size": SIDE, "window_size": 4, "depths": (1, 1), "num_heads": (1, 2), "embed_dim": 16, "num_classes": 2}


class LikeTransformers(nn.Module):
    """A ViT as the library transformers has it: ``pixel_values`` in, an object with ``logits`` out, no stated cut."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=SIDE, num_labels=2)
        self.vit = timm_model("vit_tiny_patch16_224", **_VIT).blocks
        self.projection, self.cls = nn.Conv2d(3, 24, 16, 16), nn.Parameter(torch.randn(1, 1, 24))
        self.layernorm, self.classifier = nn.LayerNorm(24), nn.Linear(24, 2)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
        tokens = self.projection(pixel_values).flatten(2).transpose(1, 2)
        tokens = self.vit(torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1))
        return SimpleNamespace(logits=self.classifier(self.layernorm(tokens)[:, 0]), loss=labels)


def of_torchvision() -> nn.Module:
    """Its last layer would start as zero, and logits that depend on nothing have no explanation."""
    model = VisionTransformer(SIDE, 16, 2, 2, 24, 48, num_classes=2)
    nn.init.normal_(model.heads.head.weight)
    return model


def of_library() -> nn.Module:
    library = pytest.importorskip("transformers")
    config = library.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=SIDE, num_labels=2
    )
    return library.ViTForImageClassification(config)


@dataclass(frozen=True)
class Case:
    """A network, the explainers that it has maps of, and words of how it was read."""

    make: Callable[[], nn.Module]
    explained: set[str]
    found: str
    skipped: str = ""


_NONE = "the classifier has no attention between patches"
_TOKEN = "its logits depend on a class or register token, which is not part of the grid of patches"
_WINDOWS = "SwinTransformer attends within windows of 16 tokens, and not between all patches"
CASES = {
    "timm ViT": Case(lambda: timm_model("vit_tiny_patch16_224", **_VIT), OF_ATTENTION, "patch tokens", _TOKEN),
    "torchvision ViT": Case(of_torchvision, OF_ATTENTION, "layer 'encoder'", _TOKEN),
    "Swin": Case(lambda: timm_model("swin_tiny_patch4_window7_224", **_SWIN), OF_MAPS, "32 channels and 8×8", _WINDOWS),
    "timm CNN": Case(lambda: timm_model("test_efficientnet", num_classes=2), OF_MAPS, "2×2 cells", _NONE),
    "VGG": Case(small_vgg, OF_MAPS, "10 logits", _NONE),
    "DenseNet": Case(lambda: DenseNet(8, (2, 2), 8, num_classes=2), OF_MAPS, "8×8 cells", _NONE),
    "one output": Case(lambda: UserNet(outputs=1), OF_MAPS, "one logit z in a tensor, read as two classes", _NONE),
    "one channel": Case(lambda: UserNet(channels=1), OF_MAPS, "2 logits in a tensor, one channel", _NONE),
    "like transformers": Case(LikeTransformers, OF_ATTENTION, "2 logits in attribute 'logits'", _TOKEN),
    "transformers": Case(of_library, OF_ATTENTION, "2 logits in attribute 'logits'", _TOKEN),
}


def squares() -> tuple[Tensor, Tensor, Tensor]:
    """Images (6,3,64,64) in [0, 1] with masks and labels: every second image holds a bright square."""
    draw = torch.Generator().manual_seed(0)
    images = (torch.rand(6, 3, SIDE, SIDE, generator=draw) * 127).round() / 255
    masks, labels = torch.zeros(6, SIDE, SIDE, dtype=torch.bool), torch.arange(6) % 2
    for place in (1, 3, 5):
        masks[place, 8 * place : 8 * place + 20, 16:36] = True
        images[place][:, masks[place]] = 230 / 255
    return images, masks, labels


@cache
def evaluated(kind: str) -> tuple[Result, bool]:
    """The result of a network with random weights, and whether it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CASES[kind].make().train()
    before = state_of(model)
    quick: dict[str, Any] = {"steps": 2, "gallery": 1, "smallest_grid": 2}
    images, masks, labels = squares()
    result = evaluate(model, images, masks, labels, EXPLAINERS, METRICS, mean=0, std=1, explain=quick)
    return result, same_state(state_of(model), before)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.filterwarnings("ignore:.*at chance")
def test_an_architecture_is_evaluated(kind: str) -> None:
    case, (result, unchanged) = CASES[kind], evaluated(kind)
    assert unchanged
    assert result.problems == []
    assert case.found in repr(result)
    scores = result.scores[result.scores["head"] == "given"]
    controls = {"random", "mask_oracle", "grid_oracle"}
    assert set(scores["explainer"]) == {"saliency", *case.explained, *controls}
    for name in ("saliency", *case.explained):
        rows = scores[(scores["explainer"] == name) & (scores["label"] == 1)].pivot_table(
            index="image", columns="metric", values="value"
        )
        assert len(rows) == 3, "a score for every diseased image"
        assert np.isfinite(rows[["pixel_auroc", "activation_precision", "audc@zero"]]).all(axis=None)
        assert rows["pixel_auroc"].between(0, 1).all()
        assert rows["pixel_auroc"].nunique() > 1


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.filterwarnings("ignore:.*at chance")
def test_what_does_not_apply_is_skipped_with_the_reason(kind: str) -> None:
    case, (result, _) = CASES[kind], evaluated(kind)
    (record,) = [one for key, one in zip(result.frames.record.cells, result.frames.cells["record"], strict=True)
                 if key.head == "given"]  # fmt: skip
    skipped = {name: one.reason for name, one in record.explainers.items() if one.status == "skipped"}
    assert set(skipped) == (OF_MAPS | OF_ATTENTION) - case.explained
    assert set(skipped.values()) == {case.skipped}
