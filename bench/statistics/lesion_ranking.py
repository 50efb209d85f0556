"""Agreement between the mass that a map gives to the lesions of an image and their effect on the model.

Lesions are compared within an image and never across images, whose effects have different scales.
"""

from __future__ import annotations

import numpy as np

from bench.statistics.agreement import kendall_tau
from bench.statistics.intervals import Floats


def lesion_rank_correlation(mass: Floats, effect: Floats) -> float:
    """Computes Kendall's τ-b between the mass a map gives to the L lesions of an image and the effect of removing each.

    Source: arXiv:2308.06248 (single deletion protocol).
    Deviation: Kendall's τ-b instead of Spearman's ρ, because most images have two to four lesions.

    Args:
        mass: (L,), L ≥ 2.
        effect: (L,).

    Returns:
        In [-1, 1]: 1 = same order, -1 = opposite order; 0 if all lesions have the same mass, because such a map ranks
        nothing; nan if all effects are equal or a mass is not finite.
    """
    if not _is_comparable(mass, effect):
        return float("nan")
    return float(np.nan_to_num(kendall_tau(mass[None], effect[None])[0]))


def effect_share(mass: Floats, effect: Floats) -> float:
    """Computes the normalised area under the cumulative effect of the lesions in the order of falling mass.

    It is (A − A_random) / (A_ideal − A_random): 1 = order of falling effect, 0 = random order. Lesions of equal mass
    are in random order: their share is the mean over all orders. Unlike the rank correlation it weights a swap of two
    lesions by the difference of their effects.

    Args:
        mass: (L,), L ≥ 2.
        effect: (L,).

    Returns:
        In [-1, 1]; nan if all effects are equal or a mass is not finite.
    """
    if not _is_comparable(mass, effect):
        return float("nan")
    random = _area(np.zeros_like(mass), effect)
    return (_area(mass, effect) - random) / (_area(effect, effect) - random)


def _area(mass: Floats, effect: Floats) -> float:
    """Computes the area under the cumulative effect by falling mass, with the L lesions evenly over [0, 1]."""
    _, tied = np.unique(-mass, return_inverse=True)  # 0 = the largest mass
    mean = np.bincount(tied, effect) / np.bincount(tied)
    curve = np.concatenate([[0.0], np.cumsum(mean[np.sort(tied)])])
    return float(np.trapezoid(curve) / len(mass))


def _is_comparable(mass: Floats, effect: Floats) -> bool:
    return bool(np.isfinite(mass).all() and np.ptp(effect) > 0)
