"""Classifier of a cell.

It is trained once, from scratch or from the weights of another cell's classifier, or converted from that, and loaded
from the store afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.contracts import Classifier
from bench.data.split import Split
from bench.errors import NotApplicable, UserError, one_line
from bench.files import tell_damage
from bench.memory import with_smaller_batches
from bench.models.factory import build_classifier
from bench.store.cell_facts import LesionReliance
from bench.store.records import CellRecord
from bench.training.cell_identity import CellIdentity
from bench.training.evidence_facts import near_zero
from bench.training.lesion_reliance import lesion_reliance
from bench.training.loop import predict_split
from bench.training.penalty_search import PlannedHead, evidence_grid
from bench.training.trained_files import (
    has_history,
    has_predictions,
    restore_record,
    save_history,
    save_predictions,
    save_trained,
    stored_weights,
)
from bench.training.training_run import Training, TrainingRun


@dataclass
class CellClassifier(CellIdentity):
    """Trains, converts or loads the classifier of one cell.

    Attributes:
        computed: whether anything was trained or converted.
    """

    computed: bool = False

    @property
    def trained_head(self) -> PlannedHead:
        """The head with the weights of the penalty that the training used, once it is stored."""
        return self.head.with_parameters(self.store.record.parameters or {}) if self.head.head.searched else self.head

    @property
    def step(self) -> str:
        """Name of what gives the classifier, for the progress display."""
        if self.head.head.given:
            return "given classifier"
        return "conversion" if self.head.head.converts else "training"

    def load(self) -> Classifier:
        """Returns the classifier in evaluation mode; trains or converts it first unless the store holds it.

        Raises:
            UserError: The head does not fit the backbone, or the training diverged.
            NotApplicable: The conversion would not be exact.
        """
        restore_record(self.store)
        self.store.activate(self.fingerprint)
        stored = self._mended()
        if stored is None:
            self.progress.update(f"{self.key}: {self.step}")
            stored = self._train_and_save()
        return self._ready(stored)

    def stored(self) -> Classifier | None:
        """Returns the classifier that the store holds, in evaluation mode, and writes nothing; None without one."""
        found = self._read() if self.store.record.training == self.fingerprint else None
        return None if found is None else self._ready(found[0])

    def _obtain(self) -> Classifier:
        """Returns the classifier for another cell, whose work must not change the files of this one if it is stored."""
        stored = self.stored()
        return self.load() if stored is None else stored

    def _ready(self, classifier: Classifier) -> Classifier:
        return classifier.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def _read(self) -> tuple[Classifier, str | None] | None:
        """Reads the stored classifier and the history of its training; None if it must be trained or converted."""
        found = stored_weights(self.store)
        if found is None:
            return None
        tensors, history = found
        classifier, _ = self._build()
        try:
            classifier.load_state_dict(tensors)
        except RuntimeError:  # another architecture
            tell_damage(self.store.weights, "its weights do not fit the classifier")
            return None
        return classifier, history

    def _mended(self) -> Classifier | None:
        """Returns the stored classifier after mending its other files; None if it must be trained or converted."""
        found = self._read()
        if found is None:
            return None
        classifier, history = found
        if self.store.record.status != "ok":  # it failed after the training, and is tried again
            self.store.note(status="ok", reason="", traceback="")
        if history is not None and not has_history(self.store):
            save_history(self.store, history)
        if not has_predictions(self.store):
            self._save_predictions(self._ready(classifier))
        return classifier

    def _train_and_save(self) -> Classifier:
        classifier, origin = self._build()
        self.computed = True
        if self.init and not self.source and not self.head.head.given:
            origin = self.init.load_into(classifier, origin)
            self.progress.milestone(f"{self.key}: {origin}")
        if self.source and not self.head.head.converts:
            origin = self._load_start(classifier, self.source)
        is_trained = self.head.head.converts or self.head.head.given
        self._finish(classifier, origin, None if is_trained else self._train(classifier))
        return classifier

    def _build(self) -> tuple[Classifier, str]:
        """Returns the classifier before its training, and the origin of its weights."""
        if self.source and self.head.head.converts:
            return self._converted(self.source)
        if self.head.head.given:
            return self._given, "given"
        return build_classifier(self.names, self.head.head, len(self.prepared.classes), self.config.run.pretrained)

    def _converted(self, source: CellClassifier) -> tuple[Classifier, str]:
        trained = source._obtain()
        self.computed |= source.computed
        try:
            return self.head.head.convert(trained), f"{source.key.head}, trained"
        except ValueError as error:
            raise NotApplicable(
                f"head {self.key.head!r} cannot be converted from {source.key.head!r} on {self.key.backbone!r}: {error}"
            ) from error

    def _load_start(self, classifier: Classifier, source: CellClassifier) -> str:
        """Loads the trained weights of the source -> their origin.

        Raises:
            UserError: the source could not be trained, or its weights do not fit.
        """
        names = f"head {self.key.head!r} starts from the trained weights of {source.key.head!r}"
        try:
            trained = source._obtain()
        except UserError as error:
            raise UserError(f"{names}, whose training failed: {one_line(error)}") from error
        self.computed |= source.computed
        mine, theirs = ({**one.parameters, "start": ""} for one in (self.head, source.head))
        if differing := [name for name in mine if name in theirs and mine[name] != theirs[name]]:
            raise UserError(f"{names}, but the two differ in {', '.join(differing)}; give both the same")
        classifier.load_state_dict(trained.state_dict())
        return f"{source.key.head}, trained"

    def _train(self, classifier: Classifier) -> Training:
        def show(row: dict[str, float], epochs: int, what: str) -> None:
            text = f"{what}epoch {row['epoch'] + 1:.0f}/{epochs}, validation AUC {row['val_auc']:.3f}"
            self.progress.measured(3 * len(self.data.train) + len(self.data.val), row["seconds"])
            self.progress.update(f"{self.key}: {text}")

        recipe = TrainingRun(
            self.head,
            self.source.key.head if self.source else "",
            self.data,
            self.config.training,
            self.device,
            self.batch_names,
            self.store.checkpoint,
        )
        training = recipe.run(classifier, show)
        self.progress.milestone(f"{self.key}: trained, validation AUC {training.history['val_auc'].max():.3f}")
        return training

    def _finish(self, classifier: Classifier, origin: str, training: Training | None) -> None:
        """Stores weights, predictions and record; a conversion has no ``training``."""
        search = training.search if training else None
        self._save_predictions(classifier)
        reliance = lesion_reliance(self.prepared, classifier, self.data, self.device)
        record = CellRecord(
            training=self.fingerprint,
            status="ok",
            base=self.head.base,
            parameters=self.head.parameters | (search.steps[search.chosen].weights if search else {}),
            weights_from=origin,
            weights=sum(weight.numel() for weight in classifier.parameters()),
            seconds=training.seconds if training else 0.0,
            mean=list(self.data.mean),
            std=list(self.data.std),
            best_epoch=training.best_epoch if training else None,
            evidence_grid=evidence_grid(classifier, self.data.train, self.device),
            near_zero=near_zero(classifier, self.prepared, self.data, self.device, self.config.explain.batch_size),
            penalty_search=search,
            lesion_reliance=None if reliance is None else LesionReliance.model_validate(reliance),
        )
        save_trained(self.store, classifier, record, training.history if training else None)
        for file in self.store.folder.glob(f"{self.store.checkpoint.stem}*"):  # a search has one per weight
            file.unlink(missing_ok=True)

    def _save_predictions(self, classifier: Classifier) -> None:
        test = self.prepared.test
        save_predictions(self.store, test, self.predict(classifier, test, np.arange(len(test))))

    def predict(self, classifier: Classifier, split: Split, indices: np.ndarray) -> np.ndarray:
        """Computes logits (N,C) of images (N,) of a split, in batches that shrink when memory runs out.

        Raises:
            UserError: a logit is NaN or infinite.
        """
        return with_smaller_batches(
            lambda size: predict_split(classifier, split, indices, self.data.mean, self.data.std, self.device, size),
            self.config.explain.batch_size,
        )[0]
