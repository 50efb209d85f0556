"""Weights by which maps are resampled, as matrices of plain numbers, so that a report draws maps without torch.

``bench.maps`` resamples the maps that are scored with the same weights.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Parameter of the cubic convolution kernel: that of torch and OpenCV.
_CUBIC = -0.75


class Grid(Protocol):
    """Places of the cells of a map in the image, for (rows, columns): cell i is centred at ``start + i·stride``.

    In pixels, where pixel p covers [p, p + 1) and its centre is p + ½.
    """

    @property
    def start(self) -> tuple[float, float]:
        """Centre of the first cell."""

    @property
    def stride(self) -> tuple[float, float]:
        """Distance between neighbouring centres."""


GridType = TypeVar("GridType", bound=Grid)


def drawn_by(grid: str, geometry: GridType | None, align: str) -> GridType | None:
    """Decides how maps are drawn on the image; everything that draws a map asks here.

    Args:
        grid: where the maps live, as ``bench.contracts.Explainer.grid`` states.
        geometry: of the classifier's feature map; None = unknown.
        align: ``receptive-field``, or ``grid`` for the convention everywhere.

    Returns:
        The geometry to draw them by; None for the convention, which divides the image evenly among the cells.
    """
    return geometry if grid == "features" and align == "receptive-field" else None


def drawn(maps: Floats, size: tuple[int, int], geometry: Grid | None = None) -> Floats:
    """Computes ``bench.maps.upsample`` of finite maps (N,h,w) of plain numbers: (N,H,W)."""
    axes = zip(maps.shape[1:], size, strict=True)
    if geometry is None:
        rows, columns = (cubic_weights(cells, side, side / cells / 2, side / cells) for cells, side in axes)
    else:
        places = zip(axes, geometry.start, geometry.stride, strict=True)
        rows, columns = (cubic_weights(*sides, start, stride) for sides, start, stride in places)
    found: Floats = rows @ maps @ columns.T
    return found


@lru_cache(maxsize=64)
def cubic_weights(cells: int, pixels: int, start: float, stride: float) -> Floats:
    """Weight (pixels,cells) of each cell in each pixel, by cubic convolution of the four nearest cells.

    Cells at the edge are repeated up to the border.
    """
    places = (np.arange(pixels) + 0.5 - start) / stride
    taps = np.floor(places)[:, None] + np.arange(-1, 3)
    distances = np.abs(places[:, None] - taps)
    near = ((_CUBIC + 2) * distances - (_CUBIC + 3)) * distances**2 + 1
    far = ((_CUBIC * distances - 5 * _CUBIC) * distances + 8 * _CUBIC) * distances - 4 * _CUBIC
    weights = np.zeros((pixels, cells))
    rows = np.broadcast_to(np.arange(pixels)[:, None], taps.shape)
    np.add.at(weights, (rows, taps.astype(int).clip(0, cells - 1)), np.where(distances <= 1, near, far))
    return weights


def area_weights(fine: int, borders: Floats) -> Floats:
    """Returns the share (c,fine) of each cell that each of the fine cells, which divide [0, 1] evenly, covers.

    Args:
        fine: number of fine cells.
        borders: (c+1,) of the cells, ascending; only what is inside [0, 1] counts.
    """
    edges = np.arange(fine + 1) / fine
    wide = borders.clip(0, 1)[:, None]
    shared = (np.minimum(wide[1:], edges[1:]) - np.maximum(wide[:-1], edges[:-1])).clip(min=0)
    width = wide[1:] - wide[:-1]
    found: Floats = np.divide(shared, width, out=np.zeros_like(shared), where=width > 0)
    return found


def coarser_weights(fine: int, coarse: int) -> Floats:
    """Returns ``area_weights`` of cells that divide [0, 1] evenly; an axis with no more cells is unchanged."""
    cells = min(fine, coarse)
    return area_weights(fine, np.arange(cells + 1) / cells)
