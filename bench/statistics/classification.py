"""Scores of a classifier's predictions.

Every score is computed for many weightings of the images at once, because the report needs it for hundreds of bootstrap
samples; scikit-learn, which takes one at a time, is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import Floats

Integers = NDArray[np.int64]
Weights = Floats | Iterable[Floats]

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
    weights: Weights | None = None,
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
        weights: (B,N) count of each image in each of B samples, or blocks (b,N) of them, one after the other; None =
            every image once.
        healthy: index of the healthy class; None = there is none.
        ordered: True if a higher class index is a higher grade; two classes need no order.
        folds: (N,) fold whose classifier has predicted each image; None = one classifier has predicted all.

    Returns:
        Name -> (B,) values, nan if undefined; all are nan if a logit is NaN or infinite.
    """
    prepared = Predictions(logits, labels, healthy, ordered, folds)
    return joined([prepared.scores(block) for block in blocks_of(weights, len(labels))])


def blocks_of(weights: Weights | None, images: int) -> Iterable[Floats]:
    """Returns weights (B,N) in blocks (b,N); without any, every image counts once."""
    if weights is None:
        return [np.ones((1, images))]
    return [weights] if isinstance(weights, np.ndarray) else weights


def joined(parts: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """Joins the scores of blocks."""
    return {name: np.concatenate([part[name] for part in parts]) for name in CLASSIFICATION_SCORES}


class Predictions:
    """Predictions of N images, ranked once for many weightings; arguments as of ``classification_scores``."""

    def __init__(
        self,
        logits: Floats,
        labels: Integers,
        healthy: int | None = 0,
        ordered: bool = True,
        folds: Integers | None = None,
    ) -> None:
        self._classes, self._healthy = logits.shape[1], healthy
        self._has_kappa = ordered or self._classes == 2
        self._defined = bool(np.isfinite(logits).all())
        if self._defined:
            probabilities = softmax(logits)
            self._pair = labels * self._classes + probabilities.argmax(axis=1)
            self._calibration = _Calibration(probabilities, labels)
            self._rankings = _rankings(probabilities, labels, folds)

    def scores(self, weights: Floats) -> dict[str, Floats]:
        """Computes the scores, each (b,), with weights (b,N)."""
        nothing = np.full(len(weights), np.nan)
        if not self._defined:
            return dict.fromkeys(CLASSIFICATION_SCORES, nothing)
        counts = _sums(weights, self._pair, self._classes**2).reshape(-1, self._classes, self._classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = _from_confusion(counts, self._healthy)
        if not self._has_kappa:
            scores["kappa"] = nothing
        scores["auc"] = np.mean([one.area(weights) for one in self._rankings], axis=0)
        scores["ece"] = self._calibration.error(weights)
        return scores


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


def _sums(weights: Floats, bins: Integers, count: int, values: Floats | None = None) -> Floats:
    """Sums weights (b,N), or their products with values (N,), over the images of each bin: (b,count)."""
    return np.stack([np.bincount(bins, one if values is None else one * values, count) for one in weights])


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
    mean: Floats = np.mean([one.area(weights) for one in _rankings(probabilities, labels, folds)], axis=0)
    return mean


def _rankings(probabilities: Floats, labels: Integers, folds: Integers | None) -> list[_Ranking]:
    """Returns the ranking by each class; two classes share one."""
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    return [_Ranking(probabilities[:, one], labels == one, folds) for one in classes]


class _Ranking:
    """Order of images by a score (N,), in each fold of its own."""

    def __init__(self, scores: Floats, positive: NDArray[np.bool_], folds: Integers | None) -> None:
        inside = (
            [np.arange(len(scores))] if folds is None else [np.flatnonzero(folds == one) for one in np.unique(folds)]
        )
        self._folds: list[tuple[Integers, NDArray[np.bool_], Integers]] = []
        for some in inside:
            order = some[np.argsort(scores[some], kind="stable")]
            starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # runs of equal scores
            self._folds.append((order, positive[order], starts))

    def area(self, weights: Floats) -> Floats:
        """Computes the area under the ROC curve (b,) with weights (b,N)."""
        won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for order, positive, starts in self._folds:
            here = weights[:, order]
            above = here * positive
            below = here - above
            if len(starts) < len(order):
                above, below = (np.add.reduceat(one, starts, axis=1) for one in (above, below))
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
    return _Calibration(probabilities, labels, bins).error(weights)


class _Calibration:
    """Bin of each image, and the gap between its confidence and its being right."""

    def __init__(self, probabilities: Floats, labels: Integers, bins: int = 15) -> None:
        confidence = probabilities.max(axis=1)
        self._gap, self._bins = (probabilities.argmax(axis=1) == labels) - confidence, bins
        self._bin = np.minimum(np.ceil(confidence * bins).astype(int) - 1, bins - 1)

    def error(self, weights: Floats) -> Floats:
        """Computes ``expected_calibration_error`` (b,) with weights (b,N)."""
        gaps = _sums(weights, self._bin, self._bins, self._gap)
        error: Floats = np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
        return error
