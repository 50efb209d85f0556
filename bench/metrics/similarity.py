"""Similarity of two maps of one image: one number per image, nan where undefined.

The sanity studies compare maps of different models with them, so most do not depend on a map's scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Computes Spearman's rank correlation of the raw signed values of two maps, ties averaged.

    Neither map loses its sign. It equals ``bench.statistics.agreement.spearman`` with weights of 1, which metrics must
    not import, and which compares all pairs of values: too many for maps.

    Args:
        first: (N,h,w).
        second: (N,h,w).

    Returns:
        (N,) in [-1, 1], nan if a map is constant or not finite.

    Example:
        >>> rank_correlation(np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 4.0, 9.0]]]))
        array([1.])
    """
    x, y = (rankdata(_flat(maps), axis=1) for maps in (first, second))
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    defined = _finite(first) & _finite(second) & (norm > 0)
    return np.where(defined, (x * y).sum(axis=1) / np.where(defined, norm, 1), np.nan)


def top_overlap(first: Floats, second: Floats, share: float) -> Floats:
    """Computes the intersection over union of the highest cells of two maps.

    Cells that tie at the border of the top area belong to it in equal parts, so that their order does not matter.

    Args:
        first: (N,h,w).
        second: (N,h,w).
        share: share of the cells in the top area, in (0, 1].

    Returns:
        (N,) in [0, 1], nan if a map is constant or not finite.

    Example:
        >>> top_overlap(np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 4.0, 9.0]]]), share=1 / 3)
        array([1.])
    """
    x, y = (_membership(_flat(maps), share) for maps in (first, second))
    overlap: Floats = np.minimum(x, y).sum(axis=1) / np.maximum(x, y).sum(axis=1)
    return np.where(_varies(first) & _varies(second), overlap, np.nan)


def _membership(maps: Floats, share: float) -> Floats:
    """Returns the degree (N,P) in [0, 1] to which each cell belongs to the top area; the sum is equal for all maps."""
    count = max(round(share * maps.shape[1]), 1)
    border = np.sort(maps, axis=1)[:, [-count]]
    above, tied = maps > border, maps == border
    left = count - above.sum(axis=1, keepdims=True)
    degree: Floats = above + tied * left / np.maximum(tied.sum(axis=1, keepdims=True), 1)  # no cell equals a nan
    return degree


def relative_change(intact: Floats, changed: Floats) -> Floats:
    """Computes the Euclidean norm of the change of a map, relative to that of the intact map.

    Args:
        intact: (N,h,w).
        changed: (N,h,w).

    Returns:
        (N,) in [0, ∞), nan if the intact map is zero or a map is not finite.

    Example:
        >>> relative_change(np.array([[[1.0, 2.0]]]), np.array([[[2.0, 4.0]]]))
        array([1.])
    """
    size = np.linalg.norm(_flat(intact), axis=1)
    defined = _finite(intact) & _finite(changed) & (size > 0)
    with np.errstate(invalid="ignore"):
        change = np.linalg.norm(_flat(changed) - _flat(intact), axis=1)
    return np.where(defined, change / np.where(defined, size, 1), np.nan)


def histogram_entropy(maps: Floats) -> Floats:
    """Computes the Shannon entropy of the histogram of a map's values; it does not depend on the map's scale.

    The histogram has √(h·w) bins of equal width between the lowest and the highest value.

    Args:
        maps: (N,h,w).

    Returns:
        (N,) in nats, at least 0; nan if a map is constant or not finite.

    Example:
        >>> histogram_entropy(np.array([[[0.0, 0.0, 1.0, 1.0]]])).round(4)  # log 2
        array([0.6931])
    """
    bins = max(round(maps[0].size ** 0.5), 2)
    entropies = np.full(len(maps), np.nan)
    for at in np.flatnonzero(_varies(maps)):
        shares = np.histogram(maps[at], bins)[0] / maps[at].size
        entropies[at] = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    return entropies


def _flat(maps: Floats) -> Floats:
    return maps.reshape(len(maps), -1)


def _finite(maps: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(_flat(maps)).all(axis=1))


def _varies(maps: Floats) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        span = np.ptp(_flat(maps), axis=1)
    return np.asarray(_finite(maps) & (span > 0))
