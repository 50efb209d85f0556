"""Is one method better than another? Paired differences over images, with intervals and tests that respect groups.

Everything is computed for M comparisons at once. The choices made here are explained in docs/statistics.md.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri, stdtrit  # quantiles of the normal and of Student's distribution

from bench.statistics import LEVEL, RESAMPLES, Floats, bootstrap_weights, intervals

ALPHA = 1 - LEVEL
BETTER, WORSE, NO_EVIDENCE, TOO_FEW = "better", "worse", "no evidence of a difference", "too few images"
#: Scores are float32 and of order 1; two that agree to this are the same, not a systematic difference.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6
_ENUMERATED = 13  # up to so many pairs all signs are tried; scipy does so where there are ties


def paired_differences(ours: Floats, theirs: Floats) -> Floats:
    """Scores (…,A) and (…,B) of the same images -> differences (…,A·B), every ours minus every theirs.

    nan where one of both is; exactly 0 where both agree up to the rounding of float32.
    """
    differences = difference(ours[..., :, None], theirs[..., None, :])
    return differences.reshape(*ours.shape[:-1], ours.shape[-1] * theirs.shape[-1])


def difference(ours: Floats, theirs: Floats) -> Floats:
    """Ours minus theirs; exactly 0 where both agree up to the rounding of float32."""
    return np.where(np.isclose(ours, theirs, rtol=_RELATIVE, atol=_ABSOLUTE), 0.0, ours - theirs)


def compare(differences: Floats, groups: NDArray[np.object_], resamples: int = RESAMPLES) -> pd.DataFrame:
    """``mean_differences`` with a test and an effect size: p (two-sided) and effect (rank-biserial, in [-1, 1]).

    The Wilcoxon signed-rank test takes one value a group, the mean over its images and seeds, because images of one
    group are not independent.

    Args:
        differences: (S,N,M); groups: (N,); resamples: B.

    Source: Wilcoxon 1945, doi:10.2307/3001968; Kerby 2014, doi:10.2466/11.IT.3.1.
    """
    found = mean_differences(differences, groups, resamples)
    of_groups = group_means(_mean(differences, axis=0), groups)
    tests = np.array([signed_rank(column) for column in of_groups.T]).reshape(-1, 2)
    return found.assign(p=tests[:, 0], effect=tests[:, 1])


def mean_differences(differences: Floats, groups: NDArray[np.object_], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Means of paired differences with 95 % intervals; the values of an image are averaged over seeds first.

    Args:
        differences: (S,N,M) of S seeds, N images and M comparisons; nan where undefined.
        groups: (N,) group of each image.
        resamples: B, of the bootstrap.

    Returns:
        One row a comparison: difference, low, high (nan for fewer than two groups), n images that have a value,
        undefined ones, groups and seeds that have one.
    """
    image = _mean(differences, axis=0)
    n, count = np.isfinite(image).sum(axis=0), np.isfinite(group_means(image, groups)).sum(axis=0)
    weights = bootstrap_weights(groups, resamples)
    estimate, samples = means(differences), _weighted(weights, image)
    seed_samples = np.stack([_weighted(weights, one) for one in differences], axis=1)
    low, high = limits(estimate, samples, count, _mean(differences, axis=1), seed_samples)
    seeds = np.isfinite(differences).any(axis=1).sum(axis=0)
    facts = {"n": n, "undefined": len(groups) - n, "groups": count, "seeds": seeds}
    return pd.DataFrame({"difference": estimate, "low": low, "high": high} | facts)


