"""Ratio of means: the estimand of relative curves that no single image can dominate.

A mean of ratios gives an image whose denominator is small as much weight as any other, and a large value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.bootstrap.resampling import RESAMPLES, Floats, group_sums, names_of, resampled_ratios
from bench.statistics.intervals import Estimate, limits, mean_over, ratio


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
    known = np.asarray(both.any(axis=0))
    if not known.any():
        return Estimate(np.nan, np.nan, np.nan, 0, len(known))
    first, second = (np.where(both, one, np.nan)[:, known, None] for one in (over, under))
    mean, low, high = (float(one[0]) for one in ratios_of_means(first, second, groups[known], resamples))
    n = int(known.sum())
    return Estimate(mean, low, high, n, len(known) - n)


def ratios_of_means(
    over: Floats, under: Floats, groups: NDArray[np.object_], resamples: int = RESAMPLES
) -> tuple[Floats, Floats, Floats]:
    """Computes ``ratio_of_means`` of M methods at once: ratio, low and high, each (M,).

    Args:
        over: (S,N,M) numerators; nan where the denominator is.
        under: (S,N,M) denominators.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.
    """
    names, member = names_of(groups)

    def ratios(first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Ratios (M,) of the means of all images (N,M), and (B,M) of bootstrap samples."""
        above, below = (group_sums(one, member, len(names))[0] for one in (first, second))
        return ratio(above.sum(axis=0), below.sum(axis=0)), resampled_ratios(above, below, names, resamples)

    pooled, samples = ratios(mean_over(over, axis=0), mean_over(under, axis=0))
    each = [ratios(*both) for both in zip(over, under, strict=True)]
    by_seed, seed_samples = np.stack([one for one, _ in each]), np.stack([one for _, one in each], axis=1)
    return pooled, *limits(pooled, samples, np.full(len(pooled), len(names)), by_seed, seed_samples)
