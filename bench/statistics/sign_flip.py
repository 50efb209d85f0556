"""Exact sign-flip test of paired differences: Wilcoxon's signed ranks with ties, for many comparisons at once.

The normal approximation is too far off for a few dozen groups, and the published exact tables assume that no two
differences have the same size.

Source: Wilcoxon 1945, doi:10.2307/3001968; Pratt and Gibbons 1981, Concepts of Nonparametric Theory, chapter 3
(distribution over all signs given the midranks); Kerby 2014, doi:10.2466/11.IT.3.1 (effect size).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr  # cumulative distribution of the normal

from bench.statistics.bootstrap.paired import shares
from bench.statistics.intervals import Floats, ratio, with_ties

Counts = NDArray[np.integer[Any]]
#: Most groups for the exact test: 2^60 sign patterns can be counted in int64 without rounding.
MOST_EXACT = 60


def sign_flip_tests(differences: Floats) -> tuple[Floats, Floats]:
    """Computes the two-sided p of Wilcoxon's signed-rank test and the rank-biserial effect size.

    The null hypothesis is that every difference is as likely as its negative. Undefined differences and those of 0 are
    dropped. Differences of the same size share their mean rank. Up to ``MOST_EXACT`` differences that are left, p is
    the share of all sign patterns whose rank sum is at least as far from its mean as the observed one; with more, it is
    the normal approximation with the variance of tied ranks and without a continuity correction, as in scipy.

    Sizes that agree up to rounding (``with_ties``) are the same, and those that agree with 0 are 0. Otherwise, the last
    digit of float32 scores would break ties.

    Args:
        differences: (G,M) of G groups and M comparisons; nan where undefined.

    Returns:
        p (M,) and effect (M,) in [-1, 1]. If all defined differences are 0, p is 1 and the effect 0; if none is
        defined, both are nan.
    """
    p, effect = (np.concatenate(each) for each in zip(*map(_tests, shares(differences)), strict=True))
    return p, effect


def _tests(differences: Floats) -> tuple[Floats, Floats]:
    doubled = _doubled_ranks(differences)
    signed = (np.sign(np.nan_to_num(differences)) * doubled).sum(axis=0)
    total, few = doubled.sum(axis=0), np.count_nonzero(doubled, axis=0) <= MOST_EXACT
    p = np.empty(len(total))
    p[few] = _exact_p(doubled[:, few], (total - np.abs(signed).astype(int))[few] // 2)
    p[~few] = 2 * ndtr(-np.abs(signed[~few]) / np.sqrt(np.square(doubled[:, ~few], dtype=float).sum(axis=0)))
    effect = np.where(total > 0, ratio(signed, total), 0.0)
    defined = np.isfinite(differences).any(axis=0)
    return np.where(defined, p, np.nan), np.where(defined, effect, np.nan)


def _doubled_ranks(differences: Floats) -> Counts:
    """Ranks the sizes (G,M) per comparison and doubles the ranks, so that midranks are integers; 0 if dropped."""
    defined = np.where(np.isfinite(differences), np.abs(differences), np.nan)
    with_zero = np.concatenate([np.zeros((1, defined.shape[1])), defined])
    sizes = with_ties(with_zero.T).T[1:]
    kept = sizes > 0
    ranks = pd.DataFrame(np.where(kept, sizes, np.nan)).rank().to_numpy()
    return np.where(kept, 2 * ranks, 0).astype(int)


def _exact_p(doubled: Counts, smaller: Counts) -> Floats:
    """Computes p (M,) from doubled ranks (G,M) and the smaller of both doubled rank sums (M,).

    Comparisons that have the same ranks, such as all without ties, share one distribution.
    """
    patterns, member = np.unique(np.sort(doubled, axis=0)[-MOST_EXACT:], axis=1, return_inverse=True)
    p = np.empty(len(smaller))
    for place, ranks in enumerate(patterns.T):
        same, used = member == place, ranks[ranks > 0]
        p[same] = 2 * _signs_with_at_most(used)[smaller[same]] / 2 ** len(used)
    return np.minimum(p, 1)


def _signs_with_at_most(ranks: Counts) -> Counts:
    """Counts the sign patterns whose positive ranks sum to at most 0, 1, …, half of the total.

    Dynamic programme: each rank in turn is either negative, which leaves the sum, or positive, which shifts it. The
    upper half of the distribution mirrors the lower one.
    """
    counts = np.zeros(ranks.sum() // 2 + 1, dtype=np.int64)
    counts[0] = 1
    for rank in ranks:
        counts[rank:] += counts[:-rank]
    return np.cumsum(counts)
