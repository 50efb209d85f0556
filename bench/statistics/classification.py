"""How well a classifier classifies. Every score is computed for many weightings of the images at once, because the
report needs it for hundreds of bootstrap samples; scikit-learn, which takes one at a time, is the tests' oracle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import Floats

Integers = NDArray[np.int64]

#: name -> whether higher is better, in the order of the table.
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
    logits: Floats, labels: Integers, weights: Floats | None = None, healthy: int | None = 0
) -> dict[str, Floats]:
    """Logits (N,C), labels (N,) -> the scores of ``CLASSIFICATION_SCORES``, nan where undefined.

    Sensitivity is the share of diseased images that get any disease class, specificity the share of healthy images
    called healthy (both nan where no class is healthy). For two classes precision and F1 are those of the disease (of
    the second class where none is healthy), for more they are macro averages and AUC is one-against-rest macro. Kappa
    is quadratically weighted, which for two classes is Cohen's kappa.

    Args:
        weights: (B,N) how often each image counts in each of B samples; None = every image once.
        healthy: index of the healthy class.

    Returns:
        name -> (B,) values.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = confusion(labels, predicted, weights, logits.shape[1])
        scores = _from_confusion(counts, healthy)
    scores["auc"] = auc(probabilities, labels, weights)
    scores["ece"] = expected_calibration_error(probabilities, labels, weights)
    return {name: scores[name] for name in CLASSIFICATION_SCORES}


def softmax(logits: Floats) -> Floats:
    """Logits (N,C) -> probabilities (N,C)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def confusion(labels: Integers, predicted: Integers, weights: Floats, num_classes: int) -> Floats:
    """Weighted confusion matrices (B,C,C): true class by predicted class."""
    pairs = np.eye(num_classes**2)[labels * num_classes + predicted]
    return (weights @ pairs).reshape(-1, num_classes, num_classes)


def _from_confusion(counts: Floats, healthy: int | None) -> dict[str, Floats]:
    """Scores that need only the confusion matrices (B,C,C)."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    truly, called = counts.sum(axis=2), counts.sum(axis=1)
    total = counts.sum(axis=(1, 2))
    # As in scikit-learn: a class that is never called has precision 0, one that is not there does not count in recall.
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
    return np.delete(diseased, healthy, axis=2).sum(axis=(1, 2)) / diseased.sum(axis=(1, 2))


def _quadratic_kappa(counts: Floats, truly: Floats, called: Floats, total: Floats) -> Floats:
    classes = np.arange(counts.shape[1])
    distance = (classes[:, None] - classes) ** 2
    expected = truly[:, :, None] * called[:, None, :] / total[:, None, None]
    return 1 - (distance * counts).sum(axis=(1, 2)) / (distance * expected).sum(axis=(1, 2))


def auc(probabilities: Floats, labels: Integers, weights: Floats | None = None) -> Floats:
    """Weighted area under the ROC curve (B,), ties counted half; macro over one-against-rest where C > 2.

    nan where a class has no weight.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [_binary_auc(probabilities[:, one], labels == one, weights) for one in classes]
    return np.mean(areas, axis=0)


def _binary_auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # runs of equal scores
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    won = (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return won / (above.sum(axis=1) * below.sum(axis=1))


def expected_calibration_error(
    probabilities: Floats, labels: Integers, weights: Floats | None = None, bins: int = 15
) -> Floats:
    """Mean gap between confidence and accuracy over equally wide confidence bins, weighted by their share of images.

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
    return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
