"""Friedman's test of differences between methods over data sets, and Nemenyi's critical difference of their ranks.

Source: Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7:1-30, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.statistics.intervals import LEVEL, Floats, with_ties

#: Smallest number of blocks for the test (our limit). Demšar's rule of thumb for the χ² approximation is more than 10
#: blocks and more than 5 methods.
FEWEST_BLOCKS = 5
FEWEST_METHODS = 3  # two are compared by Wilcoxon's test


@dataclass(frozen=True)
class Friedman:
    """Ranks of M methods over B blocks.

    Attributes:
        mean_ranks: (M,), 1 is the best.
        p: p-value of Friedman's χ² with its correction for ties; nan if all methods tie in every block.
        critical_difference: smallest significant difference of two mean ranks.
    """

    mean_ranks: Floats
    p: float
    critical_difference: float


def friedman(scores: Floats) -> Friedman:
    """Ranks scores (B,M), higher is better, within each block (ties share their mean rank) and computes both tests.

    Raises:
        ValueError: fewer than three methods.
    """
    from scipy import stats  # not at the top, here and below: the import takes half a second, and few runs need it

    blocks, methods = scores.shape
    scores = with_ties(scores)
    ranks = stats.rankdata(-scores, axis=1)
    p = float(stats.friedmanchisquare(*scores.T).pvalue) if (np.ptp(ranks, axis=1) > 0).any() else float("nan")
    return Friedman(ranks.mean(axis=0), p, critical_difference(methods, blocks))


def critical_difference(methods: int, blocks: int) -> float:
    """Computes Nemenyi's critical difference of mean ranks at 0.05: studentized range / √2 · √(M(M+1)/6B)."""
    from scipy import stats

    quantile = stats.studentized_range.ppf(LEVEL, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def alike(mean_ranks: Floats, difference: float) -> list[tuple[float, float]]:
    """Returns (first, last) mean rank of every maximal group of at least two that differ by less than ``difference``.

    Args:
        mean_ranks: (M,).
        difference: the critical difference.
    """
    ordered = np.sort(mean_ranks)
    last = np.searchsorted(ordered, ordered + difference, side="left") - 1  # of the group that starts at each
    found = [(at, end) for at, end in enumerate(last) if end > at and (at == 0 or end > last[at - 1])]
    return [(float(ordered[at]), float(ordered[end])) for at, end in found]
