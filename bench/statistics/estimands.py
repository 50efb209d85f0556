"""Ratio of means: the estimand of relative curves that no single image can dominate.

A mean of ratios gives an image whose denominator is small as much weight as any other, and a large value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import (
    RESAMPLES,
    Estimate,
    Floats,
    bootstrap_weights,
    limits,
    mean_over,
    ratio,
    weighted_means,
)


def ratio_of_means(over: Floats, under: Floats, groups: NDArray[np.object_], resamples: int = RESAMPLES) -> Estimate:
    """Divides the mean of numerators over images by that of denominators, with a 95 % bootstrap interval over groups.

    Values of an image are averaged over seeds first. An image counts in the seeds in which both values are defined.

    Args:
        over: (S,N) numerators of S seeds and N images; nan if undefined.
        under: (S,N) denominators, at least 0.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.

    Returns:
        The ratio, nan if all denominators are 0; n counts the images with a value.
    """
    both = np.isfinite(over) & np.isfinite(under)
    first, second = (np.where(both, one, np.nan) for one in (over, under))
    known = np.asarray(both.any(axis=0))
    if not known.any():
        return Estimate(np.nan, np.nan, np.nan, 0, len(known))
    first, second, names = first[:, known], second[:, known], groups[known]
    weights = np.concatenate([np.ones((1, len(names))), bootstrap_weights(names, resamples)])
    pooled = _ratio(weights, mean_over(first, axis=0)[:, None], mean_over(second, axis=0)[:, None])
    each = np.stack([_ratio(weights, first[[seed]].T, second[[seed]].T)[:, 0] for seed in range(len(first))], axis=1)
    count = np.array([len(set(map(str, names)))])
    low, high = limits(pooled[0], pooled[1:], count, each[0][:, None], each[1:, :, None])
    n = int(known.sum())
    return Estimate(float(pooled[0, 0]), float(low[0]), float(high[0]), n, len(known) - n)


def _ratio(weights: Floats, over: Floats, under: Floats) -> Floats:
    """Computes ratios (B,M) of weighted means of (N,M)."""
    return ratio(weighted_means(weights, over), weighted_means(weights, under))
