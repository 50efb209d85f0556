"""Predictions of a classifier on cases: explained class, its probability, and whether the image was missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.contracts import NO_FINDING
from bench.outputs import outputs_of
from bench.report.frames.load import Frames
from bench.store.records import CellKey, DatasetFacts

#: Outcomes, by the code of ``Predictions.outcomes``.
OUTCOMES = ("right", "missed", "false alarm", "another class")
RIGHT, MISSED, FALSE_ALARM, ANOTHER, UNKNOWN = 0, 1, 2, 3, -1


@dataclass(frozen=True)
class Predictions:
    """Predictions on n images.

    Attributes:
        targets: (n,) explained class; -1 where it is unknown.
        probabilities: (n,) of the explained class (for a regression, the output); nan where it is unknown.
        outcomes: (n,) index of ``OUTCOMES``, or ``UNKNOWN``.
    """

    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    outcomes: NDArray[np.int64]


def predictions_of(
    frames: Frames, key: CellKey, ids: list[str], labels: NDArray[np.int64], rows: pd.DataFrame
) -> Predictions:
    """Reads the predictions of a cell.

    Args:
        frames: the run.
        key: the cell.
        ids: n images.
        labels: (n,) classes.
        rows: scores of the cell, which state the explained class.
    """
    facts, count = frames.record.datasets[key.dataset], len(ids)
    cell = frames.store.cell(key)
    stored = cell.files.read(cell.explained, pd.read_parquet)
    if stored is None:
        return Predictions(np.full(count, -1), np.full(count, np.nan), np.full(count, UNKNOWN))
    logits = stored.drop_duplicates("image").set_index("image").filter(like="logit_").reindex(ids).to_numpy(dtype=float)
    known, outputs = np.isfinite(logits).all(axis=1), outputs_of(facts)
    stated = rows.drop_duplicates("image").set_index("image")["target"].reindex(ids).to_numpy(dtype=float)
    likely = _likely(facts, labels, np.nan_to_num(logits))
    targets = np.where(np.isfinite(stated), np.nan_to_num(stated), likely)
    targets = np.where(known, targets, -1).astype(np.int64)
    at = np.flatnonzero(known)
    probabilities, outcomes = np.full(count, np.nan), np.full(count, UNKNOWN)
    if len(at):
        probabilities[at] = outputs.probabilities(logits[at])[np.arange(len(at)), targets[at]]
        if not facts.regression:
            outcomes[at] = _outcomes(facts, labels[at], outputs.predicted(logits[at], targets[at]))
    return Predictions(targets, probabilities, outcomes)


def _free(facts: DatasetFacts) -> int | None:
    """Returns the label of images without lesions; None if there is none."""
    return NO_FINDING if facts.multilabel else facts.healthy


def _likely(facts: DatasetFacts, labels: NDArray[np.int64], logits: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the class (n,) that an image without a score is explained for: its label, or the likeliest disease."""
    free = _free(facts)
    if free is None:
        return labels
    diseases = logits.copy()
    if free != NO_FINDING:
        diseases[:, free] = -np.inf
    return np.where(labels == free, diseases.argmax(axis=1), labels)


def _outcomes(facts: DatasetFacts, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    free = _free(facts)
    if free is None:
        return np.where(predicted == labels, RIGHT, ANOTHER)
    wrong = np.where(labels == free, FALSE_ALARM, np.where(predicted == free, MISSED, ANOTHER))
    return np.where(predicted == labels, RIGHT, wrong)
