"""Backbones by the prefix ``timm:``: names, weights, and what is said where timm or its weights are not there."""

from __future__ import annotations

import ast
import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from bench.contracts import MissingData, UserError
from bench.models.backbones import RANDOM
from bench.registry import BACKBONES
from tests.support.files import ROOT

timm = pytest.importorskip("timm")


def test_backbone_by_prefix() -> None:
    info = BACKBONES["timm:resnet10t"]
    assert (info.mean, info.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.manual_seed(0)
    model, origin = info.build(False)
    torch.manual_seed(0)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), timm.create_model("resnet10t").parameters(), strict=True)
    )
    assert origin == RANDOM
    assert BACKBONES["timm:vit_base_patch16_224.augreg_in1k"].mean == (0.5, 0.5, 0.5)
    assert "timm:resnet10t" not in list(BACKBONES)


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet51d", "resnet50d"), ("convnext-tiny", "convnext_tiny"), ("resnet50d.ra3_in1k", "resnet50d.ra2_in1k")],
)
def test_wrong_names_show_the_closest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"unknown backbone 'timm:{name}'; did you mean .*{near}") as caught:
        BACKBONES[f"timm:{name}"]
    assert "\n" not in str(caught.value)


def test_absent_timm_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingData, match=r"needs timm: pip install -e '\.\[timm\]' \(or pip install timm\)"):
        BACKBONES["timm:resnet18"]


def test_weights_that_cannot_be_had_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timm.create_model

    def offline(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        if pretrained:
            raise FileNotFoundError("no connection\nat all")
        return real(name, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    model, origin = BACKBONES["timm:resnet10t"].build(True)
    assert isinstance(model, nn.Module)
    assert origin == f"{RANDOM} (weights of resnet10t are neither cached nor downloadable: no connection at all)"


def test_weights_are_loaded_as_timm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = timm.create_model, []

    def cached(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append((name, pretrained, arguments["num_classes"]))
        return real(name, **{key: value for key, value in arguments.items() if key != "dynamic_img_size"})

    monkeypatch.setattr(timm, "create_model", cached)
    _, origin = BACKBONES["timm:resnet10t.c3_in1k"].build(True)
    assert asked == [("resnet10t.c3_in1k", True, 1000)]
    assert origin == f"resnet10t.c3_in1k (timm {timm.__version__})"


@pytest.mark.parametrize("package", ["bench", "softcam", "baselines"])
def test_nothing_imports_timm_before_it_is_asked_for(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"timm"} & {getattr(node, "module", None), *names}, file
