"""Consistency: agreement of the sign of the evidence with the label.

These metrics need no mask, so they apply to every data set; shares are counted on the map's native grid.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from bench.maps import exact, finite
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"


@metric("positive_ratio", "consistency", ("native_maps",), True, (0, 1), _SOFTCAM, uses_zero=True)
def positive_ratio(maps: Tensor) -> Tensor:
    """Computes the share of cells above 0, on diseased images for the disease class: r⁺ of activation consistency.

    Source: arXiv:2505.17748.

    Args:
        maps: (N,h,w) raw, native grid.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.

    Example:
        >>> positive_ratio(torch.tensor([[[1.0, -1.0], [-2.0, 0.0]]]))
        tensor([0.2500])
    """
    return _share(maps > 0, maps)


@metric(
    "negative_ratio", "consistency", ("native_maps", "signed"), True, (0, 1), _SOFTCAM, images="healthy", uses_zero=True
)
def negative_ratio(maps: Tensor, signed: bool = True) -> Tensor:
    """Computes the share of cells below 0, on healthy images for the disease class: r⁻ of activation consistency.

    Source: arXiv:2505.17748.

    Args:
        maps: (N,h,w) raw, native grid.
        signed: False for a method that cannot express evidence against a class; the result is then nan.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.

    Example:
        >>> negative_ratio(torch.tensor([[[1.0, -1.0], [-2.0, 0.0]]]))
        tensor([0.5000])
    """
    share = _share(maps < 0, maps)
    return share if signed else torch.full_like(share, torch.nan)


@metric("false_alarm_area", "consistency", ("native_maps",), False, (0, 1), _SOFTCAM, images="healthy", uses_zero=True)
def false_alarm_area(maps: Tensor) -> Tensor:
    """Computes the share of cells above 0 on healthy images for the disease class: area that misleads a reader.

    Source: arXiv:2505.17748 (r⁺ of activation consistency, here on healthy images).

    Args:
        maps: (N,h,w) raw, native grid.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.

    Example:
        >>> false_alarm_area(torch.tensor([[[1.0, -1.0], [-2.0, 0.0]]]))
        tensor([0.2500])
    """
    return _share(maps > 0, maps)


@metric(
    "largest_evidence",
    "consistency",
    ("native_maps", "signed"),
    None,
    (-inf, inf),
    _SOFTCAM,
    images="healthy",
    uses_zero=True,
)
def largest_evidence(maps: Tensor, signed: bool = True) -> Tensor:
    """Returns the largest value on healthy images for the disease class: the strongest false alarm; below 0 = none.

    It is in the map's own unit (logits for SoftCAM evidence). Neither direction is better, and methods or heads whose
    maps have different scales cannot be compared by it.

    Args:
        maps: (N,h,w) raw, native grid.
        signed: False for a method whose maps cannot be below 0; the result is then nan.

    Returns:
        (N,), nan for a map that is not finite.

    Example:
        >>> largest_evidence(torch.tensor([[[1.0, -1.0], [-2.0, 0.0]]]))
        tensor([1.])
    """
    maps = exact(maps)
    largest = maps.amax(dim=(1, 2)).masked_fill(~finite(maps), torch.nan)
    return largest if signed else torch.full_like(largest, torch.nan)


def _share(cells: Tensor, maps: Tensor) -> Tensor:
    return cells.float().mean(dim=(1, 2)).masked_fill(~finite(maps), torch.nan)