def mean_ratios(over: Floats, under: Floats, groups: NDArray[np.object_], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Ratios of means over images with 95 % intervals; an image counts where both values are defined.

    Means are divided, not averaged ratios, which one image with a denominator near 0 would decide.

    Args:
        over, under: (S,N,M); groups: (N,); resamples: B.

    Returns:
        One row a comparison: ratio, low, high, n and undefined.
    """
    both = np.isfinite(over) & np.isfinite(under)
    first, second = np.where(both, over, np.nan), np.where(both, under, np.nan)
    image = _mean(first, axis=0), _mean(second, axis=0)
    weights = bootstrap_weights(groups, resamples)

    def quotient(parts: tuple[Floats, Floats]) -> Floats:
        return np.divide(*parts, out=np.full(parts[0].shape, np.nan), where=parts[1] != 0)

    count = np.isfinite(group_means(image[0], groups)).sum(axis=0)
    estimate = quotient((means(first), means(second)))
    samples = quotient((_weighted(weights, image[0]), _weighted(weights, image[1])))
    by_seed = quotient((_mean(first, axis=1), _mean(second, axis=1)))
    each = [
        quotient((_weighted(weights, one), _weighted(weights, other))) for one, other in zip(first, second, strict=True)
    ]
    low, high = limits(estimate, samples, count, by_seed, np.stack(each, axis=1))
    n = both.any(axis=0).sum(axis=0)
    return pd.DataFrame({"ratio": estimate, "low": low, "high": high, "n": n, "undefined": len(groups) - n})


def means(values: Floats) -> Floats:
    """Values (S,N,M) -> (M,): over seeds, then over images, of what is defined."""
    return _mean(_mean(values, axis=0), axis=0)


def group_means(values: Floats, groups: NDArray[np.object_]) -> Floats:
    """Values (N,M) of images, nan where undefined -> means (G,M) over the images of each group, in order of names."""
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return _weighted((np.arange(len(names))[:, None] == member).astype(float), values)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean along an axis over what is defined, nan where nothing is."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def _weighted(weights: Floats, values: Floats) -> Floats:
    """Weights (B,N), values (N,M) with nan where undefined -> weighted means (B,M)."""
    defined = np.isfinite(values)
    return _ratio(weights @ np.where(defined, values, 0), weights @ defined)


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)


def limits(
    estimate: Floats, samples: Floats, groups: Floats, by_seed: Floats, seed_samples: Floats
) -> tuple[Floats, Floats]:
    """95 % intervals of M quantities: the percentiles of a bootstrap over groups, stretched around the estimate.

    The stretch makes up for few groups (Student's t instead of the normal distribution, and the bootstrap's factor
    (G-1)/G) and for the variance between seeds, which resampling a handful of seeds underestimates. The variance of the
    mean is that of the groups plus that of the seeds (what their spread exceeds the spread that images alone would
    give them); its quantile is the mean of both Student quantiles, weighted by the variances.

    Args:
        estimate: (M,) mean over S seeds.
        samples: (B,M) the same in bootstrap samples of the groups.
        groups: (M,) G.
        by_seed: (S,M) estimate of each seed.
        seed_samples: (B,S,M) the same in the bootstrap samples.

    Returns:
        low (M,), high (M,): nan where there are fewer than two groups.

    Source: expanded percentile interval, Hesterberg 2015, arXiv:1411.5279; weighted quantiles, Cochran 1964,
    Biometrics 20(1), 191-195.
    Deviation: the percentiles are stretched, not shifted, which serves any quantile.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = _spread(samples, axis=0)
        of_groups = spread * groups / (groups - 1)
        of_seeds = _variance_of_seeds(by_seed, seed_samples, groups)
        variance = of_groups + of_seeds
        seeds = np.isfinite(by_seed).sum(axis=0)
        students = [stdtrit(np.maximum(count - 1, 1), 1 - ALPHA / 2) for count in (groups, seeds)]
        quantile = (of_groups * students[0] + of_seeds * students[1]) / variance
        margin = np.where(variance > 0, quantile * np.sqrt(variance), 0)
        normal = ndtri(1 - ALPHA / 2) * np.sqrt(spread)
        low, high = intervals(samples)
        # Where all groups agree there is no percentile to stretch; the seeds alone make the interval.
        below = np.where(spread > 0, (estimate - low) * margin / normal, margin)
        above = np.where(spread > 0, (high - estimate) * margin / normal, margin)
    several = groups > 1
    return np.where(several, estimate - below, np.nan), np.where(several, estimate + above, np.nan)


def _variance_of_seeds(by_seed: Floats, seed_samples: Floats, groups: Floats) -> Floats:
    """Variance (M,) that drawing seeds adds to a mean over those that have a value; 0 where that is one."""
    seeds = np.isfinite(by_seed).sum(axis=0)
    by_images = _mean(_spread(seed_samples - by_seed, axis=1), axis=0) * groups / (groups - 1)
    between = np.fmax((_spread(by_seed, axis=0) - by_images) * seeds / (seeds - 1), 0)
    return np.where(seeds > 1, between / seeds, 0)


def _spread(values: Floats, axis: int) -> Floats:
    """Variance along an axis (divided by the number) over what is defined."""
    return _mean((values - np.expand_dims(_mean(values, axis), axis)) ** 2, axis)


def signed_rank(differences: Floats) -> tuple[float, float]:
    """Differences (G,), nan left out -> two-sided p of Wilcoxon's test and rank-biserial effect size; zeros drop out.

    Without any difference p is 1 and the effect 0; both are nan where nothing is defined.
    """
    values = differences[np.isfinite(differences)]
    if not len(values):
        return float("nan"), float("nan")
    values = values[values != 0]
    if not len(values):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(values))
    effect = (ranks * np.sign(values)).sum() / ranks.sum()
    p = _exact_p(ranks, values > 0) if len(values) <= _ENUMERATED else stats.wilcoxon(values).pvalue
    return float(p), float(effect)


