"""The scripts behind docs/performance.md: their arithmetic, on closed forms."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.files import ROOT

pytestmark = pytest.mark.slow


def script(name: str) -> ModuleType:
    file = ROOT / "docs" / "measurements" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_growth_is_the_exponent() -> None:
    growth = script("scaling").growth
    x = [1.0, 2.0, 4.0, 8.0]
    assert growth(x, [3 * value**2 for value in x]) == pytest.approx((2, 0), abs=1e-9)
    slope, error = growth(x, [1.0, 4.0, 4.0, 16.0])  # log2: 0 2 2 4 over 0 1 2 3
    assert slope == pytest.approx(1.2)
    assert error == pytest.approx(np.sqrt((0.2**2 + 0.6**2 + 0.6**2 + 0.2**2) / 2 / 5))


def test_reached_share_is_that_of_the_receptive_field() -> None:
    """A 3×3 convolution widens a 4×4 patch to 6×6; one of stride 2 behind it sees it from 4×4 of its 8×8 cells."""
    shares = script("incremental").shares
    network = nn.Sequential()
    network.a, network.norm, network.b = nn.Conv2d(3, 5, 3, 1, 1), nn.BatchNorm2d(5), nn.Conv2d(5, 7, 3, 2, 1)
    mask = torch.zeros(1, 3, 16, 16)
    mask[..., 4:8, 4:8] = 1
    found = shares(network.eval(), mask)
    assert found["a"] == pytest.approx(36 / 256)
    assert found["b"] == pytest.approx(16 / 64)  # pixels 3 to 8 lie in the windows around 2, 4, 6 and 8
    weights = {"a": 5 * 27 * 256, "b": 7 * 45 * 64}
    assert found["all"] == pytest.approx(sum(found[name] * weights[name] for name in weights) / sum(weights.values()))


def test_masks_follow_the_order() -> None:
    """31 pixels have patches of 2, 16 in a row: patch 17 is the second of the second row."""
    mask = script("incremental").patch_mask(torch.tensor([[5, 17, 1]]), 31, 1, 2)
    expected = torch.zeros(1, 3, 31, 31)
    expected[..., 2:4, 2:4] = 1
    assert torch.equal(mask, expected)
