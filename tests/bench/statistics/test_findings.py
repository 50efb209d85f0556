"""Scores of several labels per image against scikit-learn, and means over findings by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from bench.statistics.findings import macro_mean, macro_scores, scores_by_finding, sigmoid

DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 2, (60, 3))
LOGITS = DRAW.normal(size=(60, 3)) + LABELS * np.array([0.5, 1.5, 3.0])


def test_macro_auc_equals_scikit_learn() -> None:
    expected = sk.roc_auc_score(LABELS, LOGITS, average="macro")
    assert macro_scores(LOGITS, LABELS)["auc"][0] == pytest.approx(expected, abs=1e-12)


def test_every_finding_equals_scikit_learn_on_its_known_labels() -> None:
    labels = LABELS.copy()
    labels[::4, 0], labels[1::3, 2] = -1, -1
    found = scores_by_finding(LOGITS, labels)
    for finding in range(3):
        known = labels[:, finding] >= 0
        truth, logits = labels[known, finding], LOGITS[known, finding]
        predicted = logits > 0
        expected = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
            "auc": sk.roc_auc_score(truth, logits),
            "sensitivity": sk.recall_score(truth, predicted),
            "specificity": sk.recall_score(truth, predicted, pos_label=0),
            "precision": sk.precision_score(truth, predicted),
            "f1": sk.f1_score(truth, predicted),
            "kappa": sk.cohen_kappa_score(truth, predicted),
        }
        for name, value in expected.items():
            assert found[name][0, finding] == pytest.approx(value, abs=1e-12), name


def test_weights_count_images_several_times() -> None:
    weights = DRAW.integers(0, 3, (2, 60)).astype(float)
    found = scores_by_finding(LOGITS, LABELS, weights)["auc"]
    for at, row in enumerate(weights):
        expected = [sk.roc_auc_score(LABELS[:, f], LOGITS[:, f], sample_weight=row) for f in range(3)]
        np.testing.assert_allclose(found[at], expected, atol=1e-12)


def test_samples_in_blocks_have_the_scores_of_all_at_once() -> None:
    labels, weights = LABELS.copy(), DRAW.integers(0, 3, (5, 60)).astype(float)
    labels[::7, 1] = -1
    whole = scores_by_finding(LOGITS, labels, weights)
    parts = scores_by_finding(LOGITS, labels, iter([weights[:2], weights[2:]]))
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)


def test_findings_without_a_score_do_not_count() -> None:
    labels = LABELS.copy()
    labels[:, 1], labels[:, 2] = -1, 1
    found = scores_by_finding(LOGITS, labels)
    assert np.isnan(found["accuracy"][0, 1])  # never labelled
    assert np.isnan(found["auc"][0, 2])  # present in every image
    expected = sk.roc_auc_score(labels[:, 0], LOGITS[:, 0])
    assert macro_scores(LOGITS, labels)["auc"][0] == pytest.approx(expected, abs=1e-12)


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e4, 0.0, np.log(3), 1e4])), [0, 0.5, 0.75, 1])


def test_macro_mean_weights_findings_alike() -> None:
    values = np.array([[1.0, 0.0, 0.5, 0.2, np.nan]])
    findings = np.array([0, 0, 0, 1, 1])
    groups = np.array(["a", "b", "c", "d", "e"], dtype=object)
    found = macro_mean(values, findings, groups)
    assert found.mean == pytest.approx((0.5 + 0.2) / 2)
    assert (found.n, found.undefined) == (4, 1)


def test_macro_mean_resamples_patients_and_not_pairs() -> None:
    """Eight pairs per patient with one value are no more evidence than one."""
    of_patient = DRAW.normal(size=8)
    once = macro_mean(of_patient[None], np.zeros(8, dtype=int), np.arange(8).astype(str).astype(object))
    findings = np.tile(np.arange(8) % 2, 8)
    groups = np.repeat(np.arange(8).astype(str), 8).astype(object)
    often = macro_mean(np.repeat(of_patient, 8)[None], findings, groups)
    assert often.mean == pytest.approx(once.mean)
    assert often.high - often.low == pytest.approx(once.high - once.low)


def test_macro_mean_averages_seeds() -> None:
    values = DRAW.normal(size=(3, 12))
    groups = np.arange(12).astype(str).astype(object)
    findings = np.arange(12) % 3
    expected = np.mean([values.mean(axis=0)[findings == one].mean() for one in range(3)])
    found = macro_mean(values, findings, groups)
    assert found.mean == pytest.approx(expected)
    assert found.low < found.mean < found.high


def test_macro_mean_without_scores_is_undefined() -> None:
    found = macro_mean(np.full((1, 3), np.nan), np.zeros(3, dtype=int), np.array(["a", "b", "c"], dtype=object))
    assert np.isnan(found.mean)
    assert (found.n, found.undefined) == (0, 3)
