"""Means and intervals over groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.comparison import mean_differences
from bench.statistics.intervals import ALIKE, estimate_mean, estimate_means, interval, quantiles, with_ties


def series(*values: object) -> pd.Series:
    return pd.Series(values)


def test_groups_are_drawn_whole() -> None:
    weights = next(image_replicates(np.array(["a", "a", "b", "c"]), 200))
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


@pytest.mark.parametrize("count", [5, 7, 20])
def test_interval_covers_the_truth(count: int) -> None:
    """95 % intervals of 400 studies of few patients with 3 correlated images each hold the true mean 0."""
    rng = np.random.default_rng(0)
    patient, study = np.repeat(np.arange(count), 3), np.arange(400)
    values = rng.normal(size=(400, count))[:, patient] + 0.5 * rng.normal(size=(400, 3 * count))
    index = pd.MultiIndex.from_product([study, [0], np.arange(3 * count)], names=["study", "of", "image"])
    rows = index.to_frame(index=False).assign(value=values.ravel(), group=np.tile(patient, 400))
    found = estimate_means(rows, ["study", "of"]).values()
    assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.98


def test_many_at_once_are_as_one_by_one() -> None:
    """With missing values, so that not all are of the same images; seeds are those of ``mean_differences``."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 12, 4))
    values[:, 3, 1] = values[0, 5, 2] = np.nan
    seed, image, way = (grid.ravel() for grid in np.indices(values.shape))
    rows = pd.DataFrame({"value": values.ravel(), "seed": seed, "image": image, "way": way, "of": 0, "group": image})
    found = estimate_means(rows, ["way", "of"])
    alone = mean_differences(values, np.arange(12).astype(object))
    for way, one in alone.iterrows():
        if way != 1:  # there the groups without a value are drawn, too
            assert found[way, 0].mean == pytest.approx(one["difference"])
    assert (found[1, 0].n, found[1, 0].undefined) == (11, 1)
    part = rows[(rows["way"] == 1) & (rows["seed"] == 0)]
    single = estimate_mean(part["value"], part["image"], part["group"])
    assert single == estimate_means(part, ["way", "of"])[1, 0]


def test_clustered_images_give_wider_intervals_than_independent_ones() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 5)
    values = pd.Series(rng.normal(size=20)[patients])
    clustered = estimate_mean(values, pd.Series(np.arange(100)), pd.Series(patients))
    independent = estimate_mean(values, pd.Series(np.arange(100)), pd.Series(np.arange(100)))
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


def test_interval_is_the_percentiles() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_what_is_alike_is_equal() -> None:
    """Within a share of the largest, or the rounding of float32; a chain of small steps is not one tie."""
    values = np.array([[0.735, 0.5, 0.7352, np.nan, 0.7349, 0.74], [3e-7, 1e-7, 2e-7, 0.0, 6e-5, 7e-5]])
    np.testing.assert_allclose(rankdata(with_ties(values[0, [0, 1, 2, 4, 5]], ALIKE)), [3, 1, 3, 3, 5])
    np.testing.assert_allclose(rankdata(with_ties(values[1])), [2.5, 2.5, 2.5, 2.5, 5, 6])
    np.testing.assert_array_equal(with_ties(values), [with_ties(row) for row in values])
    assert np.isnan(with_ties(values)[0, 3])
    np.testing.assert_allclose(rankdata(with_ties(np.array([1, 0.9996, 0.9992, 0.9988]), ALIKE)), [3.5, 3.5, 1.5, 1.5])
    np.testing.assert_allclose(rankdata(with_ties(np.array([1, 0.9996, 0.999999]))), [2.5, 1, 2.5])


def test_mean_of_nothing_is_undefined() -> None:
    estimate = estimate_mean(pd.Series(dtype=float), pd.Series(dtype=object), pd.Series(dtype=object))
    assert estimate.n == 0
    assert np.isnan([estimate.mean, estimate.low, estimate.high]).all()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_quantiles_are_those_of_numpy(size: int) -> None:
    samples, shares = np.random.default_rng(size).normal(size=(size, 5)), [0.0, 0.025, 0.5, 0.975, 1.0]
    np.testing.assert_allclose(quantiles(samples, shares), np.quantile(samples, shares, axis=0), rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 500), (40, 12), (3, 3), (0,), (2, 0)])
def test_ties_are_those_of_a_literal_loop(shape: tuple[int, ...]) -> None:
    """Long rows are merged in another way than many short ones."""
    generator = np.random.default_rng(0)
    for values in (generator.uniform(-1, 1, shape), generator.integers(-9, 9, shape) / 1000):
        values[generator.random(shape) < 0.1] = np.nan
        expected = values.copy()
        for row in expected.reshape(-1, shape[-1]) if values.size else ():
            width, least = 1e-6 + 0.01 * np.nanmax(np.abs(row)), -np.inf
            for at in np.argsort(row):
                least = row[at] = least if row[at] - least <= width else row[at]
        np.testing.assert_array_equal(with_ties(values, 0.01), expected)
