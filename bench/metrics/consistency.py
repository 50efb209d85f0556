"""Does the sign of the evidence agree with the label? No mask needed; shares are counted on the map's native grid."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from bench.maps import finite
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"


@metric("positive_ratio", "consistency", ("native_maps",), True, (0, 1), _SOFTCAM)
def positive_ratio(maps: Tensor) -> Tensor:
    """Share of cells above 0, read on diseased images for the disease class: r⁺ of the activation consistency.

    Source: arXiv:2505.17748.

    Args:
        maps: (N,h,w) raw, native grid.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.
    """
    return _share(maps > 0, maps)


@metric("negative_ratio", "consistency", ("native_maps", "signed"), True, (0, 1), _SOFTCAM, images="healthy")
def negative_ratio(maps: Tensor, signed: bool = True) -> Tensor:
    """Share of cells below 0, read on healthy images for the disease class: r⁻ of the activation consistency.

    Source: arXiv:2505.17748.

    Args:
        maps: (N,h,w) raw, native grid.
        signed: False for a method that cannot speak against a class: nan.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.
    """
    share = _share(maps < 0, maps)
    return share if signed else torch.full_like(share, torch.nan)


@metric("false_alarm_area", "consistency", ("native_maps",), False, (0, 1), _SOFTCAM, images="healthy")
def false_alarm_area(maps: Tensor) -> Tensor:
    """Share of cells above 0 on healthy images for the disease class: where a reader would look for nothing.

    Args:
        maps: (N,h,w) raw, native grid.

    Returns:
        (N,) in [0, 1], nan for a map that is not finite.
    """
    return _share(maps > 0, maps)


@metric("largest_evidence", "consistency", ("native_maps", "signed"), None, (-inf, inf), _SOFTCAM, images="healthy")
def largest_evidence(maps: Tensor, signed: bool = True) -> Tensor:
    """Largest value on healthy images for the disease class: the strongest false alarm; below 0 = none anywhere.

    In the map's own unit (logits for SoftCAM evidence), so that neither direction is better and methods or heads whose
    maps have different scales cannot be compared by it.

    Args:
        maps: (N,h,w) raw, native grid.
        signed: False for a method whose maps cannot say that there is none: nan.

    Returns:
        (N,), nan for a map that is not finite.
    """
    largest = maps.amax(dim=(1, 2)).masked_fill(~finite(maps), torch.nan)
    return largest if signed else torch.full_like(largest, torch.nan)


def _share(cells: Tensor, maps: Tensor) -> Tensor:
    return cells.float().mean(dim=(1, 2)).masked_fill(~finite(maps), torch.nan)
