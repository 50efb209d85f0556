"""Do two scores, or many images, rank the same things alike?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
