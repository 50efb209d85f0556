"""Classifier of a cell.

It is trained once, from scratch or from the weights of another cell's classifier, or converted from that, and loaded
from the store afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.config import Config
from bench.contracts import Classifier
from bench.data.counterfactuals import render_counterfactuals
from bench.data.prepare import Prepared, TrainingData
from bench.data.split import Split
from bench.devices import has_fast_bf16
from bench.errors import NotApplicable, UserError, one_line
from bench.files import replacing
from bench.memory import with_smaller_batches
from bench.models.factory import build_classifier, normalisation, weights_digest
from bench.models.initial_weights import InitialWeights
from bench.progress import Progress
from bench.registry import BACKBONES
from bench.store.cell_facts import LesionReliance
from bench.store.code_digest import code_digest, digest
from bench.store.folders import CellStore
from bench.store.records import CellKey, CellRecord
from bench.training.evidence_facts import evidence_grid, near_zero
from bench.training.lesion_reliance import lesion_reliance
from bench.training.loop import predict_split, train
from bench.training.penalty_search import PlannedHead, Search
from bench.training.training_run import Training, TrainingRun


def step_of(head: PlannedHead) -> str:
    """Returns the kind of step that gives a classifier with this head, as the progress display names it."""
    if head.head.given:
        return "given classifier"
    return "conversion" if head.head.converts else "training"


@dataclass
class CellClassifier:
    """Trains, converts or loads the classifier of one cell.

    Attributes:
        key: names the cell.
        store: the folder of the cell.
        prepared: the data set.
        head: the head with its parameters.
        config: the config, resolved for the cell's data set and backbone.
        device: device to train on.
        progress: shows the training.
        source: the cell whose trained classifier this one converts, or whose weights its training starts from.
        init: weights that the training starts from, as far as they fit.
        computed: whether anything was trained or converted.
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
        """Names that seed the initial weights; without parameters, so that heads that differ in λ start alike."""
        return self.prepared.info.name, self.key.backbone, self.head.base, self.key.seed

    @property
    def batch_names(self) -> tuple[str, str, int]:
        """Names that seed the batches: all heads of one seed see the same images in the same order."""
        return self.prepared.info.name, self.key.backbone, self.key.seed

    @property
    def trained_head(self) -> PlannedHead:
        """The head with the weights of the penalty that the training used, once it is stored."""
        return self.head.with_parameters(self.store.record.parameters or {}) if self.head.head.searched else self.head

    @property
    def data(self) -> TrainingData:
        """Training data with the normalisation that pretrained weights of this backbone need."""
        data, given = self.prepared.data, self.origin
        if given.head.head.given:
            mean, std = given.head.head.normalisation or (data.mean, data.std)
        else:
            mean, std = normalisation(self.key.backbone, self.config.run.pretrained, data.mean, data.std)
        return replace(data, mean=mean, std=std)

    @property
    def origin(self) -> CellClassifier:
        """The cell that this one is converted from, as often as it takes; itself if it is not converted."""
        return self.source.origin if self.source and self.head.head.converts else self

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the trained weights and the predictions depend on."""
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
            *([self._given_digest] if self.head.head.given else []),
        )

    @cached_property
    def _given_digest(self) -> str:
        return weights_digest(self._given)

    @cached_property
    def _given(self) -> Classifier:
        """The trained classifier of a head that is ``given``.

        Raises:
            UserError: it does not fit the data set.
        """
        try:
            return self.head.head.build(nn.Identity(), len(self.prepared.classes))
        except ValueError as error:
            raise UserError(f"head {self.key.head!r} does not fit {self.key.dataset!r}: {error}") from error

    @property
    def _code(self) -> list[object]:
        """Code that the weights, the predictions and the facts recorded with them depend on."""
        trained = [] if self.origin.head.head.given else self._training_code
        code = [*trained, predict_split, self.head.head, lesion_reliance, near_zero]
        if self.head.head.searched:
            code.append(Search)
        if hasattr(self.prepared.samples, "counterfactual"):
            code += [render_counterfactuals, self.prepared.info.builder]
        return [*code, *([self.init] if self.init else [])]

    @property
    def _training_code(self) -> list[object]:
        return [TrainingRun, train, build_classifier, BACKBONES[self.key.backbone].build]

    @property
    def step(self) -> str:
        """Kind of step in the progress display: training or conversion."""
        return step_of(self.head)

    def load(self) -> Classifier:
        """Returns the classifier in evaluation mode; trains or converts it first unless the store holds it.

        Raises:
            UserError: The head does not fit the backbone, or the training diverged.
            NotApplicable: The conversion would not be exact.
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
        """Does the work of ``load`` without a step in the progress display, because another cell may call it."""
        self.store.activate(self.fingerprint)
        classifier, origin = self._build()
        if self._is_stored():
            record = self.store.record
            if record.status != "ok":  # it failed after the training, and is tried again
                self.store.write_record(record.changed(status="ok", reason="", traceback=""))
            classifier.load_state_dict(load_file(self.store.weights))
        else:
            self.computed = True
            if self.init and not self.source and not self.head.head.given:
                origin = self.init.load_into(classifier, origin)
                self.progress.milestone(f"{self.key}: {origin}")
            if self.source and not self.head.head.converts:
                origin = self._load_start(classifier, self.source)
            is_trained = self.head.head.converts or self.head.head.given
            self._finish(classifier, origin, None if is_trained else self._train(classifier))
        return classifier.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)

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
        self._save(classifier, None if training is None else training.history)
        search = training.search if training else None
        reliance = lesion_reliance(self.prepared, classifier, self.data, self.device)
        self.store.write_record(
            CellRecord(
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
                evidence_grid=evidence_grid(classifier, self.prepared, self.device),
                near_zero=near_zero(classifier, self.prepared, self.data, self.device, self.config.explain.batch_size),
                penalty_search=search,
                lesion_reliance=None if reliance is None else LesionReliance.model_validate(reliance),
            )
        )
        for file in self.store.folder.glob(f"{self.store.checkpoint.stem}*"):  # a search has one per weight
            file.unlink(missing_ok=True)

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
        """Computes logits (N,C) of images (N,) of a split, in batches that shrink when memory runs out."""
        return with_smaller_batches(
            lambda size: predict_split(classifier, split, indices, self.data.mean, self.data.std, self.device, size),
            self.config.explain.batch_size,
        )[0]
