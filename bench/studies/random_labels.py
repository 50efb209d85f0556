"""Study of a classifier trained on permuted labels.

Such a classifier has learned nothing about the classes, so its maps should not look like those of the trained one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from bench.contracts import Classifier, Explainer
from bench.data.split import Split
from bench.errors import UserError
from bench.metrics.similarity import rank_correlation
from bench.models.factory import build_classifier
from bench.seeds import generator
from bench.studies.base import Study, Subject, register_study
from bench.studies.subset import Subset
from bench.training.loop import TrainingLoop, predict_split, train

if TYPE_CHECKING:
    from bench.training.classifier import CellClassifier


@register_study
class RandomLabels(Study):
    """Rank correlation of each map with the map of a classifier trained on permuted labels (one training per cell).

    Rows: image, group, target, value (correlation in [-1, 1]), train_accuracy (of the other classifier on its permuted
    labels), epochs.

    Args:
        images: number of explained images that are read, from the first.
        epochs: epochs of the training on permuted labels; None = as many as the cell's own training.

    Source:
        arXiv:1810.03292, sec. 5.
    """

    name, paper = "random_labels", "arXiv:1810.03292"

    def __init__(self, images: int = 8, epochs: int | None = None) -> None:
        self.images, self.epochs = images, epochs
        # fingerprint, classifier and accuracy of the last cell, because its explainers share one training
        self._last: tuple[str, Classifier, float] | None = None

    def applies_to(self, subject: Subject) -> str:
        """Returns an empty text if the cell trains a classifier of its own."""
        head = subject.trained.head.head
        if head.converts or head.given:
            return f"its classifier is {'converted' if head.converts else 'given'}, not trained"
        return ""

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns one row per image."""
        if explainer is None:
            raise UserError("random_labels is studied per explainer, but none was given")
        trained = subject.trained
        if self._last is None or self._last[0] != trained.fingerprint:
            self._last = trained.fingerprint, *train_on_random_labels(trained, self.epochs)
        subset = Subset.of(subject, name, explainer, self.images)
        runs = ((subject.classifier, "intact"), (self._last[1], "permuted"))
        maps = (subset.maps(subject.explained(one), run) for one, run in runs)
        epochs = self.epochs or trained.config.training.epochs
        return subset.about.assign(value=rank_correlation(*maps), train_accuracy=self._last[2], epochs=epochs)


def train_on_random_labels(trained: CellClassifier, epochs: int | None = None) -> tuple[Classifier, float]:
    """Trains a classifier from the same initial weights and by the same recipe on permuted labels.

    A head that starts from a trained one is trained without that start, and with the weights that its search chose.

    Validation labels are permuted too, because the epoch that is kept must not be the one closest to the truth. The
    caller's random numbers are not changed.

    Returns:
        The classifier, and its accuracy on the permuted training labels.
    """
    data = replace(trained.data, train=permuted(trained.data.train), val=permuted(trained.data.val))
    recipe = trained.config.training.model_copy(update={"epochs": epochs} if epochs else {})
    head, device = trained.trained_head.head, trained.device
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), TemporaryDirectory() as folder:
        pretrained = trained.config.run.pretrained
        classifier, origin = build_classifier(trained.names, head, len(trained.prepared.classes), pretrained)
        if trained.init:
            trained.init.load_into(classifier, origin)
        loop = TrainingLoop(classifier, head, data, recipe, device)
        train(loop, trained.batch_names, Path(folder) / "checkpoint.safetensors", lambda row: None)
    classifier.eval().requires_grad_(False)
    every, size = np.arange(len(data.train)), recipe.batch_size
    logits = predict_split(classifier, data.train, every, data.mean, data.std, device, size)
    return classifier, data.outputs.accuracy(logits, data.train.labels)


def permuted(split: Split) -> Split:
    """Returns the split with permuted labels; the permutation is drawn from the name and digest of the split."""
    order = torch.randperm(len(split), generator=generator("random_labels", split.name, split.digest))
    return replace(split, labels=np.asarray(split.labels)[order.numpy()])
