"""Means with intervals. Images of one group (a patient) are one cluster: groups are resampled, not images."""

from __future__ import annotations

from dataclasses import dataclass

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
        (B,N). The draw is seeded by the group names, so that scores of the same images are resampled alike.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed_of("bootstrap", *names))
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return counts[:, member].astype(float)


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (B,), nan ones left out; (nan, nan) where none is left."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate_mean(values: pd.Series, images: pd.Series, groups: pd.Series, resamples: int = RESAMPLES) -> Estimate:
    """Mean over images, with a 95 % percentile bootstrap interval over groups; nan values are left out and counted.

    Values of the same image (several seeds) are averaged first. The interval is nan where there are fewer than two
    groups, because one cluster says nothing about the spread between clusters.

    Args:
        values, images, groups: aligned, one entry a score.
    """
    frame = pd.DataFrame({"value": values.to_numpy(), "image": images.to_numpy(), "group": groups.to_numpy()})
    defined = frame.dropna(subset="value").groupby("image", sort=True).agg({"value": "mean", "group": "first"})
    undefined = frame["image"].nunique() - len(defined)
    if not len(defined):
        return Estimate(np.nan, np.nan, np.nan, 0, undefined)
    value = defined["value"].to_numpy(dtype=float)
    low = high = float("nan")
    if defined["group"].nunique() > 1:
        weights = bootstrap_weights(defined["group"], resamples)
        low, high = interval(weights @ value / weights.sum(axis=1))
    return Estimate(float(value.mean()), low, high, len(value), undefined)
