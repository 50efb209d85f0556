"""Agreement: published values, scipy's, and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from bench.metrics.similarity import rank_correlation
from bench.statistics.agreement import krippendorff_alpha, spearman, spearman_by_row, spearman_of_ranks

NAN = np.nan


def test_alpha_of_the_published_example() -> None:
    """Krippendorff (2011), section D: four observers, twelve units, ordinal α = 0.815."""
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    assert krippendorff_alpha(ratings) == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(10 * ratings[::-1, ::-1]) == pytest.approx(krippendorff_alpha(ratings))


def test_alpha_of_agreement_dissent_and_chance() -> None:
    same = np.tile(np.arange(6.0), (5, 1))
    assert krippendorff_alpha(same) == pytest.approx(1)
    assert krippendorff_alpha(np.stack([same[0], same[0, ::-1]])) < -0.5
    rng = np.random.default_rng(0)
    chance = np.stack([rng.permutation(6) for _ in range(400)]).astype(float)
    assert abs(krippendorff_alpha(chance)) < 0.01
    assert np.isnan(krippendorff_alpha(np.ones((3, 4))))
    assert np.isnan(krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]])))
    assert np.isnan(krippendorff_alpha(np.full((2, 2), NAN)))


def test_spearman_of_each_row_is_scipys_over_what_both_have() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 5, (30, 7)).astype(float), rng.normal(size=(30, 7))
    first[rng.random(first.shape) < 0.2] = NAN
    second[0, 2:] = NAN
    expected = []
    for a, b in zip(first, second, strict=True):
        both = np.isfinite(a) & np.isfinite(b)
        expected.append(spearmanr(a[both], b[both]).statistic if both.sum() >= 3 else NAN)
    found = spearman_by_row(first, second)
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found[0])
    ranks = (pd.DataFrame(table).rank(axis=1).to_numpy() for table in (first, second))
    np.testing.assert_allclose(spearman_of_ranks(*ranks), expected, atol=1e-12)


def test_every_spearman_is_the_same() -> None:
    """Rows with ties and weights of 1: the ρ of maps, of tables and of scipy agree to rounding."""
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 5, (20, 12)) * 1.0, rng.normal(size=(20, 12))
    expected = [spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
    maps = rank_correlation(first.reshape(20, 3, 4), second.reshape(20, 3, 4))
    np.testing.assert_allclose(spearman(first, second, np.ones((20, 12))), expected, atol=1e-12)
    np.testing.assert_allclose(maps, expected, atol=1e-12)
    np.testing.assert_allclose(spearman_by_row(first, second), expected, atol=1e-12)
    shared = spearman(first[:1], second[:1], rng.integers(0, 3, (4, 12)) * 1.0)
    assert np.isfinite(shared).all()
    assert len(set(shared)) == 4
    assert np.isnan(spearman(np.ones((2, 12)), second[:2], np.ones((2, 12)))).all()
