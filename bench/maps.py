"""Resampling and scaling of maps.

It is the only module that alters maps, so that everywhere else a map is raw: signed and unscaled, as its method
returned it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.plain.interpolation import Floats, Grid, area_weights, coarser_weights, cubic_weights
from bench.plain.interpolation import drawn_by as drawn_by

#: Standard deviation, in cells, of the Gaussian that halves the amplitude at the highest frequency that a grid can
#: represent (one wave in two cells): √(2 ln 2) / π.
_HALF_AT_NYQUIST = math.sqrt(2 * math.log(2)) / math.pi
_SHORT = (torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16)
_LARGE, _LARGEST = 1e30, 1e200


def upsample(maps: Tensor, size: int | tuple[int, int], geometry: Grid | None = None) -> Tensor:
    """Resizes maps (N,h,w) to (N,H,W) by bicubic interpolation, without corner alignment and without antialiasing.

    The cubic overshoots: next to a steep edge it creates small values of the other sign, and values beyond the map's
    range.

    Args:
        maps: (N,h,w) float.
        size: (H,W), or one number for a square; it may be smaller than the map.
        geometry: draws each cell at its own centre and repeats the edge cells up to the border; a non-finite cell
            spoils its whole map. None divides the image evenly, cell i at (i + ½)·H/h, agrees with OpenCV's
            ``INTER_CUBIC`` up to rounding, and a non-finite cell spoils its neighbourhood.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if geometry is None:
        return F.interpolate(maps.unsqueeze(1), (height, width), mode="bicubic", align_corners=False).squeeze(1)
    rows, columns = (
        _cubic_weights(cells, pixels, start, stride).to(maps)
        for cells, pixels, start, stride in zip(
            maps.shape[1:], (height, width), geometry.start, geometry.stride, strict=True
        )
    )
    return rows @ maps @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve gradients too
def _cubic_weights(cells: int, pixels: int, start: float, stride: float) -> Tensor:
    return torch.from_numpy(cubic_weights(cells, pixels, start, stride))


def area_average(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Averages maps (N,h,w) over each cell of a coarser grid (g,k) to (N,g,k); cut cells count by their area.

    An axis that has no more cells than the grid is unchanged. Positive and negative values cancel inside a cell.
    """
    sides = zip(maps.shape[1:], grid, strict=True)
    rows, columns = (torch.from_numpy(coarser_weights(cells, coarse)) for cells, coarse in sides)
    return rows.to(maps) @ maps @ columns.to(maps).T


def cell_average(maps: Tensor, grid: tuple[int, int], size: tuple[int, int], geometry: Grid) -> Tensor:
    """Averages maps (N,h,w) over the part of the image that is nearest to each cell of a geometry, to (N,g,k).

    The cells share the whole image: borders are halfway between neighbouring centres, and edge cells reach the border,
    as ``upsample`` draws them. A cell that has no part, because it looks outside the image, becomes 0.

    Args:
        maps: (N,h,w) float, whose cells divide the image evenly; (N,H,W) for pixels.
        grid: (g,k) cells of the geometry.
        size: (H,W) of the image.
        geometry: places of these cells.
    """
    rows, columns = (
        torch.from_numpy(area_weights(fine, _borders(cells, start, stride) / pixels))
        for fine, cells, pixels, start, stride in zip(
            maps.shape[1:], grid, size, geometry.start, geometry.stride, strict=True
        )
    )
    return rows.to(maps) @ maps @ columns.to(maps).T


def _borders(cells: int, start: float, stride: float) -> Floats:
    """Returns the borders (cells+1,) between the cells of an axis in pixels; the outer ones are infinite."""
    inner = start + stride * (np.arange(1, cells) - 0.5)
    return np.array([-np.inf, *inner, np.inf])


def blur_to_grid(maps: Tensor, grid: tuple[int, int], size: tuple[int, int], geometry: Grid | None = None) -> Tensor:
    """Upsamples maps (N,h,w) to (H,W) and blurs them to the smoothness of maps on a coarser grid (g,k).

    A grid with cells of c pixels represents waves down to 2c pixels; its smoothness is that of a Gaussian that halves
    their amplitude, σ = 0.375 c. A map with cells of b pixels has 0.375 b already, and variances add:
    σ² = 0.375² (c² - b²). Hence nothing is blurred along an axis that has no more cells than the grid. The Gaussian is
    mirrored at the border and cut off at 3σ.

    Args:
        maps: (N,h,w) float.
        grid: (g,k) cells.
        size: (H,W) of the image.
        geometry: of ``maps``, which draws them; see ``upsample``.

    Returns:
        (N,H,W)
    """
    from torchvision.transforms.functional import (
        gaussian_blur,
    )  # not at the top: it takes seconds to import, and a report does not need it

    blurred = upsample(maps, size, geometry)
    for axis, (cells, coarse, side) in enumerate(zip(maps.shape[1:], grid, size, strict=True)):
        variance = (side / coarse) ** 2 - (side / cells) ** 2
        if variance > 0:
            sigma = _HALF_AT_NYQUIST * math.sqrt(variance)
            width = 2 * min(math.ceil(3 * sigma), side - 1) + 1
            blurred = gaussian_blur(blurred, [width, 1] if axis else [1, width], [sigma, sigma])
    return blurred


def positive(maps: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Scales the evidence for the class to [0, 1] per image: ReLU, then ``(x - min) / (max - min)``.

    A map without positive values, or one that is constant after the ReLU (it has no contrast to scale), becomes zero.
    A map with a NaN or an infinity becomes NaN, everywhere or where it is infinite; see ``finite``.

    Args:
        maps: (N,H,W) float, signed.
        ignored: (N,H,W) bool, pixels whose values must not matter: they become 0 and do not enter the min and max.
    """
    evidence = maps.relu()
    if ignored is not None:
        lowest_counted = torch.where(ignored, torch.inf, evidence).amin(dim=(1, 2), keepdim=True)
        evidence = torch.where(ignored, lowest_counted, evidence)
    lowest = evidence.amin(dim=(1, 2), keepdim=True)
    span = evidence.amax(dim=(1, 2), keepdim=True) - lowest
    return torch.where(span == 0, torch.zeros_like(evidence), (evidence - lowest) / span)


def finite(maps: Tensor) -> Tensor:
    """Returns (N,) bool for maps (N,...): False for a map with a NaN or an infinity, where no metric is defined."""
    return maps.isfinite().flatten(1).all(dim=1)


def exact(values: Tensor) -> Tensor:
    """Converts numbers of any real type to one in which the sums of metrics neither overflow nor lose digits.

    Half precision, booleans and integers of up to 16 bits become float32, longer integers float64. float32 stays unless
    a finite value is beyond ±1e30, in which case it becomes float64. float64 stays.

    Raises:
        ValueError: the values are complex, or a finite one is beyond ±1e200.

    Example:
        >>> exact(torch.tensor([3e38])).sum() + 3e38
        tensor(6.0000e+38, dtype=torch.float64)
    """
    if values.is_complex():
        raise ValueError(f"values are {values.dtype}; real numbers are expected, such as their absolute values")
    if values.dtype in _SHORT:
        return values.float()
    if not values.is_floating_point():
        return values.double()
    peak = values.detach().abs().nan_to_num(0, 0, 0).max().item() if values.numel() else 0.0
    if peak > _LARGEST:
        raise ValueError(f"a value is {peak:.3g}, the largest that metrics take is {_LARGEST:g}; scale the values down")
    return values.double() if peak > _LARGE else values
