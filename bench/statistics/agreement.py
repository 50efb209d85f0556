"""Rank agreement: Spearman, Kendall and Krippendorff, between two scores or among many images.

They are computed for many rankings at once, because every interval takes thousands of resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from bench.statistics.bootstrap.names import AnyNames, Names
from bench.statistics.bootstrap.resampling import RESAMPLES, resampled_means
from bench.statistics.intervals import (
    Estimate,
    Floats,
    limits_of_one,
    mean_over,
    ratio,
    weighted_means,
    with_ties,
)

_BLOCK = 2_000_000  # comparisons of two values at once


def spearman(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Computes Spearman's ρ of each row, where every value counts as often as its weight says.

    Args:
        first: (N,M), or (1,M) if all rows of weights share their values.
        second: of the same shape.
        weights: (N,M), at least 0; 0 where either has no value.

    Returns:
        (N,) in [-1, 1]; nan where either is constant.
    """
    one, other = (_centred_ranks(values, weights) for values in (first, second))
    covariance, *variances = ((weights * a * b).sum(axis=1) for a, b in ((one, other), (one, one), (other, other)))
    spread = np.sqrt(variances[0] * variances[1])
    found: Floats = np.divide(covariance, spread, out=np.full(len(weights), np.nan), where=spread > 0)
    return found


def _centred_ranks(values: Floats, weights: Floats) -> Floats:
    """Values (N or 1,M), weights (N,M) -> rank (N,M) minus the mean rank; equal values share their middle rank."""
    below = (values[:, None] < values[:, :, None]) + 0.5 * (values[:, None] == values[:, :, None])
    ranks = weights @ below[0].T if len(below) == 1 else np.einsum("nij,nj->ni", below, weights)
    with np.errstate(invalid="ignore"):  # a row without any weight
        mean = (weights * ranks).sum(axis=1) / weights.sum(axis=1)
    centred: Floats = ranks - mean[:, None]
    return centred


def spearman_by_row(first: Floats, second: Floats) -> Floats:
    """Computes Spearman's ρ of each row over the columns in which both have a value.

    Args:
        first: (N,M), nan where there is no value.
        second: aligned with ``first``.

    Returns:
        (N,) in [-1, 1]; nan if fewer than three columns remain or either table is constant on them.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    parts = np.array_split(np.arange(len(both)), max(1, both.size * both.shape[1] // _BLOCK)) if both.size else []
    found = [spearman(first[part], second[part], both[part].astype(float)) for part in parts]
    known: Floats = np.concatenate(found) if found else np.full(len(both), np.nan)
    return np.where(both.sum(axis=1) >= 3, known, np.nan)


def spearman_of_ranks(first: Floats, second: Floats) -> Floats:
    """Computes ``spearman_by_row`` of two tables (N,M) of ranks, which are used as they are where both are complete.

    Args:
        first: rank of each value among those of its row; equal values share their middle rank, nan is no value.
        second: aligned with ``first``.
    """
    has_value = np.isfinite(first)
    alike = (has_value == np.isfinite(second)).all(axis=1)
    found = np.full(len(first), np.nan)
    found[~alike] = spearman_by_row(first[~alike], second[~alike])
    enough = alike & (has_value.sum(axis=1) >= 3)
    one, other = (np.nan_to_num(table - mean_over(table, axis=1)[:, None])[enough] for table in (first, second))
    covariance, *squares = ((a * b).sum(axis=1) for a, b in ((one, other), (one, one), (other, other)))
    found[enough] = ratio(covariance, np.sqrt(squares[0] * squares[1]))
    return found


def krippendorff_alpha(ratings: Floats) -> float:
    """Computes Krippendorff's α of ordinal ratings: 1 = agreement, 0 = chance, below 0 = systematic disagreement.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section D with the ordinal difference.
    It is implemented here because the maintained package has the GPL as its licence.

    Args:
        ratings: (R,U) of R raters on U units; nan if a rater did not rate a unit.

    Returns:
        α, at most 1; nan if no unit has two ratings or all ratings are equal.
    """
    values, codes = np.unique(ratings, return_inverse=True)
    coded = np.where(np.isnan(ratings), -1, codes.reshape(ratings.shape))
    known = int(np.isfinite(values).sum())
    counts = np.stack([np.bincount(one[one >= 0], minlength=known) for one in coded.T]).astype(float)
    counts = counts[counts.sum(axis=1) > 1]  # (U,V) ratings of each unit with each value
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    coincidences = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).sum(axis=0)
    of_value = coincidences.sum(axis=1)
    middle = np.cumsum(of_value) - of_value / 2  # ordinal distance: the number of ratings between two values
    distances = (middle[:, None] - middle) ** 2
    expected = (np.outer(of_value, of_value) * distances).sum()
    if not expected:
        return float("nan")
    return float(1 - (of_value.sum() - 1) * (coincidences * distances).sum() / expected)


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Computes Kendall's τ-b of many pairs of rankings at once: 1 = same order, -1 = opposite order.

    Scores that agree up to the rounding of float32 tie.

    Args:
        first: scores (…,M) of M methods.
        second: scores (…,M) of the same methods.

    Returns:
        (…) in [-1, 1]; nan if either ties all methods or a score is nan.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239; the same as ``scipy.stats.kendalltau``.
    """
    return _tau(_orders(first), _orders(second))


