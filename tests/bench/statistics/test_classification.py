"""Every classification score against scikit-learn, plain and weighted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.classification import (
    CLASSIFICATION_SCORES,
    auc,
    classification_scores,
    expected_calibration_error,
    softmax,
)


def made(classes: int, seed: int = 0, images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += 0.8
    return logits.round(1), labels  # rounded at the end: there are ties, and these are exact on every machine


def from_sklearn(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    binary = logits.shape[1] == 2
    average = "binary" if binary else "macro"
    area = {"multi_class": "ovr", "average": "macro"} if not binary else {}
    scores = probabilities[:, 1] if binary else probabilities
    return {
        "accuracy": sk.accuracy_score(labels, predicted, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted, sample_weight=weight),
        "auc": sk.roc_auc_score(labels, scores, sample_weight=weight, **area),
        "sensitivity": sk.recall_score(labels > 0, predicted > 0, sample_weight=weight),
        "specificity": sk.recall_score(labels == 0, predicted == 0, sample_weight=weight),
        "precision": sk.precision_score(labels, predicted, average=average, sample_weight=weight),
        "f1": sk.f1_score(labels, predicted, average=average, sample_weight=weight),
        "kappa": sk.cohen_kappa_score(labels, predicted, weights="quadratic", sample_weight=weight),
    }


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_scores_equal_scikit_learn(classes: int) -> None:
    logits, labels = made(classes)
    weights = np.concatenate([np.ones((1, 60)), np.random.default_rng(1).integers(1, 4, (3, 60))])
    ours = classification_scores(logits, labels, weights)
    for row, weight in enumerate(weights):
        for name, value in from_sklearn(logits, labels, weight).items():
            assert ours[name][row] == pytest.approx(value, abs=1e-12), (name, row)


def test_a_grade_that_is_never_called_and_one_that_is_not_there() -> None:
    """Five grades; nobody calls grade 3 and no image has grade 4."""
    logits, labels = made(5)
    logits[:, 3], labels = -9, np.minimum(labels, 3)
    predicted, every = logits.argmax(axis=1), list(range(5))
    ours = classification_scores(logits, labels)
    kappa = sk.cohen_kappa_score(labels, predicted, weights="quadratic", labels=every)
    assert ours["kappa"][0] == pytest.approx(kappa, abs=1e-12)
    macro = {"labels": every, "average": "macro", "zero_division": 0}
    assert ours["precision"][0] == pytest.approx(sk.precision_score(labels, predicted, **macro), abs=1e-12)
    assert ours["f1"][0] == pytest.approx(sk.f1_score(labels, predicted, **macro), abs=1e-12)
    with pytest.warns(UserWarning, match="not in y_true"):
        recall = sk.balanced_accuracy_score(labels, predicted)
    assert ours["balanced_accuracy"][0] == pytest.approx(recall, abs=1e-12)
    assert np.isnan(ours["auc"][0])


def test_quadratic_kappa_by_hand() -> None:
    """Grades 0, 2 and 4 are called 0, 2 and 3: disagreement 1 of 3 images, by chance (13 + 5 + 21) / 3 of 3."""
    by_chance = ((0 + 4 + 9) + (4 + 0 + 1) + (16 + 4 + 1)) / 3  # squared distances of every grade to every call
    scores = classification_scores(np.eye(5)[[0, 2, 3]], np.array([0, 2, 4]))
    assert scores["kappa"][0] == pytest.approx(1 - 1 / by_chance)


def test_weights_mean_repeated_images() -> None:
    logits, labels = made(2)
    times = np.random.default_rng(2).integers(0, 3, 60)
    weighted = classification_scores(logits, labels, times[None].astype(float))
    repeated = classification_scores(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    for name in CLASSIFICATION_SCORES:
        assert weighted[name][0] == pytest.approx(repeated[name][0], abs=1e-12), name


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.05, 0.95], [0.05, 0.95], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([1, 0, 1, 1])
    # Half of the images: confidence 0.95, accuracy 0.5. The other half: confidence 0.6, accuracy 1.
    assert expected_calibration_error(probabilities, labels)[0] == pytest.approx(0.5 * 0.45 + 0.5 * 0.4)


def test_perfect_and_inverted_classifiers() -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.stack([1.0 - labels, labels], axis=1) * 50
    assert classification_scores(logits, labels)["auc"][0] == 1
    assert classification_scores(logits[:, ::-1], labels)["auc"][0] == 0
    assert classification_scores(logits, labels)["ece"][0] == pytest.approx(0, abs=1e-9)


def test_undefined_scores_are_nan() -> None:
    logits, _ = made(2)
    labels = np.ones(60, dtype=int)
    assert np.isnan(auc(softmax(logits), labels)[0])
    assert np.isnan(classification_scores(logits, labels)["specificity"][0])
    assert np.isnan(classification_scores(logits, labels, healthy=None)["sensitivity"][0])


def test_bootstrap_samples_feed_every_score() -> None:
    logits, labels = made(3)
    scores = classification_scores(logits, labels, next(image_replicates(np.arange(60).astype(str), 50)))
    assert set(scores) == set(CLASSIFICATION_SCORES)
    assert all(values.shape == (50,) and np.isfinite(values).all() for values in scores.values())


def test_disease_is_the_class_that_is_not_healthy() -> None:
    """Classes named defect and good: the healthy one comes second."""
    logits, labels = made(2)
    logits += np.random.default_rng(3).normal(scale=0.01, size=logits.shape)  # no ties: rounding would part them
    turned = classification_scores(logits[:, ::-1], 1 - labels, healthy=1)
    plain = classification_scores(logits, labels, healthy=0)
    for name in CLASSIFICATION_SCORES:
        assert turned[name][0] == pytest.approx(plain[name][0]), name


@pytest.mark.parametrize("folds", [None, np.arange(60) % 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_samples_in_blocks_have_the_scores_of_all_at_once(classes: int, folds: np.ndarray | None) -> None:
    logits, labels = made(classes)
    weights = np.random.default_rng(2).integers(0, 3, (7, 60)).astype(float)
    whole = classification_scores(logits, labels, weights, folds=folds)
    parts = classification_scores(logits, labels, iter([weights[:1], weights[1:4], weights[4:]]), folds=folds)
    for name in CLASSIFICATION_SCORES:
        np.testing.assert_array_equal(parts[name], whole[name])


@pytest.mark.parametrize("classes", [2, 3])
def test_auc_of_several_folds_counts_pairs_within_each(classes: int) -> None:
    logits, labels = made(classes)
    folds = np.arange(60) % 3
    weights = np.concatenate([np.ones((1, 60)), np.random.default_rng(2).integers(0, 3, (3, 60))]).astype(float)
    ours = classification_scores(logits, labels, weights, folds=folds)
    for row, weight in enumerate(weights):
        areas = []
        for one in [1] if classes == 2 else range(classes):
            won = pairs = 0.0
            chance = softmax(logits)[:, one]
            for i in np.flatnonzero(labels == one):
                for j in np.flatnonzero((labels != one) & (folds == folds[i])):
                    won += weight[i] * weight[j] * (float(chance[i] > chance[j]) + float(chance[i] == chance[j]) / 2)
                    pairs += weight[i] * weight[j]
            areas.append(won / pairs)
        assert ours["auc"][row] == pytest.approx(np.mean(areas), abs=1e-12)
    pooled = classification_scores(logits, labels, weights)
    assert (ours["auc"] != pooled["auc"]).any()
    for name in set(ours) - {"auc"}:
        np.testing.assert_array_equal(ours[name], pooled[name])


def test_auc_does_not_depend_on_the_scale_of_a_fold() -> None:
    logits, labels = made(2)
    folds = np.arange(60) % 2
    moved = logits + np.where(folds == 1, 5.0, 0.0)[:, None] * np.array([0, 1])
    auc_of = [classification_scores(one, labels, folds=folds)["auc"][0] for one in (logits, moved)]
    assert auc_of[0] == auc_of[1]
    assert classification_scores(moved, labels)["auc"][0] != classification_scores(logits, labels)["auc"][0]
