"""The training of one head: by its own recipe, or by a search for the weight of its penalty."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from bench.contracts import Classifier, EvidenceClassifier
from bench.errors import UserError
from bench.store.cell_facts import PenaltySearch
from bench.training.loop import TrainingLoop, best_row, train
from bench.training.penalty_search import PlannedHead, Search

if TYPE_CHECKING:
    from bench.configs.sections import TrainingSection
    from bench.data.prepare import TrainingData

#: Shows a row of the history, out of so many epochs, of a part of the training ("" = all of it).
Show = Callable[[dict[str, float], int, str], None]


@dataclass(frozen=True)
class Training:
    """A finished training: one row per epoch, its duration, and the search for the weight of its penalty."""

    history: pd.DataFrame
    seconds: float
    search: PenaltySearch | None

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept."""
        rows = [{str(name): float(value) for name, value in row.items()} for row in self.history.to_dict("records")]
        return int(rows[best_row(rows)]["epoch"])


@dataclass(frozen=True)
class TrainingRun:
    """Everything that a training needs but the classifier.

    Attributes:
        planned: the head.
        twin: name of the head whose trained weights the classifier starts with; empty if there is none.
        data: training and validation images.
        recipe: optimiser, epochs, augmentation, and how weights are searched.
        device: device to train on.
        batch_names: seed the batches.
        checkpoint: file that holds the state between epochs.
    """

    planned: PlannedHead
    twin: str
    data: TrainingData
    recipe: TrainingSection
    device: torch.device
    batch_names: tuple[object, ...]
    checkpoint: Path

    def run(self, classifier: Classifier, show: Show) -> Training:
        """Trains in place.

        Raises:
            UserError: no epoch has the full penalty, nothing to search with, or the training diverged.
        """
        started = time.perf_counter()
        history, search = (
            self._search(classifier, show) if self.planned.head.searched else self._train(classifier, show)
        )
        return Training(history, time.perf_counter() - started, search)

    def _train(self, classifier: Classifier, show: Show) -> tuple[pd.DataFrame, None]:
        epochs = self.recipe.epochs
        loop = TrainingLoop(classifier, self.planned.head, self.data, self.recipe, self.device)
        if (full := loop.penalty_start + loop.penalty_ramp) > epochs - 1 and full:
            raise UserError(
                f"head {self.planned.base!r}: penalty_start + penalty_ramp is {full:g}, so none of the {epochs} epochs "
                "has the full penalty; lower them or raise epochs"
            )
        return train(loop, self.batch_names, self.checkpoint, lambda row: show(row, epochs, "")), None

    def _search(self, classifier: Classifier, show: Show) -> tuple[pd.DataFrame, PenaltySearch]:
        if not self.twin or not isinstance(classifier, EvidenceClassifier):
            names = " and ".join(self.planned.head.searched)
            raise UserError(
                f"{names} of head {self.planned.base!r} cannot be searched, because it has no evidence or no trained "
                f"head to start from; give {names} a number"
            )
        about = self.planned, self.twin, self.data, self.recipe, self.device, self.batch_names, self.checkpoint
        steps, epochs = self.recipe.search_steps, self.recipe.search_epochs

        def show_step(number: int, row: dict[str, float]) -> None:
            show(row, epochs, f"λ {number + 1} of at most {steps}, ")

        found, history = Search(*about).run(classifier, show_step)
        return history, found
