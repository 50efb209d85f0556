"""Predictions of a classifier on cases: explained class, its probability, and whether the image was missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.outputs import outputs_of
from bench.plain.names import NO_FINDING
from bench.report.frames.image_facts import logits_of
from bench.report.frames.load import Frames, names_of
from bench.statistics.bootstrap.names import one_of
from bench.store.records import CellKey, DatasetFacts

#: Outcomes, by the code of ``Predictions.outcomes``.
OUTCOMES = ("right", "missed", "false alarm", "another class")
RIGHT, MISSED, FALSE_ALARM, ANOTHER, UNKNOWN = 0, 1, 2, 3, -1


@dataclass(frozen=True)
class Predictions:
    """Predictions on n images.

    Attributes:
        targets: (n,) explained class; -1 where no score states it.
        probabilities: (n,) of the explained class (for a regression, the output); nan where it is unknown.
        outcomes: (n,) index of ``OUTCOMES``, or ``UNKNOWN``.
    """

    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    outcomes: NDArray[np.int64]


def predictions_of(frames: Frames, key: CellKey, ids: list[str], labels: NDArray[np.int64]) -> Predictions:
    """Reads the predictions of a cell on n images of these labels (n,); its scores state the explained class."""
    facts, count = frames.record.datasets[key.dataset], len(ids)
    explained = frames.source.where(**{name: [value] for name, value in names_of(key).items()})
    targets = explained.targets(ids).reindex(ids, fill_value=-1).to_numpy(dtype=np.int64)
    probabilities, outcomes = np.full(count, np.nan), np.full(count, UNKNOWN)
    stored = logits_of(frames, key)
    if len(stored := stored[one_of(stored["image"], ids)]):
        stored = stored.astype({"image": str}).drop_duplicates("image").set_index("image")
        logits = stored.filter(like="logit_").reindex(ids).to_numpy(dtype=float)
        at = np.flatnonzero(np.isfinite(logits).all(axis=1) & (targets >= 0))
        outputs = outputs_of(facts)
        probabilities[at] = outputs.probabilities(logits[at])[np.arange(len(at)), targets[at]]
        if not facts.regression:
            outcomes[at] = _outcomes(facts, labels[at], outputs.predicted(logits[at], targets[at]))
    return Predictions(targets, probabilities, outcomes)


def _outcomes(facts: DatasetFacts, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    free = NO_FINDING if facts.multilabel else facts.healthy  # label of images without lesions; None if there is none
    if free is None:
        return np.where(predicted == labels, RIGHT, ANOTHER)
    wrong = np.where(labels == free, FALSE_ALARM, np.where(predicted == free, MISSED, ANOTHER))
    return np.where(predicted == labels, RIGHT, wrong)
