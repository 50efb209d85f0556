"""Means with intervals. Images of one group (a patient) are one cluster: groups are resampled, not images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.seeds import seed_of

Floats = NDArray[np.float64]
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` images with its interval; ``undefined`` more had no value (nan)."""

    mean: float
    low: float
    high: float
    n: int
    undefined: int = 0


def bootstrap_weights(groups: NDArray[np.object_] | pd.Series, resamples: int = RESAMPLES) -> Floats:
    """How often each image counts in each bootstrap sample, when whole groups are drawn with replacement.

    Args:
        groups: (N,) group of each image.
        resamples: B.

    Returns:
        (B,N), read-only. The draw is seeded by the group names, so that scores of the same images are resampled alike.
    """
    return _weights(tuple(map(str, groups)), resamples)


@lru_cache(maxsize=8)  # the scores of a table are of the same few sets of images
def _weights(groups: tuple[str, ...], resamples: int) -> Floats:
    names, member = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed_of("bootstrap", *names))
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weights = counts[:, member].astype(float)
    weights.flags.writeable = False
    return weights


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (B,), nan ones left out; (nan, nan) where none is left."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(samples: Floats) -> tuple[Floats, Floats]:
    """``interval`` of each column of bootstrap samples (B,M) -> low (M,), high (M,)."""
    if np.isfinite(samples).all():
        low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    else:
        low, high = np.transpose([interval(column) for column in samples.T])
    return low, high


def estimate_mean(values: pd.Series, images: pd.Series, groups: pd.Series, resamples: int = RESAMPLES) -> Estimate:
    """Mean over images, with a 95 % percentile bootstrap interval over groups; nan values are left out and counted.

    Values of the same image (several seeds) are averaged first. The interval is nan where there are fewer than two
    groups, because one cluster says nothing about the spread between clusters.

    Args:
        values, images, groups: aligned, one entry a score.
    """
    by = images.to_numpy()
    means, names = values.groupby(by).mean(), groups.groupby(by).first()
    return _estimate(means.to_numpy(dtype=float), names.to_numpy(dtype=object), resamples)


def estimate_means(rows: pd.DataFrame, by: list[str], resamples: int = RESAMPLES) -> dict[Any, Estimate]:
    """``estimate_mean`` of the rows of every combination of the columns ``by``, in one pass over the rows.

    Args:
        rows: with the columns value, image and group.
        by: two columns or more.
    """
    of_image = rows.groupby([*by, "image"], dropna=False)
    means, groups = of_image["value"].mean(), of_image["group"].first().to_numpy(dtype=object)
    places = means.groupby(level=by, sort=False, dropna=False).indices
    values = means.to_numpy(dtype=float)
    return {key: _estimate(values[place], groups[place], resamples) for key, place in places.items()}


def _estimate(value: Floats, group: NDArray[np.object_], resamples: int) -> Estimate:
    """Of one value (N,) an image."""
    defined = ~np.isnan(value)
    value, group, undefined = value[defined], group[defined], int((~defined).sum())
    if not len(value):
        return Estimate(np.nan, np.nan, np.nan, 0, undefined)
    low = high = float("nan")
    if len(set(group)) > 1:
        weights = bootstrap_weights(group, resamples)
        low, high = interval(weights @ value / weights.sum(axis=1))
    return Estimate(float(value.mean()), low, high, len(value), undefined)
