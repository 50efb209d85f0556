"""Does a map weigh the lesions of an image as the model does? Lesions are compared within an image, never across."""

from __future__ import annotations

import numpy as np

from bench.statistics.agreement import kendall_tau
from bench.statistics.intervals import Floats


def rank_agreement(mass: Floats, effect: Floats) -> float:
    """Kendall's τ-b between the mass a map gives to the L lesions of an image and the effect of removing each.

    Source: arXiv:2308.06248 (single deletion protocol). Deviation: Kendall's τ-b in place of Spearman's ρ, because
    most images have two to four lesions.

    Args:
        mass, effect: (L,), L ≥ 2.

    Returns:
        In [-1, 1]: 1 = same order, -1 = opposite; 0 where all lesions have the same mass, because such a map ranks
        nothing; nan where all effects are equal or a mass is not finite.
    """
    if not _is_comparable(mass, effect):
        return float("nan")
    return float(np.nan_to_num(kendall_tau(mass[None], effect[None])[0]))


def effect_share(mass: Floats, effect: Floats) -> float:
    """How fast the lesions, by falling mass, add up to the effect of all: 1 = by falling effect, 0 = in random order.

    The area under the cumulative effect, as (A − A_random) / (A_ideal − A_random). Lesions of equal mass come in random
    order: their share is the mean over all orders. Other than the rank agreement it counts a swap of two lesions by
    how much their effects differ.

    Args:
        mass, effect: (L,), L ≥ 2.

    Returns:
        In [-1, 1]; nan where all effects are equal or a mass is not finite.
    """
    if not _is_comparable(mass, effect):
        return float("nan")
    random = _area(np.zeros_like(mass), effect)
    return (_area(mass, effect) - random) / (_area(effect, effect) - random)


def _area(mass: Floats, effect: Floats) -> float:
    """Area under the cumulative effect by falling mass, the L lesions evenly over [0, 1]."""
    _, tied = np.unique(-mass, return_inverse=True)  # 0 = the largest mass
    mean = np.bincount(tied, effect) / np.bincount(tied)
    curve = np.concatenate([[0.0], np.cumsum(mean[np.sort(tied)])])
    return float(np.trapezoid(curve) / len(mass))


def _is_comparable(mass: Floats, effect: Floats) -> bool:
    return bool(np.isfinite(mass).all() and np.ptp(effect) > 0)
