"""What the classifier of a cell depends on: its data, code, settings and source, in one fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import nn

from bench.config import Config
from bench.contracts import Classifier
from bench.data.counterfactuals import render_counterfactuals
from bench.data.prepare import Prepared, TrainingData
from bench.devices import has_fast_bf16
from bench.errors import UserError
from bench.models.factory import build_classifier, normalisation, weights_digest
from bench.models.initial_weights import InitialWeights
from bench.progress import Progress
from bench.registry import BACKBONES
from bench.store.code_digest import code_digest, digest
from bench.store.folders import CellStore
from bench.store.records import CellKey
from bench.training.evidence_facts import near_zero
from bench.training.lesion_reliance import lesion_reliance
from bench.training.loop import predict_split, train
from bench.training.penalty_search import PlannedHead, Search
from bench.training.training_run import TrainingRun


@dataclass
class CellIdentity:
    """What the classifier of a cell depends on, and the names and hashes that follow from it.

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
    """

    key: CellKey
    store: CellStore
    prepared: Prepared
    head: PlannedHead
    config: Config
    device: torch.device
    progress: Progress
    source: Self | None = None
    init: InitialWeights | None = None

    @property
    def names(self) -> tuple[str, str, str, int]:
        """Names that seed the initial weights; without parameters, so that heads that differ in λ start alike."""
        return self.prepared.info.name, self.key.backbone, self.head.base, self.key.seed

    @property
    def batch_names(self) -> tuple[str, str, int]:
        """Names that seed the batches: all heads of one seed see the same images in the same order."""
        return self.prepared.info.name, self.key.backbone, self.key.seed

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
    def origin(self) -> Self:
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
