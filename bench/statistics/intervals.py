"""Means with intervals.

Images of one group (a patient) form one cluster, so groups are resampled and not images. The choices made here are
explained in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # quantiles of the normal and of Student's distribution

from bench.statistics.bootstrap.aligned import same_images
from bench.statistics.bootstrap.names import AnyNames
from bench.statistics.bootstrap.resampling import RESAMPLES, clusters_of, resampled_means

Floats = NDArray[np.float64]
LEVEL = 0.95
#: Tolerances for equal scores, which are float32 and of order 1.
RELATIVE, ABSOLUTE = 1e-5, 1e-6
#: Share of the largest value below which a difference is invisible in three decimals and does not change a rank.
ALIKE = 5e-4
#: Smallest number of groups whose spread is known well enough for an interval.
FEWEST_GROUPS = 5


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` images with its interval; ``undefined`` more had no value (nan)."""

    mean: float
    low: float
    high: float
    n: int
    undefined: int = 0

    def within(self, lowest: float, highest: float) -> Estimate:
        """Clips the interval to the possible range."""
        low, high = np.clip([self.low, self.high], lowest, highest)
        return replace(self, low=float(low), high=float(high))


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Computes the percentile interval of bootstrap samples (B,) without nan; (nan, nan) if none remains."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(samples: Floats) -> tuple[Floats, Floats]:
    """Computes ``interval`` for each column of bootstrap samples (B,M): low (M,), high (M,)."""
    if np.isfinite(samples).all():
        low, high = quantiles(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    else:
        low, high = np.transpose([interval(column) for column in samples.T])
    return low, high


def quantiles(samples: Floats, shares: Sequence[float]) -> Floats:
    """Computes quantiles (Q,M) of each column of samples (B,M) without nan, as ``numpy.quantile``, but faster."""
    ordered = np.sort(samples.T, axis=1)
    place = np.asarray(shares) * (len(samples) - 1)
    below = np.floor(place).astype(int)
    low, high = ordered[:, below], ordered[:, np.ceil(place).astype(int)]
    found: Floats = (low + (high - low) * (place - below)).T
    return found


def estimate_mean(values: pd.Series, images: pd.Series, groups: pd.Series, resamples: int = RESAMPLES) -> Estimate:
    """Computes the mean over images with its 95 % interval (``limits``); nan values are left out and counted.

    Values of the same image (several seeds) are averaged first. Without any score, the mean is nan.

    Args:
        values: one entry per score.
        images: image of each score.
        groups: group of each score.
        resamples: number of bootstrap samples.
    """
    columns = {"value": values, "image": images, "group": groups}
    rows = pd.DataFrame({name: column.to_numpy() for name, column in columns.items()} | {"all": 0, "of": 0})
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    return estimate_means(rows, ["all", "of"], resamples).get((0, 0), nothing)


def estimate_means(rows: pd.DataFrame, by: list[str], resamples: int = RESAMPLES) -> dict[Any, Estimate]:
    """Computes ``estimate_mean`` for every combination of the columns ``by``, at once for all with the same images.

    Args:
        rows: frame with the columns value, image and group; with ``seed`` the interval includes the variance of seeds.
        by: two columns or more, without ``seed``.
        resamples: number of bootstrap samples.
    """
    found: dict[Any, Estimate] = {}
    for alike in same_images(rows, by):
        n = len(alike.groups)
        ends = _means_with_limits(alike.values[0], alike.groups, resamples)
        for key, undefined, mean, low, high in zip(alike.keys, alike.undefined, *ends, strict=True):
            found[key] = Estimate(float(mean), float(low), float(high), n, undefined)
    return {key: found[key] for key in sorted(found)}


def _means_with_limits(values: Floats, groups: AnyNames, resamples: int) -> tuple[Floats, Floats, Floats]:
    """Averages values (S,N,M), at least one per image, over seeds, then images: mean, low and high, each (M,)."""
    image = mean_over(values, axis=0)
    estimate = mean_over(image, axis=0)
    if not len(groups):
        return estimate, estimate, estimate
    count = np.full(len(estimate), clusters_of(groups)[0].number)
    each = np.stack([resampled_means(one, groups, resamples) for one in values], axis=1)
    samples = each[:, 0] if len(values) == 1 else resampled_means(image, groups, resamples)
    return estimate, *limits(estimate, samples, count, mean_over(values, axis=1), each)


def limits(
    estimate: Floats, samples: Floats, groups: Floats, by_seed: Floats | None = None, seed_samples: Floats | None = None
) -> tuple[Floats, Floats]:
    """Computes 95 % intervals of M quantities: percentiles of a bootstrap over groups, stretched around the estimate.

    The stretch corrects for few groups (Student's t instead of the normal distribution, and the bootstrap's factor
    (G-1)/G) and for the variance between seeds, which resampling a handful of seeds underestimates. The variance of the
    mean is that of the groups plus that of the seeds (the excess of their spread over the spread caused by images
    alone); its quantile is the mean of both Student quantiles, weighted by the variances.

    Args:
        estimate: (M,) mean over S seeds.
        samples: (B,M) the same in bootstrap samples of the groups.
        groups: (M,) G.
        by_seed: (S,M) estimate of each seed; None = the variance of seeds is ignored.
        seed_samples: (B,S,M) the same in the bootstrap samples.

    Returns:
        low (M,), high (M,): nan for fewer than ``FEWEST_GROUPS`` groups.

    Source: expanded percentile interval, Hesterberg 2015, arXiv:1411.5279; weighted quantiles, Cochran 1964,
    Biometrics 20(1), 191-195.
    Deviation: the percentiles are stretched, not shifted, which works for any quantile.
    """
    if by_seed is None or seed_samples is None:
        by_seed, seed_samples = estimate[None], samples[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = _spread(samples, axis=0)
        of_groups = spread * groups / (groups - 1)
        of_seeds = variance_of_seeds(by_seed, seed_samples, groups)
        variance = of_groups + of_seeds
        seeds = np.isfinite(by_seed).sum(axis=0)
        students = [stdtrit(np.maximum(count - 1, 1), (1 + LEVEL) / 2) for count in (groups, seeds)]
        quantile = (of_groups * students[0] + of_seeds * students[1]) / variance
        margin = np.where(variance > 0, quantile * np.sqrt(variance), 0)
        normal = ndtri((1 + LEVEL) / 2) * np.sqrt(spread)
        low, high = intervals(samples)
        # If all groups agree there is no percentile to stretch; the seeds alone determine the interval.
        below = np.where(spread > 0, (estimate - low) * margin / normal, margin)
        above = np.where(spread > 0, (high - estimate) * margin / normal, margin)
    enough = groups >= FEWEST_GROUPS
    return np.where(enough, estimate - below, np.nan), np.where(enough, estimate + above, np.nan)


def limits_of_one(
    estimate: float, samples: Floats, groups: AnyNames, within: tuple[float, float]
) -> tuple[float, float]:
    """Computes ``limits`` of one quantity from bootstrap samples (B,) over groups (N,), clipped to ``within``."""
    low, high = limits(np.array([estimate]), samples[:, None], np.array([clusters_of(groups)[0].number]))
    return float(np.clip(low[0], *within)), float(np.clip(high[0], *within))


def mean_over(values: Floats, axis: int) -> Floats:
    """Averages the defined values along an axis; nan if there are none."""
    defined = np.isfinite(values)
    if values.shape[axis] == 1:
        return np.where(defined, values, np.nan).squeeze(axis)
    return ratio(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def weighted_means(weights: Floats, values: Floats) -> Floats:
    """Computes means (B,M) of values (N,M), nan if undefined, with weights (B,N)."""
    defined = np.isfinite(values)
    return ratio(weights @ np.where(defined, values, 0), weights @ defined.astype(float))


def ratio(over: Floats, under: Floats) -> Floats:
    """Divides a sum by a weight; nan if the weight is 0."""
    quotient: Floats = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return quotient


def with_ties(values: Floats, share: float = RELATIVE) -> Floats:
    """Sets similar values of a row to the smallest of them, so that they tie; nan remains nan.

    Args:
        values: (…,M).
        share: values tie if they differ by at most this share of the row's largest, or by rounding.
    """
    order = np.argsort(values, axis=-1)
    merged = np.take_along_axis(values, order, axis=-1)
    sizes = np.where(np.isfinite(values), np.abs(values), 0)
    width = ABSOLUTE + share * sizes.max(axis=-1, initial=0)
    if not (np.diff(merged, axis=-1) <= width[..., None]).any():
        return values.copy()
    if values.shape[-1] > values.size // values.shape[-1]:  # few long rows
        for row, one in zip(merged.reshape(-1, values.shape[-1]), width.ravel(), strict=True):
            _merge(row, one)
    else:
        for place in range(1, values.shape[-1]):
            least, here = merged[..., place - 1], merged[..., place]
            merged[..., place] = np.where(here - least <= width, least, here)
    found = np.empty_like(merged)
    np.put_along_axis(found, order, merged, axis=-1)
    return found


def _merge(row: Floats, width: float) -> None:
    """Sets sorted values that exceed the smallest one of their run by at most a width to that one."""
    end = np.searchsorted(row, row + width, side="right").tolist()  # of the run, if one starts here
    starts, at = list[int](), 0
    while at < len(row):
        starts.append(at)
        at = max(end[at], at + 1)
    row[:] = np.repeat(row[starts], np.diff([*starts, len(row)]))


def variance_of_seeds(by_seed: Floats, seed_samples: Floats, groups: Floats) -> Floats:
    """Estimates the variance (M,) that seeds add to a mean over the seeds with a value; 0 for a single one."""
    if len(by_seed) < 2:
        return np.zeros(by_seed.shape[1])
    seeds = np.isfinite(by_seed).sum(axis=0)
    by_images = mean_over(_spread(seed_samples - by_seed, axis=1), axis=0) * groups / (groups - 1)
    between = np.fmax((_spread(by_seed, axis=0) - by_images) * seeds / (seeds - 1), 0)
    return np.where(seeds > 1, between / seeds, 0)


def _spread(values: Floats, axis: int) -> Floats:
    """Computes the variance (divided by the number) of the defined values along an axis."""
    return mean_over((values - np.expand_dims(mean_over(values, axis), axis)) ** 2, axis)
