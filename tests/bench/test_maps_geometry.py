"""Maps whose cells are drawn where they look: the oracle, the convention as a special case, peaks and borders."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.maps import area_average, blur_to_grid, cell_average, drawn_by, upsample
from tests.oracles import bicubic
from tests.oracles import cells as nearest


class Cells(NamedTuple):
    start: tuple[float, float]
    stride: tuple[float, float]


def random_maps(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def convention(grid: tuple[int, int], size: tuple[int, int]) -> Cells:
    rows, columns = (pixels / cells for cells, pixels in zip(grid, size, strict=True))
    return Cells((rows / 2, columns / 2), (rows, columns))


@pytest.mark.parametrize("size", [(28, 36), (30, 17), (6, 5), (3, 40)])
@pytest.mark.parametrize("cells", [Cells((0.5, 3.25), (4, 4)), Cells((-5, 9.5), (3.7, 8)), Cells((31.5, 0), (8, 2))])
def test_cells_are_drawn_as_the_oracle_does(size: tuple[int, int], cells: Cells) -> None:
    maps = random_maps(2, 7, 9)
    for image, ours in zip(maps, upsample(maps, size, cells), strict=True):
        np.testing.assert_allclose(ours.numpy(), bicubic.draw(image.numpy(), size, *cells), atol=1e-12)


@pytest.mark.parametrize("size", [(28, 36), (64, 31), (4, 20), (7, 9)])
def test_the_convention_is_a_geometry(size: tuple[int, int]) -> None:
    for maps in (random_maps(3, 7, 9), random_maps(3, 7, 9).float(), random_maps(3, 1, 1)):
        ours = upsample(maps, size, convention((maps.shape[1], maps.shape[2]), size))
        rounding = 1e-12 if maps.dtype == torch.float64 else 1e-5  # torch places pixels in the precision of the map
        torch.testing.assert_close(ours, upsample(maps, size), rtol=0, atol=rounding)
        assert ours.dtype == maps.dtype


def test_without_a_geometry_nothing_has_changed() -> None:
    maps = random_maps(2, 7, 9, dtype=torch.float32)
    before = F.interpolate(maps[:, None], (50, 41), mode="bicubic", align_corners=False)[:, 0]
    assert torch.equal(upsample(maps, (50, 41)), before)
    assert torch.equal(upsample(maps, (50, 41), None), before)


@pytest.mark.parametrize("start", [0.5, 4.5, 7.5, -2.5])
def test_a_single_inner_cell_peaks_at_its_centre(start: float) -> None:
    cells = Cells((start, start + 1), (8, 4))
    for row, column in ((1, 2), (3, 1), (2, 4)):
        maps = torch.zeros(1, 5, 6)
        maps[0, row, column] = 1
        drawn = upsample(maps, (40, 30), cells)[0]
        y, x = divmod(int(drawn.argmax()), 30)
        assert (y + 0.5, x + 0.5) == (start + 8 * row, start + 1 + 4 * column)
        assert drawn.max() == pytest.approx(1)


def test_edge_cells_reach_the_border() -> None:
    maps = random_maps(1, 3, 3)
    drawn = upsample(maps, 64, Cells((20, 20), (4, 4)))[0]
    for corner, cell in ((drawn[:9, :9], maps[0, 0, 0]), (drawn[40:, 40:], maps[0, 2, 2])):
        torch.testing.assert_close(corner, cell.expand_as(corner))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_maps_stay_constant(dtype: torch.dtype) -> None:
    maps = torch.full((2, 4, 5), -7.5, dtype=dtype)
    torch.testing.assert_close(upsample(maps, (33, 20), Cells((0.5, 15.5), (8, 8))), maps.new_full((2, 33, 20), -7.5))


def test_drawing_is_differentiable_and_linear() -> None:
    maps = random_maps(1, 4, 5).requires_grad_()
    with torch.inference_mode():
        upsample(maps, (9, 11), Cells((0.5, 1), (3, 2.5)))  # its weights are kept
    assert torch.autograd.gradcheck(lambda one: upsample(one, (9, 11), Cells((0.5, 1), (3, 2.5))), (maps,))


def test_a_cell_that_is_not_finite_spoils_its_own_map_only() -> None:
    maps = random_maps(3, 4, 5)
    maps[1, 2, 2] = torch.nan
    finite = upsample(maps, 20, Cells((0.5, 0.5), (5, 4))).isfinite().flatten(1)
    assert finite.all(dim=1).tolist() == [True, False, True]
    assert not finite[1].any()


# --- Averages over the cells, and the decision by which grid a map is drawn ------------------------------------------


@pytest.mark.parametrize(
    "cells", [Cells((0.5, 3.25), (4, 4)), Cells((-6, 9.5), (3.75, 8)), Cells((7.5, 0), (8, 2)), Cells((2, 2), (4, 4))]
)
def test_cell_average_is_the_mean_of_the_nearest_points(cells: Cells) -> None:
    images = random_maps(2, 16, 12)
    for image, ours in zip(images, cell_average(images, (4, 3), (16, 12), cells), strict=True):
        np.testing.assert_allclose(ours.numpy(), nearest.average(image.numpy(), (4, 3), *cells), atol=1e-12)


def test_cell_average_of_an_even_grid_is_the_area_average() -> None:
    maps = random_maps(2, 16, 12)
    even = convention((4, 3), (16, 12))
    torch.testing.assert_close(cell_average(maps, (4, 3), (16, 12), even), area_average(maps, (4, 3)))
    coarse = area_average(maps, (8, 6))  # as a map of fewer cells on the same image
    torch.testing.assert_close(cell_average(coarse, (4, 3), (16, 12), even), area_average(maps, (4, 3)))


def test_only_feature_maps_have_a_geometry_and_only_if_it_is_asked_for() -> None:
    cells = Cells((0.5, 0.5), (8, 8))
    assert drawn_by("features", cells, "receptive-field") is cells
    assert drawn_by("features", None, "receptive-field") is None
    assert drawn_by("features", cells, "grid") is None
    assert drawn_by("pixels", cells, "receptive-field") is None


def test_blur_draws_by_the_geometry() -> None:
    maps, cells = random_maps(2, 4, 4), Cells((0.5, 0.5), (8, 8))
    assert torch.equal(blur_to_grid(maps, (4, 4), (32, 32), cells), upsample(maps, 32, cells))
