"""Do two scores, or many images, rank the same things alike?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.intervals import (
    RESAMPLES,
    Estimate,
    Floats,
    bootstrap_weights,
    limits_of_one,
    weighted_means,
    with_ties,
)


def spearman_by_row(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Spearman's ρ of each row over the columns in which both have a value.

    Args:
        first, second: aligned (N,M), nan where there is no value.

    Returns:
        (N,) in [-1, 1]; nan where fewer than three columns are left or either is constant on them.
    """
    values = [table.to_numpy(dtype=float).T for table in (first, second)]
    both = ~np.isnan(values[0]) & ~np.isnan(values[1])
    count = both.sum(axis=0)
    one, other = (_centred_ranks(np.where(both, column, np.nan)) for column in values)
    spread = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    enough = (count >= 3) & (spread > 0)
    found = np.divide((one * other).sum(axis=0), spread, out=np.full(len(count), np.nan), where=enough)
    return pd.Series(found, first.index)


def _centred_ranks(values: Floats) -> Floats:
    """Values (M,N) -> rank along M minus the mean rank, equal values sharing theirs; 0 where nan."""
    defined = ~np.isnan(values)
    below, equal = (compare(values, values[:, None]).sum(axis=1) for compare in (np.less, np.equal))
    ranks = np.where(defined, below + (equal + 1) / 2, 0)
    return np.where(defined, ranks - ranks.sum(axis=0) / np.maximum(defined.sum(axis=0), 1), 0)


def krippendorff_alpha(ratings: Floats) -> float:
    """Krippendorff's α of ordinal ratings: 1 = raters agree, 0 = as chance would have it, below 0 = systematic dissent.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section D with the ordinal difference.
    The maintained package is under the GPL, which this project is not.

    Args:
        ratings: (R,U) of R raters on U units; nan where a rater did not rate a unit.

    Returns:
        α, at most 1; nan where no unit has two ratings or all ratings are equal.
    """
    values, codes = np.unique(ratings, return_inverse=True)
    coded = np.where(np.isnan(ratings), -1, codes.reshape(ratings.shape))
    counts = (coded[:, :, None] == np.arange(np.isfinite(values).sum())).sum(axis=0).astype(float)
    counts = counts[counts.sum(axis=1) > 1]  # (U,V) how often each value was given to each unit
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    coincidences = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).sum(axis=0)
    of_value = coincidences.sum(axis=1)
    middle = np.cumsum(of_value) - of_value / 2  # ordinal distance: the ratings that lie between two values
    distances = (middle[:, None] - middle) ** 2
    expected = (np.outer(of_value, of_value) * distances).sum()
    if not expected:
        return float("nan")
    return float(1 - (of_value.sum() - 1) * (coincidences * distances).sum() / expected)


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Scores (…,M) of the same M methods -> Kendall's τ-b (…): 1 the same order, -1 the opposite; ties are allowed.

    Scores that agree up to the rounding of float32 tie. nan where one of both ties all methods, or a score is nan.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239. As ``scipy.stats.kendalltau``, for many rankings at once.
    """
    above, below = np.triu_indices(first.shape[-1], k=1)
    one, other = (np.sign(scores[..., above] - scores[..., below]) for scores in map(with_ties, (first, second)))
    spread = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    return np.divide((one * other).sum(axis=-1), spread, out=np.full(spread.shape, np.nan), where=spread > 0)


def rank_agreement(
    first: Floats, second: Floats, groups: NDArray[np.object_] | pd.Series, resamples: int = RESAMPLES
) -> Estimate:
    """Kendall's τ-b between the orders of M methods by two scores, each the mean over the same images.

    The 95 % interval is that of a bootstrap over groups, drawn alike for both scores. Resampled means scatter more than
    those of the images themselves, which shuffles close methods: the interval leans towards less agreement.

    Args:
        first, second: (N,M), nan where undefined.
        groups: (N,) group of each image.

    Returns:
        nan for fewer than three methods, whose order says little; the interval is nan for few groups (``limits``).
    """
    images = len(first)
    if images == 0 or first.shape[1] < 3:
        return Estimate(np.nan, np.nan, np.nan, images)
    tau = float(kendall_tau(*(weighted_means(np.ones((1, images)), scores) for scores in (first, second)))[0])
    weights = bootstrap_weights(groups, resamples)
    samples = kendall_tau(weighted_means(weights, first), weighted_means(weights, second))
    return Estimate(tau, *limits_of_one(tau, samples, groups, (-1, 1)), images)
