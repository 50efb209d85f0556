"""Means and intervals over groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.statistics import bootstrap_weights, estimate_mean, interval


def series(*values: object) -> pd.Series:
    return pd.Series(values)


def test_groups_are_drawn_whole() -> None:
    weights = bootstrap_weights(np.array(["a", "a", "b", "c"]), 200)
    assert weights.shape == (200, 4)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()


def test_mean_counts_images_once_and_leaves_nan_out() -> None:
    estimate = estimate_mean(series(1.0, 3.0, 6.0, np.nan), series("x", "x", "y", "z"), series("p", "p", "q", "r"))
    assert (estimate.mean, estimate.n, estimate.undefined) == (4.0, 2, 1)


def test_one_group_has_no_interval() -> None:
    estimate = estimate_mean(series(1.0, 2.0), series("x", "y"), series("p", "p"))
    assert estimate.mean == 1.5
    assert np.isnan(estimate.low)
    assert np.isnan(estimate.high)


def test_nothing_defined() -> None:
    estimate = estimate_mean(series(np.nan), series("x"), series("p"))
    assert np.isnan(estimate.mean)
    assert (estimate.n, estimate.undefined) == (0, 1)


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"value": rng.normal(size=40), "image": np.arange(40), "group": np.arange(40) // 2})
    mixed = frame.sample(frac=1, random_state=1)
    assert estimate_mean(*(frame[c] for c in frame)) == estimate_mean(*(mixed[c] for c in mixed))


def test_interval_covers_the_truth() -> None:
    """95 % intervals of 300 studies of 20 patients with 3 correlated images each hold the true mean 0 in 90–98 %."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 3)
    held = 0
    for _ in range(300):
        values = rng.normal(size=20)[patients] + 0.5 * rng.normal(size=60)
        estimate = estimate_mean(pd.Series(values), pd.Series(np.arange(60)), pd.Series(patients), resamples=300)
        held += estimate.low <= 0 <= estimate.high
    assert 0.90 <= held / 300 <= 0.98


def test_clustered_images_give_wider_intervals_than_independent_ones() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 5)
    values = pd.Series(rng.normal(size=20)[patients])
    clustered = estimate_mean(values, pd.Series(np.arange(100)), pd.Series(patients))
    independent = estimate_mean(values, pd.Series(np.arange(100)), pd.Series(np.arange(100)))
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


def test_interval_is_the_percentiles() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
