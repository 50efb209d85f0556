"""How good the predictions of a given model are: maps of a model that sees nothing explain nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.outputs import outputs_of
from bench.report.frames.classification import labels_of, seed_scores, with_limits
from bench.report.frames.load import Frames
from bench.report.frames.stored.rows import StoredRows
from bench.statistics.classification import CLASSIFICATION_SCORES
from bench.store.records import DatasetFacts

#: AUC or accuracy above which no warning is given, however few images there are.
_CLEAR = 0.75


def auc_error(labels: NDArray[np.int64]) -> float:
    """Returns the standard error of the AUC of predictions at chance, or of its mean over findings.

    Args:
        labels: (N,) class indices, or (N,F) with 1, 0 and -1.

    Source: Mann and Whitney 1947, doi:10.1214/aoms/1177730491 (variance of the rank sum).
    """
    if labels.ndim == 2:
        known = [column[column >= 0] for column in labels.T]
        parts = [auc_error(column) for column in known if len(set(column.tolist())) == 2]
        return float(np.sqrt(np.square(parts).sum()) / len(parts))
    counts = np.bincount(labels)
    present = counts[counts > 0]
    first, rest = float(present.min()), float(present.sum() - present.min())
    return float(np.sqrt((first + rest + 1) / (12 * first * rest)))


@dataclass(frozen=True)
class Known:
    """What the user knows about the predictions of the model.

    Attributes:
        auc: AUC on such images; None if not stated.
        values: image -> true value of the output of a regression; empty if unknown.
    """

    auc: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)


NOTHING = Known()


class Predictions:
    """Predictions of the given model on the first data set.

    Args:
        frames: the evaluation.
        known: what the user knows about them.
    """

    def __init__(self, frames: Frames, known: Known) -> None:
        self._frames, self._known = frames, known

    @cached_property
    def classification(self) -> dict[str, float]:
        """Accuracy, AUC and other scores of the given model on all images; nan if undefined."""
        stored, facts = self._predictions
        rows = stored.rows()
        logits = rows.filter(like="logit_").dropna(axis=1, how="all").to_numpy(dtype=float)
        found = outputs_of(facts).scores(logits, labels_of(rows, facts), healthy=facts.healthy)
        return {name: float(values[0]) for name, values in found.items()}

    @property
    def _predictions(self) -> tuple[StoredRows, DatasetFacts]:
        """Predictions of the given model on the first data set, and facts about that."""
        stored = self._frames.predictions.where(head=[next(iter(self._frames.record.heads))])
        dataset = str(stored.files["dataset"].iloc[0])
        return stored.where(dataset=[dataset]), self._frames.record.datasets[dataset]

    @cached_property
    def regression(self) -> dict[str, float]:
        """Mean absolute error and Pearson correlation of the outputs with the true values; empty without values."""
        rows = self._predictions[0].rows()
        rows = rows[rows["image"].isin(self._known.values)]
        if rows.empty:
            return {}
        found, true = rows["logit_0"].to_numpy(dtype=float), rows["image"].map(self._known.values).to_numpy(dtype=float)
        varies = len(rows) > 1 and found.std() > 0 and true.std() > 0
        correlation = float(np.corrcoef(found, true)[0, 1]) if varies else float("nan")
        return {"mean_absolute_error": float(np.abs(found - true).mean()), "correlation": correlation}

    def shortfall(self) -> str:
        """Returns a warning if the whole interval of the AUC is below what the user expects; otherwise, nothing."""
        if self._known.auc is None:
            return ""
        stored, facts = self._predictions
        means, _, highest = with_limits(seed_scores(stored, facts), stored.count()[1])
        place = list(CLASSIFICATION_SCORES).index("auc")
        if np.isfinite(means[place]) and not highest[place] < self._known.auc:
            return ""
        return (
            f"the AUC on these images is {means[place]:.3f}, at most {highest[place]:.3f} (95 % interval), and "
            f"{self._known.auc:g} was expected; check mean, std, size, channels and the order of the classes"
        )

    def chance(self) -> str:
        """Returns a warning if the predictions are no better than chance on these images; otherwise, an empty text."""
        facts = next(iter(self._frames.record.datasets.values()))
        if facts.regression:
            return ""
        labels = labels_of(self._frames.predictions.rows().drop_duplicates("image"), facts)
        auc, accuracy = self.classification["auc"], self.classification["balanced_accuracy"]
        outputs = 2 if facts.multilabel else len(facts.classes)
        if np.isfinite(auc):
            error, value, chance, name = auc_error(labels), auc, 0.5, "AUC"
        else:
            error, value, chance, name = (
                np.sqrt((outputs - 1) / len(labels)) / outputs,
                accuracy,
                1 / outputs,
                "accuracy",
            )
        if value > min(chance + 2 * error, max(_CLEAR, chance)):
            return ""
        return (
            f"the predictions are at chance on these images ({name} {value:.2f}, accuracy "
            f"{self.classification['accuracy']:.2f}, n = {len(labels)}): maps of such a model explain nothing; check "
            "mean, std, size, channels and the order of the classes"
        )

    @property
    def line(self) -> str:
        """The main scores in a few words."""
        if self._predictions[1].regression:
            error = self.regression
            known = "mean absolute error {mean_absolute_error:.4g}, correlation {correlation:.3f}"
            return known.format(**error) if error else "true values unknown"
        scores = self.classification
        expected = "" if self._known.auc is None else f" (expected {self._known.auc:.3f})"
        return f"test AUC {scores['auc']:.3f}{expected}, accuracy {scores['accuracy']:.3f}"
