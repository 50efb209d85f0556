"""Symmetric bootstrap-t intervals of means over groups, for small and skewed samples.

Percentiles of a bootstrap cover too rarely if a few images carry a mean, as they do for the occlusion curves of a
dozen images. Studentised deviations show how much wider an interval must be, and can be joined over several means.

Source: Hall 1988, doi:10.1111/j.2517-6161.1988.tb01735.x (symmetric bootstrap-t, whose coverage error is of order
G^-2); Cochran 1964, Biometrics 20(1), 191-195 (weighted quantiles of two sources of variance).
Deviation: the quantile is at least Student's, because resamples of few distinct values have no spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's distribution

from bench.statistics.bootstrap.resampling import Counts, weighted_sums
from bench.statistics.intervals import FEWEST_GROUPS, LEVEL, Floats, mean_over, quantiles, ratio

#: Columns from which ``half_width`` computes an interval at any level.
SPREAD = ["error", "seed_error", "stretch", "joint_stretch", "groups", "seeds"]


def standard_errors(values: Floats) -> Floats:
    """Computes standard errors (M,) of the means of values (G,M), nan if undefined; nan for a single value."""
    defined = np.isfinite(values).sum(axis=0)
    variance = mean_over((values - mean_over(values, axis=0)) ** 2, axis=0)
    error: Floats = np.sqrt(ratio(variance, defined - 1.0))
    return error


def studentised(weights: Iterable[Counts | Floats], values: Floats) -> Floats:
    """Computes the deviation of resampled means from the mean, in standard errors of the resample.

    Args:
        weights: blocks (b,G) of the count of each group in each of B resamples.
        values: (G,M); nan if undefined.

    Returns:
        (B,M), at least 0; 0 where a resample has no spread.
    """
    defined, means = np.isfinite(values), values.shape[1]
    counted = defined[:, :1] if (defined == defined[:, :1]).all() else defined
    powers = np.zeros((len(values), 2 * means + counted.shape[1]))
    first, second, powers[:, 2 * means :] = powers[:, :means], powers[:, means : 2 * means], counted
    np.subtract(values, mean_over(values, axis=0), out=first, where=defined)
    np.square(first, out=second)
    least = 1e-9 * np.sqrt(ratio(second.sum(axis=0), defined.sum(axis=0)))  # less is rounding
    found = []
    for block in weights:
        mean, error, count = np.split(weighted_sums(block, powers), [means, 2 * means], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without a value, or with one group
            mean /= count
            error /= count
            error -= mean**2
            error /= count - 1
            np.sqrt(error, out=error)
        has_spread = error > least
        np.divide(np.abs(mean, out=mean), error, out=mean, where=has_spread)
        mean[~has_spread] = 0
        found.append(mean)
    return np.concatenate(found)


def scaled(deviations: Floats, groups: Floats) -> Floats:
    """Divides ``studentised`` deviations (B,M) of means over groups (M,) by Student's quantile."""
    found: Floats = deviations / stdtrit(np.maximum(groups - 1, 1), (1 + LEVEL) / 2)
    return found


def stretch(deviations: Floats) -> Floats:
    """Computes how much wider than Student's an interval must be: (M,), at least 1.

    Args:
        deviations: (B,M) from ``scaled``; the largest ones of several means (B,1) give the interval for all of them at
            once, and so for any that is chosen after looking.
    """
    found: Floats = np.maximum(quantiles(deviations, [LEVEL])[0], 1)
    return found


def half_width(rows: pd.DataFrame | Mapping[str, Any], level: float | Floats = LEVEL, joint: bool = False) -> Floats:
    """Computes half the width (M,) of intervals from the columns ``SPREAD``.

    Both sources of variance have their own Student quantile, and the two are averaged by variance. Other levels than
    95 % keep the stretch, because a bootstrap has no quantile that far out.

    Args:
        rows: M rows, or their columns, of ``bench.statistics.comparison.mean_differences``.
        level: of each interval.
        joint: whether the intervals hold for all means that were compared together.

    Returns:
        nan for fewer than ``FEWEST_GROUPS`` groups, 0 if neither groups nor seeds vary.
    """
    error, of_seeds, stretch, joint_stretch, groups, seeds = (np.asarray(rows[name], dtype=float) for name in SPREAD)
    students = [stdtrit(np.maximum(count - 1, 1), (1 + np.asarray(level)) / 2) for count in (groups, seeds)]
    wider = joint_stretch / stretch if joint else 1.0
    quantiles = students[0] * stretch * wider, students[1] * wider
    variance = error**2 + of_seeds**2
    margin = ratio(quantiles[0] * error**2 + quantiles[1] * of_seeds**2, np.sqrt(variance))
    return np.where(groups >= FEWEST_GROUPS, np.where(variance > 0, margin, 0.0), np.nan)