def _exact_p(ranks: Floats, positive: NDArray[np.bool_]) -> float:
    """Two-sided p over all signs that the ranks could have: what scipy's permutation test gives, 1,000 times faster."""
    sums, observed = _signs(len(ranks)) @ ranks, ranks[positive].sum()
    return min(1.0, 2 * min(np.mean(sums <= observed), np.mean(sums >= observed)))


@cache
def _signs(count: int) -> Floats:
    return np.array(list(product((0.0, 1.0), repeat=count)))


def holm(p: Floats) -> Floats:
    """p-values (M,) of one family -> adjusted ones (M,); nan stays nan and does not count.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def decide(comparisons: pd.DataFrame, family: list[str], higher_is_better: str) -> pd.DataFrame:
    """Add ``p_holm`` and ``verdict`` to rows of ``compare``.

    "better" and "worse" need both a Holm-adjusted p below 0.05 and an interval without 0. Where even differences that
    all point one way could not reach that p, the verdict is "too few images"; ``needed`` groups could.

    Args:
        family: columns that name the family over which p-values are adjusted.
        higher_is_better: the column that tells.
    """
    sizes = comparisons.groupby(family)["p"].transform("count")
    adjusted = comparisons.groupby(family)["p"].transform(lambda p: holm(p.to_numpy()))
    sign = np.sign(comparisons["difference"]) * np.where(comparisons[higher_is_better], 1, -1)
    apart = (comparisons["low"] > 0) | (comparisons["high"] < 0)
    decided = (adjusted < ALPHA) & apart
    needed = np.floor(1 + np.log2(sizes / ALPHA)).astype(int) + 1  # the smallest adjusted p is sizes · 2^(1-groups)
    hopeless = comparisons["groups"] < needed
    verdict = np.select([hopeless, decided & (sign > 0), decided & (sign < 0)], [TOO_FEW, BETTER, WORSE], NO_EVIDENCE)
    return comparisons.assign(p_holm=adjusted, needed=needed, verdict=verdict)


def non_inferiority(low: float, high: float, margin: float) -> str:
    """Interval of a difference, positive where ours is better -> "non-inferior", "inferior" or "undecided".

    Non-inferior where even the lower end loses less than the margin, inferior where even the upper end loses more.
    """
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < -margin else "undecided"
