"""Paired comparisons: hand-checked values, scipy and statsmodels' definitions, and what simulated studies must show."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.statistics import comparison
from bench.statistics.comparison import (
    NO_EVIDENCE,
    SAME,
    columns_of_each,
    compare,
    mean_differences,
    mean_ratios,
    non_inferiority,
    paired_differences,
)
from bench.statistics.decisions import can_be_rejected, decide, holm, primary_first
from bench.statistics.sign_flip import sign_flip_tests
from tests.support.files import ROOT

NAN = float("nan")


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    file = ROOT / "docs" / "measurements" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_script", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def names(count: int, size: int = 1) -> np.ndarray:
    return np.repeat([f"p{index}" for index in range(count)], size).astype(object)


# --- Arithmetic ------------------------------------------------------------------------------------------------------


def test_every_ours_minus_every_theirs() -> None:
    found = paired_differences(np.array([[1.0, 2.0]]), np.array([[0.5, NAN, 2.0]]))
    np.testing.assert_allclose(found, [[0.5, NAN, -1.0, 1.5, NAN, 0.0]])


def test_rounding_is_no_difference() -> None:
    found = paired_differences(np.array([[0.3, 0.301]]), np.array([[0.3 + 5e-7]]))[0]
    assert found[0] == 0
    assert found[1] == pytest.approx(0.001, rel=1e-3)


def test_seeds_are_averaged_within_images_and_images_counted_once() -> None:
    differences = np.array([[[1.0], [3.0], [NAN]], [[3.0], [NAN], [NAN]]])  # image means 2, 3, undefined
    found = mean_differences(differences, names(3)).iloc[0]
    assert found["difference"] == 2.5
    assert found[["n", "undefined", "groups", "seeds"]].tolist() == [2, 1, 2, 2]


def test_interval_of_many_independent_images_is_students() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, size=400)
    found = mean_differences(values[None, :, None], names(400), resamples=20000).iloc[0]
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    np.testing.assert_allclose(found[["low", "high"]].astype(float), expected, atol=0.006)


def test_interval_of_dominating_seeds_is_students_over_seeds() -> None:
    by_seed = np.array([0.1, 0.5, 0.9])
    differences = np.broadcast_to(by_seed[:, None, None], (3, 50, 1)) + np.linspace(-1e-6, 1e-6, 50)[None, :, None]
    found = mean_differences(differences, names(50)).iloc[0]
    expected = stats.t.interval(0.95, 2, by_seed.mean(), stats.sem(by_seed))
    np.testing.assert_allclose(found[["low", "high"]].astype(float), expected, rtol=0.2)
    same = mean_differences(np.broadcast_to(by_seed[:, None, None], (3, 50, 1)), names(50)).iloc[0]
    np.testing.assert_allclose(same[["low", "high"]].astype(float), expected)


def test_a_seed_without_any_value_does_not_count() -> None:
    differences = np.random.default_rng(0).normal([[[0.1]], [[0.5]], [[0.9]]], 1, size=(3, 30, 1))
    more = np.concatenate([differences, np.full((1, 30, 1), NAN)])
    pd.testing.assert_frame_equal(mean_differences(more, names(30)), mean_differences(differences, names(30)))
    one = np.concatenate([differences[:1], np.full((1, 30, 1), NAN)])
    pd.testing.assert_frame_equal(mean_differences(one, names(30)), mean_differences(differences[:1], names(30)))


def test_one_group_has_no_interval_and_equal_scores_an_empty_one() -> None:
    assert np.isnan(mean_differences(np.ones((1, 4, 1)), names(1, 4))["low"][0])
    found = compare(np.zeros((2, 9, 1)), names(9)).iloc[0]
    assert found[["difference", "low", "high", "p", "effect"]].tolist() == [0, 0, 0, 1, 0]


def test_signed_rank_by_hand() -> None:
    """Ranks of |d| are 1, 2, 3, 4, 5; negative are 1 and 2: effect (12 - 3) / 15, and the exact p."""
    values = np.array([3.0, -1.0, 4.0, -2.0, 5.0, 0.0, NAN])
    ((p,), (effect,)) = sign_flip_tests(values[:, None])
    assert effect == pytest.approx(9 / 15)
    assert p == pytest.approx(2 * 5 / 2**5)  # of the 32 subsets of {1, …, 5} five sum to at most 3


def test_signed_rank_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for count in (6, 12, 13, 14, 60):
        values = rng.normal(0.3, 1, size=count)
        assert sign_flip_tests(values[:, None])[0][0] == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    tied = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -0.5])
    assert sign_flip_tests(tied[:, None])[0][0] == pytest.approx(
        stats.wilcoxon(tied, method=stats.PermutationMethod()).pvalue
    )


def test_signed_rank_takes_one_value_a_group() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(1, 30, 1))
    found = compare(differences, names(10, 3)).iloc[0]
    means = differences.reshape(10, 3).mean(axis=1)
    assert found["p"] == pytest.approx(stats.wilcoxon(means).pvalue)
    assert (found["groups"], found["n"]) == (10, 30)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, NAN, 0.03])), [0.06, 0.03, NAN, 0.06])
    assert holm(np.array([0.9, 0.8])).max() <= 1


def test_primary_comparison_opens_the_others() -> None:
    """The first test needs no adjustment; the others share the whole level by Holm, and fail if the first fails."""
    first = np.array([True, False, False])
    np.testing.assert_allclose(primary_first(np.array([0.04, 0.01, 0.03]), first), [0.04, 0.04, 0.04])
    np.testing.assert_allclose(primary_first(np.array([0.001, 0.01, 0.03]), first), [0.001, 0.02, 0.03])
    np.testing.assert_allclose(primary_first(np.array([0.2, 0.001, 0.001]), first), [0.2, 0.2, 0.2])
    np.testing.assert_allclose(
        primary_first(np.array([0.04, 0.01, 0.03]), first & False), holm(np.array([0.04, 0.01, 0.03]))
    )


def test_comparisons_that_cannot_be_rejected_leave_the_family() -> None:
    """By numbers of groups alone: k comparisons of n groups need k·2^(1-n) < 0.05."""
    nobody = np.zeros(8, bool)
    few = np.array([8, 8, 8, 8, 8, 8, 5, 7])  # six of 8: 6/128 = .047; with the one of 7: 7/64
    assert can_be_rejected(few, nobody).tolist() == [True] * 6 + [False] * 2
    assert not can_be_rejected(np.full(8, 8), nobody).any()  # 8/128
    first = np.arange(8) == 0
    assert can_be_rejected(np.array([6, *[8] * 6, 5]), first).tolist() == [True] * 7 + [False]


def test_no_primary_test_opens_more_than_one_family_in_twenty() -> None:
    """No comparison differs: any of the primary one and 9 others is called different in at most 5 % of 2,000."""
    rng, first = np.random.default_rng(0), np.arange(10) == 0
    p = rng.uniform(size=(2000, 10))
    wrong = np.mean([(primary_first(one, first) < 0.05).any() for one in p])
    assert wrong <= 0.06


def test_order_of_images_and_seeds_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    differences, groups = rng.normal(size=(3, 24, 5)), names(8, 3)
    differences[:, 4, 1] = NAN
    order = rng.permutation(24)
    mixed = compare(differences[::-1, order], groups[order])
    pd.testing.assert_frame_equal(compare(differences, groups), mixed)


def test_non_inferiority() -> None:
    cases = [(-0.01, 0.3), (-0.3, -0.03), (-0.03, 0.01), (NAN, NAN)]
    assert [non_inferiority(*case, margin=0.02) for case in cases] == [
        "non-inferior",
        "inferior",
        "undecided",
        "undecided",
    ]


# --- Verdicts --------------------------------------------------------------------------------------------------------


def judged(ours: np.ndarray, theirs: np.ndarray, higher: bool = True) -> pd.DataFrame:
    """Verdicts on scores (N,A) against (N,B), all of one family."""
    found = compare(paired_differences(ours[None], theirs[None]), names(len(ours)), resamples=500)
    facts = {"higher_is_better": higher, "margin": 0.01, "reach": 10.0, "primary": False}
    return decide(found.assign(family=0, **facts), ["family"])


def test_planted_better_explainer_is_found_better_and_the_direction_is_respected() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(60, 1))
    good, bad = difficulty + 0.5 + 0.3 * rng.normal(size=(60, 1)), difficulty + 0.3 * rng.normal(size=(60, 1))
    assert judged(good, bad)["verdict"].tolist() == ["better"]
    assert judged(bad, good)["verdict"].tolist() == ["worse"]
    assert judged(bad, good, higher=False)["verdict"].tolist() == ["better"]


def test_two_random_explainers_and_the_same_one_twice_give_no_evidence() -> None:
    rng = np.random.default_rng(0)
    verdicts = pd.concat([judged(rng.uniform(size=(40, 3)), rng.uniform(size=(40, 10))) for _ in range(20)])
    assert (verdicts["verdict"] == NO_EVIDENCE).mean() >= 0.95
    scores = rng.uniform(size=(40, 1))
    assert judged(scores, scores)["verdict"].tolist() == [SAME]


def test_differences_within_the_margin_are_no_wins() -> None:
    """Certain and tiny: no relevant difference. Certain, with an interval across the margin: no evidence of one."""
    rng = np.random.default_rng(0)
    noise = stats.zscore(rng.normal(size=(60, 1)))
    theirs = np.zeros((60, 1))
    tiny, near, far = (mean + spread * noise for mean, spread in ((0.005, 0.001), (0.009, 0.02), (0.05, 0.02)))
    found = judged(np.concatenate([tiny, near, far], axis=1), theirs)
    assert found["verdict"].tolist() == [SAME, NO_EVIDENCE, "better"]
    assert found["p_adjusted"][0] < 0.001
    assert found["low"][1] < 0.01 < found["high"][1]


def test_effect_is_in_favour_of_ours_whatever_the_direction() -> None:
    gain = np.linspace(1, 2, 9)[:, None]
    assert judged(gain, np.zeros((9, 1)))["effect"].tolist() == [1]
    assert judged(gain, np.zeros((9, 1)), higher=False)["effect"].tolist() == [-1]


def test_groups_count_alike_in_mean_interval_test_and_effect() -> None:
    """One group of 30 images with a gain and nine of one image with a loss: the same as ten values, one a group."""
    values = np.concatenate([np.full(30, 0.5), np.linspace(-0.3, -0.1, 9)])
    groups = np.concatenate([np.full(30, "p0"), [f"p{index}" for index in range(1, 10)]]).astype(object)
    found = compare(values[None, :, None], groups).iloc[0]
    alone = compare(values[None, 29:, None], groups[29:]).iloc[0]
    same = ["difference", "low", "high", "p", "effect"]
    assert found[same].tolist() == pytest.approx(alone[same].tolist())
    assert found["difference"] == pytest.approx((0.5 - 9 * 0.2) / 10)
    ratio = mean_ratios(values[None, :, None] + 1, np.full((1, 39, 1), 2.0), groups).iloc[0]
    assert ratio["ratio"] == pytest.approx((1 + found["difference"]) / 2)


def test_fewer_than_five_groups_have_no_interval() -> None:
    low = mean_differences(np.arange(5.0)[None, :, None], names(5))["low"][0]
    assert np.isfinite(low)
    assert np.isnan(mean_differences(np.arange(8.0)[None, :, None], names(4, 2))["low"][0])


def test_too_few_images_to_decide() -> None:
    """With m comparisons the smallest adjusted p of n images is m·2^(1-n)."""
    gain = np.linspace(1, 2, 6)[:, None]
    assert judged(gain, np.zeros((6, 1)))["verdict"].tolist() == ["better"]  # 2^-5 = 0.031
    assert judged(gain, np.zeros((6, 2)))["verdict"].tolist() == ["too few images"] * 2
    assert judged(gain, np.zeros((6, 2)))["needed"].tolist() == [7, 7]
    assert judged(gain[:5], np.zeros((5, 1)))["verdict"].tolist() == ["too few images"]


# --- Simulated studies (all of them: scripts/coverage.py) ------------------------------------------------------------


@pytest.mark.parametrize(
    "study",
    [
        {"seeds": 1, "groups": 40, "images": 1, "group": 0.5, "image": 0.5},
        {"seeds": 1, "groups": 10, "images": 3, "group": 0.5, "image": 0.5},
        {"seeds": 3, "groups": 40, "images": 1, "group": 0.5, "image": 0.5, "rest": 0.5},
        {"seeds": 3, "groups": 40, "images": 1, "group": 0.5, "image": 0.5, "seed": 0.3, "rest": 0.5},
        {"seeds": 5, "groups": 20, "images": 2, "group": 0.5, "image": 0.5, "seed": 0.3, "rest": 0.2},
    ],
)
def test_intervals_cover_the_truth(simulation: ModuleType, study: dict) -> None:
    assert 0.925 <= simulation.coverage(simulation.Study(**study), 600, resamples=500) <= 0.975


def test_holm_controls_the_family_error(simulation: ModuleType) -> None:
    assert simulation.family_error(200, 10, 20) <= 0.08


@pytest.mark.parametrize(("at_once", "waiting"), [(2**20, 2**22), (8, 2**22), (100, 30), (1, 1)])
def test_sets_that_share_a_product_have_the_means_of_each(
    monkeypatch: pytest.MonkeyPatch, at_once: int, waiting: int
) -> None:
    monkeypatch.setattr(comparison, "_AT_ONCE", at_once)
    monkeypatch.setattr(comparison, "_WAITING", waiting)
    draw, groups = np.random.default_rng(4), np.array([f"g{at // 3}" for at in range(27)])
    sets = [(draw.normal(0.2, size=(2, count, 3)), groups[:count]) for count in (27, 24, 27, 9, 24)]
    found = columns_of_each(((np.split(values, [1], axis=-1), names) for values, names in sets), tested=True)
    for (values, names), columns in zip(sets, found, strict=True):
        expected = compare(values, names)
        for name in expected:
            np.testing.assert_allclose(columns[name], expected[name], rtol=1e-12, err_msg=name)
