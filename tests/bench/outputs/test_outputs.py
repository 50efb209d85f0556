"""Losses, probabilities and decisions of sigmoid outputs, calculated by hand with loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.contracts import NO_FINDING, DatasetInfo, NotApplicable
from bench.outputs import LINEAR, SIGMOID, SOFTMAX, outputs_of
from bench.outputs.linear import Linear

FACTS = DatasetInfo("made", lambda root, split: [], "other", ("age",), "none", "", "", "", healthy=None)
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-0.3, 1.7, -2.0]], dtype=torch.float64)
LABELS = torch.tensor([[1, 0, -1], [0, 1, 1]])
LOW = torch.tensor([0.6, 0.8, 2.0], dtype=torch.float64)  # weights of absence
HIGH = torch.tensor([3.0, 1.5, 0.7], dtype=torch.float64)  # and of presence


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def by_hand(weighted: bool) -> float:
    total, share = 0.0, 0.0
    for logits, labels in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        for at, (logit, label) in enumerate(zip(logits, labels, strict=True)):
            if label < 0:
                continue
            weight = float((HIGH if label else LOW)[at]) if weighted else 1.0
            right = probability(logit) if label else 1 - probability(logit)
            total -= weight * math.log(right)
            share += weight
    return total / share


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_the_mean_over_known_labels(weighted: bool) -> None:
    weights = torch.stack([LOW, HIGH]) if weighted else None
    assert SIGMOID.loss(LOGITS, LABELS, weights).item() == pytest.approx(by_hand(weighted), rel=1e-12)


def test_unknown_labels_have_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    SIGMOID.loss(logits, LABELS).backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    # Of five known labels; the derivative of the loss by a logit is p - y.
    assert logits.grad[0, 0].item() == pytest.approx((probability(2) - 1) / 5)


def test_a_batch_without_a_known_label_costs_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = SIGMOID.loss(logits, torch.full_like(LABELS, -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_class_weights_give_presence_and_absence_the_same_total() -> None:
    labels = np.array([[1, 0], [0, 0], [0, -1], [0, 1], [-1, 0]])
    weights = SIGMOID.class_weights(labels, 2)
    np.testing.assert_allclose(weights.numpy(), [[4 / 6, 4 / 6], [4 / 2, 4 / 2]], rtol=1e-6)
    for finding in range(2):
        present, absent = ((labels[:, finding] == value).sum() for value in (1, 0))
        assert weights[1, finding] * present == pytest.approx(float(weights[0, finding] * absent))


def test_class_weights_of_a_finding_that_is_always_present_are_finite() -> None:
    assert SIGMOID.class_weights(np.array([[1], [1]]), 1).isfinite().all()


def test_target_is_decided_by_its_own_logit_alone() -> None:
    logits = torch.tensor([[[3.0, 0.2], [9.0, -0.1]]])
    assert SIGMOID.is_target(logits, torch.tensor([1])).tolist() == [[True, False]]
    assert SOFTMAX.is_target(logits, torch.tensor([1])).tolist() == [[False, False]]
    assert SIGMOID.probability(logits)[0, 0, 1].item() == pytest.approx(probability(0.2))


def test_prediction_is_right_if_it_equals_the_label() -> None:
    logits = np.array([[2.0, -1.0], [2.0, -1.0], [-3.0, -1.0], [0.4, -2.0]])
    labels, targets = np.array([0, 1, NO_FINDING, NO_FINDING]), np.array([0, 1, 1, 0])
    assert SIGMOID.predicted(logits, targets).tolist() == [0, NO_FINDING, NO_FINDING, 0]
    assert (SIGMOID.predicted(logits, targets) == labels).tolist() == [True, False, True, False]


def test_confidence_is_the_probability_of_the_label() -> None:
    logits = np.array([[2.0, -1.0], [-3.0, -1.0]])
    found = SIGMOID.confidence(logits, np.array([1, NO_FINDING]))
    np.testing.assert_allclose(found, [probability(-1), 1 - probability(-1)])


def test_a_multilabel_logit_is_explained_whatever_is_asked_for() -> None:
    assert SIGMOID.explained("contrast") == SIGMOID.explained("logit") == "logit"
    assert SOFTMAX.explained("contrast") == "contrast"
    assert outputs_of(FACTS) is SOFTMAX
    assert outputs_of(replace(FACTS, multilabel=True)) is SIGMOID
    assert outputs_of(replace(FACTS, regression=True)) is LINEAR


def test_guessing_costs_the_loss_of_zero_logits() -> None:
    zeros = torch.zeros(4, 3)
    labels = torch.tensor([[0, 1, 1], [1, -1, 0], [0, 0, 0], [1, 1, -1]])
    assert SIGMOID.guess(3) == pytest.approx(SIGMOID.loss(zeros, labels).item())
    assert SOFTMAX.guess(3) == pytest.approx(SOFTMAX.loss(zeros, torch.tensor([0, 1, 2, 0])).item())


def test_counts_are_of_present_findings() -> None:
    assert SIGMOID.counts(np.array([[1, -1], [1, 0], [0, 1]]), 2) == [2, 1]
    assert SOFTMAX.counts(np.array([0, 2, 2]), 3) == [1, 0, 2]


def test_what_is_left_of_a_number_is_measured_in_deviations() -> None:
    """Outputs 10 and 14 have the deviation 2: a fall by 1 is a half, by 2 or more all, and a rise is no loss."""
    outputs = LINEAR.fitted(np.array([[10.0], [14.0]]))
    curves = torch.tensor([[10.0, 9.0, 8.0, 5.0], [14.0, 15.0, 13.5, 12.0]]).unsqueeze(2)
    left = outputs.of_target(curves, torch.tensor([0, 0]), curves[:, 0])
    assert left.tolist() == [[1, 0.5, 0, 0], [1, 1, 0.75, 0]]
    shifted = outputs.of_target(curves + 100, torch.tensor([0, 0]), curves[:, 0] + 100)
    assert torch.equal(shifted, left)


def test_a_number_that_never_changes_tells_nothing() -> None:
    assert Linear(0.0).of_target(torch.ones(1, 3, 1), torch.tensor([0]), torch.ones(1, 1)).isnan().all()
    assert LINEAR.is_target(torch.ones(2, 3, 1), torch.tensor([0, 0])).isnan().all()
    assert LINEAR.explained("contrast") == "logit"
    with pytest.raises(NotApplicable, match="explained here, and not trained"):
        LINEAR.loss(torch.ones(2, 1), torch.zeros(2))
    assert all(np.isnan(values).all() for values in LINEAR.scores(np.ones((4, 1)), np.zeros(4, dtype=int)).values())
