"""Ratio of means against loops, and its interval in cases that are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.statistics.estimands import ratios_of_means

NAMES = np.array([f"p{index}" for index in range(20)], dtype=object)


def ratio_of_means(over: np.ndarray, under: np.ndarray, groups: np.ndarray) -> list[float]:
    """Ratio, low and high of one method."""
    return [float(one[0]) for one in ratios_of_means(over[..., None], under[..., None], groups)]


def test_values_are_averaged_over_seeds_and_images_before_they_are_divided() -> None:
    generator = np.random.default_rng(0)
    over, under = generator.uniform(0, 1, (2, 20)), generator.uniform(0.1, 1, (2, 20))
    over[0, 5] = under[0, 5] = np.nan  # of one seed
    sums = [0.0, 0.0]
    for image in range(20):
        seeds = [s for s in range(2) if np.isfinite(over[s, image])]
        sums[0] += sum(over[s, image] for s in seeds) / len(seeds)
        sums[1] += sum(under[s, image] for s in seeds) / len(seeds)
    mean, low, high = ratio_of_means(over, under, NAMES)
    assert mean == pytest.approx(sums[0] / sums[1], rel=1e-12)
    assert low < mean < high


def test_the_interval_is_empty_if_all_images_have_one_ratio() -> None:
    under = np.random.default_rng(1).uniform(0.1, 1, (1, 20))
    assert ratio_of_means(0.3 * under, under, NAMES) == pytest.approx([0.3] * 3)


def test_groups_are_drawn_as_a_whole() -> None:
    of_patient, under = np.random.default_rng(2).uniform(0, 1, (1, 20)), np.ones((1, 80))
    values = np.repeat(of_patient, 4, axis=1)
    _, low, high = grouped = ratio_of_means(values, under, np.repeat(NAMES, 4))
    assert grouped == pytest.approx(ratio_of_means(of_patient, np.ones((1, 20)), NAMES))
    _, least, most = ratio_of_means(values, under, np.arange(80).astype(str).astype(object))
    assert most - least < 0.7 * (high - low)


def test_without_a_denominator_there_is_no_ratio() -> None:
    assert np.isnan(ratio_of_means(np.ones((1, 20)), np.zeros((1, 20)), NAMES)).all()
