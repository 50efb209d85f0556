"""Resizing and scaling of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.maps import area_average, blur_to_grid, finite, positive, upsample
from tests.oracles import bicubic, localisation


@pytest.mark.parametrize("size", [(33, 20), (7, 7), (5, 40)])
def test_upsample_is_the_written_out_bicubic(size):
    maps = torch.randn(3, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resized = upsample(maps, size)
    for image, ours in zip(maps, resized, strict=True):
        np.testing.assert_allclose(ours.numpy(), bicubic.resize(image.numpy(), *size), atol=1e-12)


def test_upsample_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    maps = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    for image, ours in zip(maps, upsample(maps, 512), strict=True):
        theirs = cv2.resize(image.numpy(), (512, 512), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3 * np.abs(theirs).max())


def test_upsample_to_its_own_size_changes_nothing():
    maps = torch.randn(2, 12, 10)
    assert torch.equal(upsample(maps, (12, 10)), maps)


def test_upsample_keeps_signs_and_is_not_scaled():
    maps = torch.full((1, 4, 4), -7.5)
    torch.testing.assert_close(upsample(maps, 32), torch.full((1, 32, 32), -7.5))


def test_positive_by_hand():
    maps = torch.tensor([[[-5.0, 0.0], [1.0, 4.0]], [[2.0, 4.0], [6.0, 10.0]]])
    expected = torch.tensor([[[0.0, 0.0], [0.25, 1.0]], [[0.0, 0.25], [0.5, 1.0]]])
    torch.testing.assert_close(positive(maps), expected)


def test_positive_is_the_oracle():
    maps = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for image, ours in zip(maps, positive(maps), strict=True):
        np.testing.assert_allclose(ours.numpy(), localisation.positive(image.numpy()), atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -3.0, 2.0])
def test_positive_without_contrast_is_zero(value):
    assert torch.equal(positive(torch.full((1, 3, 3), value)), torch.zeros(1, 3, 3))


def test_negative_evidence_stays_out():
    """Trap 2: abs() would make the strongest pixel of this map out of evidence against the class."""
    assert positive(torch.tensor([[[-9.0, 1.0]]])).tolist() == [[[0.0, 1.0]]]


def test_nan_spoils_its_own_map_only():
    maps = torch.rand(3, 4, 4)
    maps[1, 2, 2] = torch.nan
    scaled = positive(maps)
    assert scaled[1].isnan().all()
    assert scaled[[0, 2]].isfinite().all()
    assert finite(maps).tolist() == [True, False, True]
    assert not finite(torch.tensor([[[1.0, -torch.inf]]])).any()


@pytest.mark.parametrize("grid", [(4, 3), (5, 4), (12, 7), (1, 1)])
def test_area_average_is_the_mean_over_a_finely_cut_map(grid):
    """Every cell cut into as many parts as make whole numbers of both grids."""
    maps = torch.randn(2, 12, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for image, ours in zip(maps.numpy(), area_average(maps, grid), strict=True):
        cut = np.repeat(np.repeat(image, grid[0], axis=0), grid[1], axis=1)
        blocks = cut.reshape(grid[0], 12, grid[1], 10)
        np.testing.assert_allclose(ours, blocks.mean(axis=(1, 3)), atol=1e-12)


def test_area_average_makes_nothing_finer():
    maps = torch.randn(1, 6, 12)
    assert torch.equal(area_average(maps, (6, 20)), maps)
    torch.testing.assert_close(area_average(maps, (9, 4)), maps.view(1, 6, 4, 3).mean(dim=3))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("cells", [64, 16])
def test_blur_halves_the_finest_wave_of_the_grid(axis, cells):
    """Of one-pixel cells on 8 cells of 8 pixels; a map with cells of 4 pixels is taken to be as smooth as they are."""
    grid = (8, 64) if axis == 1 else (64, 8)
    wave = torch.cos(torch.pi * (torch.arange(64, dtype=torch.float64) + 0.5) / 8)
    maps = wave.view(-1, 1).expand(64, 64) if axis == 1 else wave.expand(64, 64)
    blurred = blur_to_grid(maps.unsqueeze(0), grid, (64, 64))[0]
    inner = blurred[24:40, 24:40] / maps[24:40, 24:40]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5 ** (1 - 1 / 64)), atol=0.01, rtol=0)
    coarse = area_average(maps.unsqueeze(0), (cells, cells))
    kept = blur_to_grid(coarse, grid, (64, 64))[0][24:40, 24:40] / upsample(coarse, 64)[0][24:40, 24:40]
    torch.testing.assert_close(kept, torch.full_like(kept, 0.5 ** (1 - (64 / cells) ** 2 / 64)), atol=0.02, rtol=0)


def test_blur_leaves_coarse_and_flat_maps_alone():
    maps = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(4))
    assert torch.equal(blur_to_grid(maps, (7, 7), (56, 56)), upsample(maps, 56))
    assert torch.equal(blur_to_grid(maps, (14, 9), (56, 56)), upsample(maps, 56))
    flat = torch.full((1, 56, 56), -2.5)
    torch.testing.assert_close(blur_to_grid(flat, (1, 1), (56, 56)), flat)
