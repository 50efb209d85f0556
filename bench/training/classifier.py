"""The classifier of a cell: trained, or converted from another cell's, once; afterwards loaded."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from bench.config import Config
from bench.contracts import (
    Classifier,
    EvidenceClassifier,
    Head,
    NotApplicable,
)
from bench.data.counterfactuals import render_counterfactuals
from bench.data.prepare import Prepared, TrainingData
from bench.data.split import Split
from bench.devices import has_fast_bf16
from bench.files import replacing
from bench.memory import with_smaller_batches
from bench.models.eval_mode import evaluating
from bench.models.factory import build_classifier, normalisation
from bench.models.initial_weights import InitialWeights
from bench.progress import Progress
from bench.registry import BACKBONES
from bench.store.code_digest import code_digest
from bench.store.fingerprints import digest
from bench.store.folders import CellStore
from bench.store.records import CellKey, CellRecord, LesionReliance
from bench.training.lesion_reliance import lesion_reliance
from bench.training.loop import predict_split, train


def step_of(head: PlannedHead) -> str:
    """The kind of step, in the progress display, that makes a classifier with this head."""
    return "conversion" if head.head.converts else "training"


@dataclass
class CellClassifier:
    """How the classifier of one cell comes to be.

    Attributes:
        config: what holds for the cell's data set and backbone.
        init: weights that the training starts from, where they fit.
        source: whose trained classifier this one converts; None for a cell that trains its own.
        computed: whether there was anything to do.
    """

    key: CellKey
    store: CellStore
    prepared: Prepared
    head: PlannedHead
    config: Config
    device: torch.device
    progress: Progress
    source: CellClassifier | None = None
    init: InitialWeights | None = None
    computed: bool = False

    @property
    def names(self) -> tuple[str, str, str, int]:
        """What seeds the random numbers: without parameters, so that heads that differ in λ start alike."""
        return self.prepared.info.name, self.key.backbone, self.head.base, self.key.seed

    @property
    def data(self) -> TrainingData:
        """Training data, normalised as pretrained weights of this backbone need it."""
        data = self.prepared.data
        mean, std = normalisation(self.key.backbone, self.config.run.pretrained, data.mean, data.std)
        return replace(data, mean=mean, std=std)

    @property
    def fingerprint(self) -> str:
        """Hash of all that the trained weights and the predictions depend on."""
        data = self.prepared
        return digest(
            [split.digest for split in (data.data.train, data.data.val, data.test)],
            self.data.mean,
            self.data.std,
            str(self.key),
            self.config.run.pretrained,
            self.config.training.model_dump(),
            data.info.modality,
            code_digest(*self._code),
            self.head.parameters,
            has_fast_bf16(self.device),
            self.source.fingerprint if self.source else "",
            self.init.digest if self.init else "",
        )

    @property
    def _code(self) -> list[object]:
        """The code that makes the weights, the predictions and the facts that are recorded with them."""
        code = [
            train,
            predict_split,
            build_classifier,
            BACKBONES[self.key.backbone].build,
            self.head.head,
            lesion_reliance,
        ]
        if hasattr(self.prepared.samples, "counterfactual"):
            code += [render_counterfactuals, self.prepared.info.builder]
        return [*code, *([self.init] if self.init else [])]

    @property
    def step(self) -> str:
        """The kind of step that this is in the progress display."""
        return step_of(self.head)

    def load(self) -> Classifier:
        """The classifier in evaluation mode; trained or converted now unless the store holds it.

        Raises:
            UserError: the head does not fit on the backbone, or the training diverged.
            NotApplicable: the conversion would not be exact.
        """
        self.store.activate(self.fingerprint)
        if self._is_stored():
            self.progress.skip(self.step)
            return self._obtain()
        with self.progress.step(self.step, f"{self.key}: {self.step}"):
            return self._obtain()

    def _is_stored(self) -> bool:
        return bool(self.store.record.weights_from)

    def _obtain(self) -> Classifier:
        """As ``load``, without a step of its own in the progress display: another cell may ask."""
        self.store.activate(self.fingerprint)
        classifier, origin = self._build()
        if self._is_stored():
            record = self.store.record
            if record.status != "ok":  # it failed behind the training, and is tried again
                self.store.write_record(record.changed(status="ok", reason="", traceback=""))
            classifier.load_state_dict(load_file(self.store.weights))
        else:
            self.computed = True
            if self.init and not self.source:
                origin = self.init.load_into(classifier, origin)
                self.progress.milestone(f"{self.key}: {origin}")
            self._finish(classifier, origin, *((None, 0.0) if self.source else self._train(classifier)))
        return classifier.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def _build(self) -> tuple[Classifier, str]:
        """The classifier before its training, and where its weights come from."""
        if self.source:
            return self._converted(self.source)
        return build_classifier(self.names, self.head.head, len(self.prepared.classes), self.config.run.pretrained)

    def _converted(self, source: CellClassifier) -> tuple[Classifier, str]:
        trained = source._obtain()
        self.computed |= source.computed
        try:
            return self.head.head.convert(trained), f"{source.key.head}, trained"
        except ValueError as error:
            raise NotApplicable(f"head {self.key.head!r} cannot be made on {self.key.backbone!r}: {error}") from error

    def _train(self, classifier: Classifier) -> tuple[pd.DataFrame, float]:
        """Train in place -> history and seconds."""
        started = time.perf_counter()
        epochs = self.config.training.epochs

        def show(row: dict[str, float]) -> None:
            text = f"epoch {row['epoch'] + 1:.0f}/{epochs}, validation AUC {row['val_auc']:.3f}"
            self.progress.update(f"{self.key}: {text}")

        history = train(
            classifier,
            self.head.head,
            self.data,
            self.config.training,
            self.names,
            self.device,
            self.store.checkpoint,
            show,
        )
        self.progress.milestone(f"{self.key}: trained, validation AUC {history['val_auc'].max():.3f}")
        return history, time.perf_counter() - started

    def _finish(self, classifier: Classifier, origin: str, history: pd.DataFrame | None, seconds: float) -> None:
        """Store what training gave, or conversion, which has no ``history``."""
        self._save(classifier, history)
        reliance = lesion_reliance(self.prepared, classifier, self.data, self.device)
        self.store.write_record(
            CellRecord(
                training=self.fingerprint,
                status="ok",
                base=self.head.base,
                parameters=self.head.parameters,
                weights_from=origin,
                weights=sum(weight.numel() for weight in classifier.parameters()),
                seconds=seconds,
                mean=list(self.data.mean),
                std=list(self.data.std),
                best_epoch=None if history is None else _best_epoch(history),
                evidence_grid=self._evidence_grid(classifier),
                lesion_reliance=None if reliance is None else LesionReliance.model_validate(reliance),
            )
        )
        self.store.checkpoint.unlink(missing_ok=True)

    def _evidence_grid(self, classifier: Classifier) -> tuple[int, int] | None:
        """Sides (h, w) of the evidence of a training image; None where the classifier has none."""
        if not isinstance(classifier, EvidenceClassifier):
            return None
        image = torch.zeros(1, *self.data.train.images.shape[1:], device=self.device)
        with evaluating(classifier), torch.inference_mode():
            height, width = classifier.to(self.device).forward_evidence(image).shape[2:]
        return height, width

    def _save(self, classifier: Classifier, history: pd.DataFrame | None) -> None:
        weights = {name: value.cpu().contiguous() for name, value in classifier.state_dict().items()}
        with replacing(self.store.weights) as temporary:
            save_file(weights, temporary)
        if history is not None:
            with replacing(self.store.training) as temporary:
                history.to_csv(temporary, index=False)
        test = self.prepared.test
        logits = self.predict(classifier, test, np.arange(len(test)))
        frame = pd.DataFrame({"image": test.ids, "group": test.groups, "label": test.labels})
        for index in range(logits.shape[1]):
            frame[f"logit_{index}"] = logits[:, index]
        with replacing(self.store.predictions) as temporary:
            frame.to_parquet(temporary, index=False)

    def predict(self, classifier: Classifier, split: Split, indices: np.ndarray) -> np.ndarray:
        """Logits (N,C) of the images of a split with these indices (N,)."""
        return with_smaller_batches(
            lambda size: predict_split(classifier, split, indices, self.data.mean, self.data.std, self.device, size),
            self.config.explain.batch_size,
        )[0]


def _best_epoch(history: pd.DataFrame) -> int:
    """The epoch whose weights were kept: the best validation AUC, the later one of equals."""
    backwards = history.iloc[::-1]
    return int(backwards["epoch"].iloc[backwards["val_auc"].fillna(-1).argmax()])


@dataclass(frozen=True)
class PlannedHead:
    """A head as one cell trains it.

    Attributes:
        base: the registered name.
        parameters: all its constructor arguments.
    """

    head: Head
    base: str
    parameters: dict[str, Any]
