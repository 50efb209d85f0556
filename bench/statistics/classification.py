"""Scores of a classifier's predictions.

Every score is computed for many weightings of the images at once, because the report needs it for hundreds of bootstrap
samples; scikit-learn, which takes one at a time, is the oracle of the tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import Floats

Integers = NDArray[np.int64]

#: Name -> True if higher is better, in the order of the table.
CLASSIFICATION_SCORES = {
    "accuracy": True,
    "balanced_accuracy": True,
    "auc": True,
    "sensitivity": True,
    "specificity": True,
    "precision": True,
    "f1": True,
    "kappa": True,
    "ece": False,
}


def classification_scores(
    logits: Floats,
    labels: Integers,
    weights: Floats | None = None,
    healthy: int | None = 0,
    ordered: bool = True,
    folds: Integers | None = None,
) -> dict[str, Floats]:
    """Computes the scores of ``CLASSIFICATION_SCORES``.

    Sensitivity is the share of diseased images predicted as any disease class, specificity the share of healthy images
    predicted as healthy (both nan if no class is healthy). For two classes precision and F1 are those of the disease
    (of the second class if none is healthy); for more they are macro averages, and AUC is one-against-rest macro. Kappa
    is quadratically weighted, which for two classes is Cohen's kappa; it is nan for more than two classes without an
    order, because the distance between their indices then means nothing.

    Args:
        logits: (N,C).
        labels: (N,) class indices.
        weights: (B,N) count of each image in each of B samples; None = every image once.
        healthy: index of the healthy class; None = there is none.
        ordered: True if a higher class index is a higher grade; two classes need no order.
        folds: (N,) fold whose classifier has predicted each image; None = one classifier has predicted all.

    Returns:
        Name -> (B,) values, nan if undefined; all are nan if a logit is NaN or infinite.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    if not np.isfinite(logits).all():
        return {name: np.full(len(weights), np.nan) for name in CLASSIFICATION_SCORES}
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = confusion(labels, predicted, weights, logits.shape[1])
        scores = _from_confusion(counts, healthy)
    if not ordered and logits.shape[1] > 2:
        scores["kappa"] = np.full(len(counts), np.nan)
    scores["auc"] = auc(probabilities, labels, weights, folds)
    scores["ece"] = expected_calibration_error(probabilities, labels, weights)
    return {name: scores[name] for name in CLASSIFICATION_SCORES}


def balanced_accuracy(predicted: Integers, labels: Integers) -> float:
    """Computes the mean over the present classes of the share of their images (N,) that is classified right."""
    return float(np.mean([(predicted[labels == one] == one).mean() for one in np.unique(labels)]))


def softmax(logits: Floats) -> Floats:
    """Converts logits (N,C) to probabilities (N,C).

    Raises:
        ValueError: C is 1; softmax over one logit is always 1.
    """
    if logits.shape[1] < 2:
        raise ValueError("softmax needs at least two classes; wrap a network with one output by bench.as_two_classes")
    exponentials: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def confusion(labels: Integers, predicted: Integers, weights: Floats, num_classes: int) -> Floats:
    """Computes weighted confusion matrices (B,C,C): true class by predicted class."""
    pairs = np.eye(num_classes**2)[labels * num_classes + predicted]
    counts: Floats = (weights @ pairs).reshape(-1, num_classes, num_classes)
    return counts


def _from_confusion(counts: Floats, healthy: int | None) -> dict[str, Floats]:
    """Computes the scores that need only the confusion matrices (B,C,C)."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    truly, called = counts.sum(axis=2), counts.sum(axis=1)
    total = counts.sum(axis=(1, 2))
    # As in scikit-learn: a class that is never predicted has precision 0, an absent class does not count in recall.
    precision = np.where(called > 0, hits / called, 0)
    f1 = np.where(truly + called > 0, 2 * hits / (truly + called), 0)
    disease = None if counts.shape[1] > 2 else 1 - (healthy or 0)
    nothing = np.full(len(counts), np.nan)
    return {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": np.nanmean(hits / truly, axis=1),
        "sensitivity": nothing if healthy is None else _share_diseased(counts, healthy),
        "specificity": nothing if healthy is None else hits[:, healthy] / truly[:, healthy],
        "precision": precision.mean(axis=1) if disease is None else precision[:, disease],
        "f1": f1.mean(axis=1) if disease is None else f1[:, disease],
        "kappa": _quadratic_kappa(counts, truly, called, total),
    }


def _share_diseased(counts: Floats, healthy: int) -> Floats:
    diseased = np.delete(counts, healthy, axis=1)
    share: Floats = np.delete(diseased, healthy, axis=2).sum(axis=(1, 2)) / diseased.sum(axis=(1, 2))
    return share


def _quadratic_kappa(counts: Floats, truly: Floats, called: Floats, total: Floats) -> Floats:
    classes = np.arange(counts.shape[1])
    distance = (classes[:, None] - classes) ** 2
    expected = truly[:, :, None] * called[:, None, :] / total[:, None, None]
    kappa: Floats = 1 - (distance * counts).sum(axis=(1, 2)) / (distance * expected).sum(axis=(1, 2))
    return kappa


def auc(
    probabilities: Floats, labels: Integers, weights: Floats | None = None, folds: Integers | None = None
) -> Floats:
    """Computes the weighted area under the ROC curve (B,), ties counted half; macro one-against-rest if C > 2.

    It is the share of pairs of a positive and another image that are in the right order. With several folds only pairs
    within a fold count, because the outputs of two classifiers are not on one scale: the result is the mean over folds,
    weighted by their pairs. It is nan without a pair, or if a probability is nan: such images have no rank.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    if np.isnan(probabilities).any():
        return np.full(len(weights), np.nan)
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    folds = np.zeros(len(labels), dtype=int) if folds is None else folds
    areas = [_binary_auc(probabilities[:, one], labels == one, weights, folds) for one in classes]
    mean: Floats = np.mean(areas, axis=0)
    return mean


def _binary_auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats, folds: Integers) -> Floats:
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in np.unique(folds):
        order = np.flatnonzero(folds == fold)
        order = order[np.argsort(scores[order], kind="stable")]
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # runs of equal scores
        above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
        below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
        won += (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
        pairs += above.sum(axis=1) * below.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area: Floats = won / pairs
    return area


def expected_calibration_error(
    probabilities: Floats, labels: Integers, weights: Floats | None = None, bins: int = 15
) -> Floats:
    """Computes the mean gap between confidence and accuracy over equally wide bins, weighted by their share of images.

    Args:
        probabilities: (N,C).
        labels: (N,).
        weights: (B,N), None = every image once.
        bins: number of bins over (0, 1].

    Returns:
        (B,) in [0, 1], lower is better.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum(np.ceil(confidence * bins).astype(int) - 1, bins - 1)
    gaps = (weights * (correct - confidence)) @ np.eye(bins)[bin_of]
    error: Floats = np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
    return error
