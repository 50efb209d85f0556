"""How alike two maps of one image are, whatever their scales: one number an image, nan where it is undefined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of the raw values, ties averaged: (N,h,w), (N,h,w) -> (N,) in [-1, 1].

    nan where a map is constant or not finite. Neither map loses its sign. It equals
    ``bench.statistics.agreement.spearman`` with weights of 1, which metrics must not import, and which compares all
    pairs of values: too many for maps.
    """
    x, y = (rankdata(_flat(maps), axis=1) for maps in (first, second))
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    defined = _finite(first) & _finite(second) & (norm > 0)
    return np.where(defined, (x * y).sum(axis=1) / np.where(defined, norm, 1), np.nan)


def top_overlap(first: Floats, second: Floats, share: float) -> Floats:
    """IoU of the highest ``share`` of the cells: (N,h,w), (N,h,w) -> (N,) in [0, 1].

    Cells that tie at the border of the top area belong to it in equal parts, so that their order does not matter. nan
    where a map is constant or not finite.
    """
    x, y = (_membership(_flat(maps), share) for maps in (first, second))
    overlap = np.minimum(x, y).sum(axis=1) / np.maximum(x, y).sum(axis=1)
    return np.where(_varies(first) & _varies(second), overlap, np.nan)


def _membership(maps: Floats, share: float) -> Floats:
    """How far each cell (N,P) belongs to the top area, in [0, 1]; adds up to the same number of cells everywhere."""
    count = max(round(share * maps.shape[1]), 1)
    border = np.sort(maps, axis=1)[:, [-count]]
    above, tied = maps > border, maps == border
    left = count - above.sum(axis=1, keepdims=True)
    return above + tied * left / np.maximum(tied.sum(axis=1, keepdims=True), 1)  # no cell equals a nan


def relative_change(intact: Floats, changed: Floats) -> Floats:
    """Euclidean norm of the change over that of the intact map: (N,h,w), (N,h,w) -> (N,) from 0.

    nan where the intact map is zero or a map is not finite.
    """
    size = np.linalg.norm(_flat(intact), axis=1)
    defined = _finite(intact) & _finite(changed) & (size > 0)
    with np.errstate(invalid="ignore"):
        change = np.linalg.norm(_flat(changed) - _flat(intact), axis=1)
    return np.where(defined, change / np.where(defined, size, 1), np.nan)


def histogram_entropy(maps: Floats) -> Floats:
    """Shannon entropy [nats] of the histogram of a map's values: (N,h,w) -> (N,) from 0; a map's scale cancels.

    √(h·w) bins of equal width between the lowest and the highest value. nan where a map is constant or not finite.
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
