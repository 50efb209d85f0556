"""Likeness of maps against scipy one by one, and against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.metrics.similarity import histogram_entropy, rank_correlation, relative_change, top_overlap


def maps(*rows: list[float]) -> np.ndarray:
    """Maps (N,1,w)."""
    return np.array(rows, dtype=float)[:, None]


def test_rank_correlation_is_spearmans_with_ties_and_signs() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 20, 5, 6)).round(1)  # ties
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second), expected, atol=1e-12)


def test_rank_correlation_reads_order_alone() -> None:
    one = maps([-3, -1, 0, 2, 5])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)


@pytest.mark.parametrize("bad", [[1, 1, 1, 1], [0, 1, 2, np.nan], [0, 1, 2, np.inf]])
def test_constant_or_broken_maps_have_no_likeness(bad: list[float]) -> None:
    good, other = maps([1, 2, 3, 4]), maps(bad)
    for pair in ((good, other), (other, good), (other, other)):
        assert np.isnan(rank_correlation(*pair)).all()
        assert np.isnan(top_overlap(*pair, 0.5)).all()
    assert np.isnan(histogram_entropy(other)).all()


def test_top_overlap_by_hand() -> None:
    ten = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    first = maps(ten, ten, ten)
    second = maps(ten, ten[::-1], [9, 0, 8, 1, 2, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(top_overlap(first, second, 0.2), [1, 0, 1 / 3])


def test_cells_that_tie_at_the_border_share_it() -> None:
    """Two of ten cells: the peak, and a ninth of each of the nine zeros."""
    left, right = maps([1, *[0] * 9]), maps([*[0] * 9, 1])
    np.testing.assert_allclose(top_overlap(left, left, 0.2), 1)
    shared = 8 / 9 + 2 / 9  # eight common zeros, and either peak with the other's ninth
    np.testing.assert_allclose(top_overlap(left, right, 0.2), shared / (4 - shared))


def test_relative_change_by_hand() -> None:
    np.testing.assert_allclose(
        relative_change(maps([3, 4], [3, 4], [0, 0]), maps([3, 4], [0, 8], [1, 0])), [0, 1, np.nan]
    )


def test_entropy_of_known_histograms() -> None:
    ramp = np.arange(16.0).reshape(1, 4, 4)  # four bins of four values
    halves = np.repeat([-7.0, 1.0], 8).reshape(1, 4, 4)
    assert histogram_entropy(ramp) == pytest.approx(math.log(4))
    assert histogram_entropy(halves) == pytest.approx(math.log(2))
    assert histogram_entropy(1e-6 * ramp - 5) == pytest.approx(histogram_entropy(ramp))
