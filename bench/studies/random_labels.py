"""The twin that learned nothing but noise: the same training on permuted labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from bench.contracts import Classifier, Explainer, UserError
from bench.data.split import Split
from bench.metrics.similarity import rank_correlation
from bench.models.factory import build_classifier
from bench.seeds import generator
from bench.studies.base import Study, Subject, register_study
from bench.studies.subset import Subset
from bench.training.loop import predict_split, train

if TYPE_CHECKING:
    from bench.training.classifier import CellClassifier


@register_study
class RandomLabels(Study):
    """Rank correlation of each map with that of a classifier trained on permuted labels (one training a cell).

    Rows: image, group, target, value, train_accuracy (of the twin on its permuted labels), epochs.

    Args:
        images: how many of the first explained images.
        epochs: of the twin; None = as many as the cell's own training.

    Source: arXiv:1810.03292, sec. 5.
    """

    name, paper = "random_labels", "arXiv:1810.03292"

    def __init__(self, images: int = 8, epochs: int | None = None) -> None:
        self.images, self.epochs = images, epochs
        self._twin: tuple[str, Classifier, float] | None = None  # of the last cell: its explainers share it

    def applies_to(self, subject: Subject) -> str:
        """Empty where the cell trains a classifier of its own."""
        return "its classifier is converted, not trained" if subject.trained.source else ""

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """A row an image."""
        if explainer is None:
            raise UserError("random_labels is studied for each explainer")
        trained = subject.trained
        if self._twin is None or self._twin[0] != trained.fingerprint:
            self._twin = trained.fingerprint, *random_label_twin(trained, self.epochs)
        subset = Subset.of(subject, name, explainer, self.images)
        maps = (subset.maps(one, run) for one, run in ((subject.classifier, "intact"), (self._twin[1], "permuted")))
        epochs = self.epochs or trained.config.training.epochs
        return subset.about.assign(value=rank_correlation(*maps), train_accuracy=self._twin[2], epochs=epochs)


def random_label_twin(trained: CellClassifier, epochs: int | None = None) -> tuple[Classifier, float]:
    """A classifier from the same initial weights, by the same recipe, on permuted labels, and its accuracy on them.

    Validation labels are permuted too: the epoch that is kept must not be the one that is closest to the truth. Random
    numbers of the caller are not touched.
    """
    data = replace(trained.data, train=permuted(trained.data.train), val=permuted(trained.data.val))
    recipe = trained.config.training.model_copy(update={"epochs": epochs} if epochs else {})
    head, device = trained.head.head, trained.device
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), TemporaryDirectory() as folder:
        pretrained = trained.config.run.pretrained
        twin, origin = build_classifier(trained.names, head, len(trained.prepared.classes), pretrained)
        if trained.init:
            trained.init.load_into(twin, origin)
        checkpoint = Path(folder) / "checkpoint.safetensors"
        train(twin, head, data, recipe, trained.names, device, checkpoint, lambda row: None)
    twin.eval().requires_grad_(False)
    logits = predict_split(twin, data.train, np.arange(len(data.train)), data.mean, data.std, device, recipe.batch_size)
    return twin, float((logits.argmax(axis=1) == data.train.labels).mean())


def permuted(split: Split) -> Split:
    """The split with its labels in another order, drawn from its name and digest; nothing else changes."""
    order = torch.randperm(len(split), generator=generator("random_labels", split.name, split.digest))
    return replace(split, labels=np.asarray(split.labels)[order.numpy()])
