"""Exact sign-flip tests: every sign pattern, scipy, hand-checked values, and the error rate without any difference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.statistics.decisions import decide
from bench.statistics.sign_flip import MOST_EXACT, sign_flip_tests
from tests.oracles import signed_rank as oracle

NAN = float("nan")


def p_of(values: np.ndarray | list[float]) -> float:
    return float(sign_flip_tests(np.asarray(values, dtype=float)[:, None])[0][0])


# --- Exact p ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12])
def test_every_sign_pattern_with_and_without_ties_and_zeros(count: int) -> None:
    """Integers from -4 to 4 tie and vanish, normal values do neither; all comparisons go through one call."""
    rng = np.random.default_rng(count)
    tied = rng.integers(-4, 5, size=(count, 4)).astype(float)
    shifted = rng.integers(0, 4, size=(count, 2)) / 4
    columns = np.concatenate([tied, shifted, rng.normal(0.5, 1, size=(count, 2))], axis=1)
    expected = [oracle.signed_rank(column.tolist()) for column in columns.T]
    np.testing.assert_allclose(np.transpose(sign_flip_tests(columns)), expected, rtol=1e-14)


def test_one_sided_ties_by_hand() -> None:
    """Only one of the 2^16 sign patterns is as extreme on each side, whatever the ranks."""
    values = np.repeat([0.1, 0.2, 0.3, 0.4], 4)
    assert p_of(values) == p_of(-values) == 2 / 2**16  # 3.05e-5
    assert stats.wilcoxon(values, method="asymptotic").pvalue == pytest.approx(4.0e-4, rel=1e-3)  # 13 times as large


def test_some_ties_by_hand() -> None:
    """Ranks 1.5, 1.5, 3.5, 3.5 and a negative 1.5: the sums 0, 1.5 and 1.5 are at most 1.5, 3 of 16 on each side."""
    p, effect = sign_flip_tests(np.array([[1.0], [-1.0], [2.0], [2.0], [0.0], [NAN]]))
    assert p[0] == 2 * 3 / 16
    assert effect[0] == pytest.approx((8.5 - 1.5) / 10)


@pytest.mark.parametrize("count", [6, 14, 25, 50, MOST_EXACT])
def test_without_ties_it_is_scipys_exact_test(count: int) -> None:
    """Sizes 1 to n in any order; signs are mostly positive."""
    rng = np.random.default_rng(count)
    sizes = rng.permuted(np.tile(np.arange(1.0, count + 1)[:, None], 4), axis=0)
    columns = np.where(rng.uniform(size=sizes.shape) < 0.65, sizes, -sizes) / 7
    expected = [stats.wilcoxon(column, method="exact").pvalue for column in columns.T]
    np.testing.assert_allclose(sign_flip_tests(columns)[0], expected, rtol=1e-12)


def test_with_ties_it_is_scipys_permutation_test() -> None:
    tied = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -0.5, 2.0, -3.0, 1.0])
    every = stats.wilcoxon(tied, method=stats.PermutationMethod()).pvalue
    assert p_of(tied) == pytest.approx(every, rel=1e-12)


def test_the_largest_exact_test_counts_without_rounding() -> None:
    """One of 2^60 patterns on each side, and three if one of the two smallest, tied, has the other sign."""
    values = np.repeat(np.arange(1.0, MOST_EXACT / 2 + 1), 2)
    assert p_of(values) == 2 / 2**MOST_EXACT
    values[0] = -1
    assert p_of(values) == 2 * 3 / 2**MOST_EXACT
    even = np.where(np.arange(MOST_EXACT) % 2, 1.0, -1.0)
    assert p_of(even) == 1


@pytest.mark.parametrize("count", [MOST_EXACT + 1, 90, 300])
def test_more_groups_are_scipys_tie_corrected_normal(count: int) -> None:
    rng = np.random.default_rng(count)
    tied = rng.integers(-20, 25, size=(count, 3)).astype(float)
    tied[tied == 0] = 1.0
    columns = np.concatenate([tied, rng.normal(0.2, 1, size=(count, 2)).round(3)], axis=1)
    expected = [stats.wilcoxon(column, method="asymptotic", correction=False).pvalue for column in columns.T]
    np.testing.assert_allclose(sign_flip_tests(columns)[0], expected, rtol=1e-12)


def test_zeros_and_undefined_values_do_not_count_as_groups() -> None:
    """60 differences among 100 groups are tested exactly; without any there is nothing to reject."""
    values = np.random.default_rng(0).normal(0.3, 1, size=MOST_EXACT)
    wide = np.concatenate([values, np.zeros(20), np.full(20, NAN)])
    p, effect = sign_flip_tests(np.stack([wide, np.where(wide == 0, 0, NAN), np.full(100, NAN)], axis=1))
    assert p[0] == p_of(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    assert (p[1], effect[1]) == (1, 0)
    assert np.isnan([p[2], effect[2]]).all()
    assert [len(one) for one in sign_flip_tests(np.empty((5, 0)))] == [0, 0]
    assert np.isnan(sign_flip_tests(np.empty((0, 2)))).all()


# --- Rounding --------------------------------------------------------------------------------------------------------


def test_ties_do_not_depend_on_the_last_digit() -> None:
    """Differences of shares k/12 in float32 and of means in any order tie as the fractions themselves do."""
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(2, 13, size=24), rng.integers(0, 11, size=24)
    exact = p_of((ours - theirs).astype(float))
    one, other = ((k / 12).astype(np.float32).astype(float) for k in (ours, theirs))
    assert len(np.unique(np.abs(one - other))) > len(np.unique(np.abs(ours - theirs)))
    assert p_of(one - other) == exact
    assert p_of([0.1 + 0.2 - 0.3, 1, 2, 3]) == p_of([0.3 - 0.2 - 0.1, 1, 2, 3]) == p_of([1, 2, 3])


# --- What a decision needs -------------------------------------------------------------------------------------------


def decided(groups: int, comparisons: int) -> pd.DataFrame:
    """Verdicts of equal comparisons whose tied differences all point in one direction."""
    p, effect = sign_flip_tests(np.repeat([0.1, 0.2], groups)[:groups, None])
    row = {"difference": 0.1, "p": p[0], "effect": effect[0], "groups": groups, "seeds": 1, "family": 0}
    row |= {"error": 0.001, "seed_error": 0.0, "stretch": 1.0, "joint_stretch": 1.0}
    facts = {"higher_is_better": True, "margin": 0.01, "reach": 1.0, "primary": False}
    return decide(pd.DataFrame([row | facts] * comparisons), ["family"])


@pytest.mark.parametrize("comparisons", [1, 2, 20, 300, 2000])
def test_needed_groups_are_enough_under_ties_and_one_less_is_not(comparisons: int) -> None:
    needed = int(decided(5, comparisons)["needed"][0])
    enough, lacking = decided(needed, comparisons), decided(needed - 1, comparisons)
    assert set(enough["verdict"]) == {"better"}
    assert (lacking["p_adjusted"].isna()).all()
    assert set(lacking["verdict"]) == {"too few images"}


# --- Without any difference ------------------------------------------------------------------------------------------


def test_no_level_is_exceeded_by_any_pattern_of_ties() -> None:
    """Over all 2^10 equally likely signs, p at most α comes up in at most the share α, for every α that p takes."""
    signs = np.array(list(product((-1.0, 1.0), repeat=10))).T
    for sizes in (np.ones(10), np.arange(1.0, 11), np.array([1, 1, 1, 2, 2, 5, 5, 5, 5, 9.0])):
        p = sign_flip_tests(signs * sizes[:, None])[0]
        assert all((p <= level).mean() <= level + 1e-12 for level in np.unique(p))
        assert (p <= 2 / 2**10).mean() == 2 / 2**10


@pytest.mark.parametrize("groups", [16, 60, 61])
@pytest.mark.parametrize("steps", [3, 10**6])
def test_error_rate_of_simulated_studies(groups: int, steps: int) -> None:
    """2,000 studies of symmetric differences in few or many steps: 5 % of tests at most are wrong, up to chance."""
    draws = np.random.default_rng(groups).normal(size=(groups, 2000))
    p = sign_flip_tests(np.round(draws * steps) / steps)[0]
    assert 0.035 <= (p < 0.05).mean() <= 0.065
