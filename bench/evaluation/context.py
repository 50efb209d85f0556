"""Explains the chosen images of one classifier, and scores the maps as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Channels, Classifier, Explainer
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.batch import EvaluationBatch
from bench.evaluation.predictor import Predictor
from bench.evaluation.result import ExplainerResult
from bench.memory import with_smaller_batches

if TYPE_CHECKING:
    from bench.config import ExplainSection
    from bench.evaluation.requests import MetricRequest


@dataclass(frozen=True)
class EvaluationContext:
    """Everything that the explainers of one cell share.

    Attributes:
        classifier: as it was trained, in evaluation mode, on ``device``.
        split: the images; ``explained`` says which of them.
        logits: (N,C) of the explained images, in their order.
        targets: (N,) the class that each is explained for.
        gallery: positions among the explained images that the figures show.
        healthy: index of the class without lesions, whose images are donors; None where there is none.
        seed_names: what names the cell, for the explainers' random numbers.
        classes: None, or how many classes each image is explained for, in turn: saved maps are (classes,h,w).
        engine: what explains and predicts in the place of ``classifier``; None = itself.
    """

    classifier: Classifier
    split: Split
    explained: Selection
    section: ExplainSection
    logits: np.ndarray
    targets: np.ndarray
    mean: Channels
    std: Channels
    device: torch.device
    gallery: list[int]
    healthy: int | None
    seed_names: tuple[object, ...]
    classes: int | None = None
    predictor: Predictor | None = None

    @cached_property
    def inference(self) -> Predictor:
        """What explains and predicts."""
        return self.predictor or Predictor(self.classifier, "float32", self.section.batch_size)

    @cached_property
    def once(self) -> EvaluationContext:
        """The same without ``classes``, for what is asked of an image once."""
        return replace(self, classes=None)

    @cached_property
    def about(self) -> pd.DataFrame:
        """One row an explained image: what every score of it is labelled with."""
        indices = self.explained.indices
        return pd.DataFrame(
            {
                "image": np.asarray(self.split.ids)[indices],
                "group": np.asarray(self.split.groups)[indices],
                "label": self.split.labels[indices],
                "predicted": self.logits.argmax(axis=1),
                "target": self.targets,
                "diseased": self.explained.diseased,
            }
        )

    def portions(self) -> Iterator[EvaluationBatch]:
        """The explained images, as many at a time as are explained at once."""
        for positions in self.split_positions(np.arange(len(self.explained.indices)), self.section.batch_size):
            yield EvaluationBatch(self, positions)

    def split_positions(self, positions: np.ndarray, size: int) -> list[np.ndarray]:
        """Positions (n,) in parts of this size, as near as it gets where the classes of an image stay together."""
        size = max(1, size // (self.classes or 1)) * (self.classes or 1)
        return np.split(positions, range(size, len(positions), size))

    def score(self, name: str, explainer: Explainer, metrics: list[MetricRequest]) -> ExplainerResult:
        """Explain and score every chosen image.

        Raises:
            UserError: the explainer returned something that is no map for each image.
        """
        scored = ExplainerResult()
        for portion in self.portions():
            scored.add(portion.score(name, explainer, metrics, set()))
        return scored

    def batch(self, name: str, explainer: Explainer, positions: np.ndarray) -> Batch:
        """What this explainer is given to explain the images at these positions among the explained ones."""
        return EvaluationBatch(self, positions).batch(name, explainer)

    def maps(self, name: str, explainer: Explainer, positions: np.ndarray) -> Tensor:
        """Raw maps (n,h,w) of the explained images at positions (n,), in batches that shrink when memory runs out.

        Raises:
            UserError: the explainer returned something that is no map for each image.
        """

        def attempt(batch_size: int) -> Tensor:
            parts = self.split_positions(positions, batch_size)
            return torch.cat([EvaluationBatch(self, part).maps(name, explainer) for part in parts])

        return with_smaller_batches(attempt, self.section.batch_size)[0]

    def regions(self, regions: np.ndarray | None, positions: np.ndarray) -> Tensor | None:
        """Masks, fields of view or ignored pixels (N,H,W) of the explained images at these positions."""
        if regions is None:
            return None
        return torch.from_numpy(regions[self.explained.indices[positions]]).to(self.device)

    def predict(self, images: Tensor) -> Tensor:
        """Normalised images (n,3,H,W) -> logits (n,C), in float32 whatever occluded images are predicted in."""
        return replace(self.inference, precision="float32").predict(images)
