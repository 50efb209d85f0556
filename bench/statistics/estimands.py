"""Ratio of means: the estimand of relative curves that no single image can dominate.

A mean of ratios gives an image whose denominator is small as much weight as any other, and a large value.
"""

from __future__ import annotations

import numpy as np

from bench.statistics.bootstrap.names import AnyNames
from bench.statistics.bootstrap.resampling import RESAMPLES, Floats, clusters_of, group_sums, resampled_ratios
from bench.statistics.intervals import limits, mean_over, ratio


def ratios_of_means(
    over: Floats, under: Floats, groups: AnyNames, resamples: int = RESAMPLES
) -> tuple[Floats, Floats, Floats]:
    """Divides means of numerators over images by those of denominators, with 95 % bootstrap intervals over groups.

    Values of an image are averaged over seeds first.

    Args:
        over: (S,N,M) numerators of S seeds, N images and M methods; nan where the denominator is.
        under: (S,N,M) denominators, at least 0.
        groups: (N,) group of each image; every image has a value.
        resamples: number of bootstrap samples.

    Returns:
        ratio, low and high, each (M,); nan if all denominators are 0.
    """
    clusters, member = clusters_of(groups)

    def ratios(first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Ratios (M,) of the means of all images (N,M), and (B,M) of bootstrap samples."""
        above, below = (group_sums(one, member, clusters.number)[0] for one in (first, second))
        return ratio(above.sum(axis=0), below.sum(axis=0)), resampled_ratios(above, below, clusters, resamples)

    pooled, samples = ratios(mean_over(over, axis=0), mean_over(under, axis=0))
    each = [ratios(*both) for both in zip(over, under, strict=True)]
    by_seed, seed_samples = np.stack([one for one, _ in each]), np.stack([one for _, one in each], axis=1)
    return pooled, *limits(pooled, samples, np.full(len(pooled), clusters.number), by_seed, seed_samples)
