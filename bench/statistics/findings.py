"""Scores of predictions with several labels per image: every finding is a classification of its own, present or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.bootstrap.names import AnyNames
from bench.statistics.bootstrap.resampling import RESAMPLES, clusters_of, group_sums, resampled_ratios
from bench.statistics.classification import (
    CLASSIFICATION_SCORES,
    Integers,
    Predictions,
    Weights,
    blocks_of,
    joined,
)
from bench.statistics.intervals import Estimate, Floats, limits, mean_over, ratio


def sigmoid(logits: Floats) -> Floats:
    """Converts logits to probabilities of the same shape, without overflow."""
    probabilities: Floats = (1 + np.tanh(logits / 2)) / 2
    return probabilities


def scores_by_finding(
    logits: Floats, labels: Integers, weights: Weights | None = None, folds: Integers | None = None
) -> dict[str, Floats]:
    """Computes the scores of ``CLASSIFICATION_SCORES`` of each finding, on the images whose label is known.

    A finding is predicted if its probability exceeds 0.5. Sensitivity, specificity, precision and F1 are those of its
    presence.

    Args:
        logits: (N,F).
        labels: (N,F), 1 if the finding is present, 0 if it is absent, -1 if that is unknown.
        weights: as of ``classification_scores``.
        folds: the same.

    Returns:
        Name -> (B,F) values, nan if undefined.
    """
    known, prepared = labels >= 0, dict[int, Predictions]()
    for finding in np.flatnonzero(known.any(axis=0)).tolist():
        there = known[:, finding]
        # The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)).
        pair = np.stack([np.zeros(there.sum()), logits[there, finding]], axis=1)
        own = None if folds is None else folds[there]
        prepared[finding] = Predictions(pair, labels[there, finding], folds=own)
    parts = []
    for block in blocks_of(weights, len(labels)):
        found = {name: np.full((len(block), labels.shape[1]), np.nan) for name in CLASSIFICATION_SCORES}
        for finding, predictions in prepared.items():
            for name, values in predictions.scores(block[:, known[:, finding]]).items():
                found[name][:, finding] = values
        parts.append(found)
    return joined(parts)


def macro_scores(
    logits: Floats, labels: Integers, weights: Weights | None = None, folds: Integers | None = None
) -> dict[str, Floats]:
    """Averages ``scores_by_finding`` over the findings for which a score is defined -> name -> (B,) values."""
    found = scores_by_finding(logits, labels, weights, folds)
    return {name: mean_over(values, axis=1) for name, values in found.items()}


def macro_mean(values: Floats, findings: Integers, groups: AnyNames, resamples: int = RESAMPLES) -> Estimate:
    """Averages scores of pairs over the pairs of each finding, then over findings, with a 95 % bootstrap interval.

    Every finding counts alike, however rare. Groups are resampled, with all their images and findings.

    Args:
        values: (S,N) scores of N pairs of image and finding, of S seeds; nan if undefined.
        findings: (N,) finding of each pair.
        groups: (N,) group of each pair.
        resamples: number of bootstrap samples.

    Returns:
        The mean, nan without any score; n counts the pairs with a score.
    """
    known: NDArray[np.bool_] = np.asarray(np.isfinite(values).any(axis=0))
    if not known.any():
        return Estimate(np.nan, np.nan, np.nan, 0, len(known))
    values, findings, groups = values[:, known], findings[known], groups[known]
    pooled = _macro(mean_over(values, axis=0), findings, groups, resamples)
    each = np.stack([_macro(one, findings, groups, resamples) for one in values], axis=1)
    count = np.array([clusters_of(groups)[0].number])
    low, high = limits(pooled[:1], pooled[1:, None], count, each[0][:, None], each[1:, :, None])
    n = int(known.sum())
    return Estimate(float(pooled[0]), float(low[0]), float(high[0]), n, len(known) - n)


def _macro(values: Floats, findings: Integers, groups: AnyNames, resamples: int) -> Floats:
    """Averages means of values (N,) over the findings that occur: of all pairs, then in bootstrap samples, (1+B,)."""
    clusters, member = clusters_of(groups)
    by_finding = np.where(findings[:, None] == np.unique(findings), values[:, None], np.nan)
    total, count = group_sums(by_finding, member, clusters.number)
    mean = ratio(total.sum(axis=0), count.sum(axis=0))
    return mean_over(np.vstack([mean, resampled_ratios(total, count, clusters, resamples)]), axis=1)
