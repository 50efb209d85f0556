"""Complexity: concentration of the positive evidence.

Neither direction is better, because a large lesion needs a large map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.maps import exact, finite
from bench.registry import metric


@metric("gini", "complexity", ("maps",), None, (0, 1), "arXiv:1810.06583", images="all", uses_zero=True)
def gini(maps: Tensor) -> Tensor:
    """Computes the Gini index of the positive evidence over pixels: 0 = uniform, near 1 = all in one pixel.

    Source: arXiv:1810.06583.
    Deviation: the positive part is used, not absolute values, which would count evidence against the class as
        evidence for it.

    Args:
        maps: (N,H,W) raw.

    Returns:
        (N,) in [0, 1), nan without positive evidence and for a map that is not finite.

    Example:
        >>> gini(torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]))
        tensor([0.7500])
    """
    share = _shares(maps).sort(dim=1).values
    pixels = share.shape[1]
    weight = torch.arange(1 - pixels, pixels, 2, device=maps.device, dtype=share.dtype)  # 2·rank − P − 1
    return ((share * weight).sum(dim=1) / pixels).clamp(min=0)  # rounding


@metric("entropy", "complexity", ("maps",), None, (0, 1), "arXiv:2005.00631", images="all", uses_zero=True)
def entropy(maps: Tensor) -> Tensor:
    """Computes the Shannon entropy of the positive evidence over pixels, as a share of the maximum: 1 = uniform.

    Source: arXiv:2005.00631 (complexity).
    Deviation: the positive part is used, and the entropy is divided by log(H·W).

    Args:
        maps: (N,H,W) raw.

    Returns:
        (N,) in [0, 1], nan without positive evidence and for a map that is not finite.

    Example:
        >>> entropy(torch.ones(1, 2, 2))
        tensor([1.])
    """
    share = _shares(maps)
    nats: Tensor = torch.special.entr(share).sum(dim=1)
    return (nats / math.log(share.shape[1])).clamp(max=1)  # rounding


def _shares(maps: Tensor) -> Tensor:
    """Scales the positive evidence (N,P) to a sum of 1; nan if there is none (0/0) or a map is not finite."""
    maps = exact(maps)
    evidence = maps.relu().flatten(1)
    return (evidence / evidence.sum(dim=1, keepdim=True)).masked_fill(~finite(maps).unsqueeze(1), torch.nan)