def _orders(scores: Floats) -> Floats:
    """Returns for every two of M scores (…,M) whether the first is higher (1), lower (-1) or the same (0): (…,P)."""
    above, below = np.triu_indices(scores.shape[-1], k=1)
    tied = with_ties(scores)
    return np.sign(tied.take(above, axis=-1) - tied.take(below, axis=-1))


def _tau(one: Floats, other: Floats) -> Floats:
    both, *each = (np.einsum("...p,...p->...", a, b) for a, b in ((one, other), (one, one), (other, other)))
    spread = np.sqrt(each[0] * each[1])
    tau: Floats = np.divide(both, spread, out=np.full(spread.shape, np.nan), where=spread > 0)
    return tau


def rank_agreement(first: Floats, second: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> Estimate:
    """Computes Kendall's τ-b between the orders of M methods by two scores, each the mean over the same images.

    The 95 % interval is that of a bootstrap over groups, with the same draw for both scores. Resampled means vary more
    than those of the images themselves, which changes the order of close methods: the interval is biased towards less
    agreement.

    Args:
        first: (N,M), nan if undefined.
        second: (N,M), nan if undefined.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.

    Returns:
        nan for fewer than three methods, whose order has little information; the interval is nan for few groups
        (``limits``).
    """
    return rank_agreements([first, second], groups, resamples)[0, 1]


def rank_agreements(
    scores: Sequence[Floats], groups: AnyNames, resamples: int = RESAMPLES
) -> dict[tuple[int, int], Estimate]:
    """Computes ``rank_agreement`` of every two of several scores -> their places in order -> estimate."""
    groups, images, found = Names.of(groups), len(groups), {}
    few = images == 0 or scores[0].shape[1] < 3
    orders = [] if few else [_resampled_orders(one, groups, resamples) for one in scores]
    for first, second in combinations(range(len(scores)), 2):
        found[first, second] = Estimate(np.nan, np.nan, np.nan, images)
        if orders:
            tau = _tau(orders[first], orders[second])
            ends = limits_of_one(float(tau[0]), tau[1:], groups, (-1, 1))
            found[first, second] = Estimate(float(tau[0]), *ends, images)
    return found


def _resampled_orders(scores: Floats, groups: AnyNames, resamples: int) -> Floats:
    """Returns ``_orders`` of the means of scores (N,M) over all images, then over B bootstrap samples: (1+B,P)."""
    mean = weighted_means(np.ones((1, len(scores))), scores)
    return _orders(np.concatenate([mean, resampled_means(scores, groups, resamples)]))
