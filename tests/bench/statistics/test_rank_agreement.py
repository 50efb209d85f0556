"""Kendall's τ against scipy, and its interval on made scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from bench.statistics.agreement import kendall_tau, rank_agreement
from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.intervals import limits_of_one


def test_tau_is_scipys_with_ties_and_without() -> None:
    draw = np.random.default_rng(0)
    first = np.concatenate([draw.normal(size=(40, 7)), draw.integers(0, 4, size=(40, 7)).astype(float)])
    second = np.concatenate([draw.normal(size=(40, 7)), draw.integers(0, 3, size=(40, 7)).astype(float)])
    expected = [kendalltau(*pair).statistic for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(kendall_tau(first, second), expected, atol=1e-12)
    assert np.isnan(kendall_tau(np.ones((1, 3)), first[:1, :3])).all()
    assert np.isnan(kendall_tau(np.array([1.0, np.nan, 2.0]), first[0, :3]))


def test_agreement_ranks_means_over_images() -> None:
    draw = np.random.default_rng(1)
    first, second = draw.normal(size=(2, 12, 6)) + np.arange(6)
    first[3, 2] = second[5] = np.nan
    groups = np.repeat(list("abcdef"), 2)
    found = rank_agreement(first, second, groups, resamples=50)
    assert found.mean == pytest.approx(kendalltau(np.nanmean(first, axis=0), np.nanmean(second, axis=0)).statistic)
    taus = []
    for weights in next(image_replicates(groups, 50)):
        means = []
        for scores in (first, second):
            counts = np.where(np.isfinite(scores), weights[:, None], 0)
            means.append(np.nansum(scores * counts, axis=0) / counts.sum(axis=0))
        taus.append(kendalltau(*means).statistic)
    limits = limits_of_one(found.mean, np.array(taus), groups, (-1, 1))
    assert (found.low, found.high) == pytest.approx(limits)
    assert found.n == 12


def test_same_and_opposite_orders() -> None:
    scores = np.random.default_rng(2).normal(scale=0.1, size=(20, 5)) + np.arange(5)
    groups = np.arange(20).astype(str)
    same, opposite = rank_agreement(scores, 3 * scores, groups), rank_agreement(scores, -scores, groups)
    assert (same.mean, same.low, same.high) == (1, 1, 1)
    assert (opposite.mean, opposite.low, opposite.high) == (-1, -1, -1)


def test_too_little_has_no_agreement_or_no_interval() -> None:
    scores = np.random.default_rng(3).normal(size=(4, 3))
    assert np.isnan(rank_agreement(scores[:, :2], scores[:, :2], np.array(list("abcd"))).mean)
    assert np.isnan(rank_agreement(scores[:0], scores[:0], np.array([])).mean)
    one = rank_agreement(scores, scores, np.array(list("aaaa")))
    assert one.mean == 1
    assert np.isnan([one.low, one.high]).all()
