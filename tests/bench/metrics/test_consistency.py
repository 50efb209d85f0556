"""Consistency, exactness and complexity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import metrics
from tests.oracles import complexity as oracle

MAPS = torch.tensor([[[3.0, 0.0], [-1.0, 0.5]], [[-1.0, -2.0], [-3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])


def test_shares_of_signs_by_hand():
    assert metrics.positive_ratio(MAPS).tolist() == [0.5, 0, 0]
    assert metrics.false_alarm_area(MAPS).tolist() == [0.5, 0, 0]
    assert metrics.negative_ratio(MAPS).tolist() == [0.25, 0.75, 0]


def test_largest_evidence_by_hand():
    assert metrics.largest_evidence(MAPS).tolist() == [3, 0, 0]
    assert metrics.largest_evidence(MAPS - 1).tolist() == [2, -1, -1]
    maps = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(2))
    expected = [max(value for row in image for value in row) for image in maps.tolist()]
    assert metrics.largest_evidence(maps).tolist() == expected


@pytest.mark.parametrize("name", ["negative_ratio", "largest_evidence"])
def test_an_unsigned_method_says_nothing_against_a_class(name):
    assert getattr(metrics, name)(MAPS.relu(), False).isnan().all()


@pytest.mark.parametrize(
    "name", ["positive_ratio", "negative_ratio", "false_alarm_area", "largest_evidence", "gini", "entropy"]
)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_map_that_is_not_finite_is_nan_alone(name, bad):
    """Trap 3: a NaN is neither above nor below 0, and must not count as a cell without evidence."""
    maps = torch.ones(2, 3, 3)
    maps[1, 1, 1] = bad
    assert getattr(metrics, name)(maps).isnan().tolist() == [False, True]


def test_evidence_gap_by_hand():
    logits = torch.tensor([[1.0, 2.0], [4.0, -1.0], [0.0, 5.0], [1.0, 1.0]])
    gap = metrics.evidence_gap(logits, torch.tensor([1, 0, 0, 1]), torch.tensor([2.0, 3.0, 1e-3, torch.nan]))
    np.testing.assert_allclose(gap, [0, 0.25, 1000, np.nan], rtol=1e-5)


def test_evidence_that_is_the_prediction_has_no_gap():
    evidence = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 0])
    pooled = evidence[torch.arange(4), targets].flatten(1).mean(dim=1)
    assert metrics.evidence_gap(evidence.mean(dim=(2, 3)), targets, pooled).max() < 1e-4


@pytest.mark.parametrize("name", ["gini", "entropy"])
def test_complexity_is_the_oracle(name):
    maps = torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [getattr(oracle, name)(image.numpy()) for image in maps]
    np.testing.assert_allclose(getattr(metrics, name)(maps), expected, atol=1e-10)


def test_complexity_of_uniform_single_and_empty_maps():
    maps = torch.zeros(3, 10, 10)
    maps[0], maps[1, 4, 4], maps[2] = 2.0, 1.0, -1.0
    np.testing.assert_allclose(metrics.gini(maps), [0, 0.99, np.nan], atol=1e-6)
    np.testing.assert_allclose(metrics.entropy(maps), [1, 0, np.nan], atol=1e-6)


def test_evidence_gap_of_a_contrast_near_zero_has_the_scale_of_its_logits():
    logits = torch.tensor([[0.03, 0.03001], [0.0, 4.0]])
    contrast = logits - logits.flip(1)
    targets, rounding = torch.tensor([1, 0]), 1e-8
    pooled = contrast.gather(1, targets[:, None])[:, 0] + rounding
    gap = metrics.evidence_gap(logits, targets, pooled, contrast)
    assert gap[0].item() == pytest.approx(rounding / 0.03, rel=0.3)  # and not 1e-3, relative to the contrast
    assert metrics.evidence_gap(logits, targets, pooled + 1, contrast)[1].item() == pytest.approx(1 / 4, rel=1e-4)
