"""The frozen facts that all explainers of one classifier share: images, targets, logits, predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Channels, Classifier
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.predictor import Predictor
from bench.memory import in_batches

if TYPE_CHECKING:  # the digest of a score does not cover how settings are read
    from bench.config import ExplainSection


@dataclass(frozen=True)
class EvaluationContext:
    """Everything that the explainers of one cell share; it is read and never changed.

    Attributes:
        classifier: as it was trained, in evaluation mode, on ``device``.
        split: the images; ``explained`` says which of them.
        logits: (N,C) of the explained images, in their order.
        targets: (N,) the class that each is explained for.
        gallery: positions among the explained images that the figures show.
        healthy: index of the class without lesions, whose images are donors; None where there is none.
        seed_names: what names the cell, for the explainers' random numbers.
        classes: None, or how many classes each image is explained for, in turn: saved maps are (classes,h,w).
        predictor: what explains and predicts in the place of ``classifier``; None = itself.
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

    def split_positions(self, positions: np.ndarray, size: int) -> list[np.ndarray]:
        """Positions (n,) in parts of this size, as near as it gets where the classes of an image stay together."""
        size = max(1, size // (self.classes or 1)) * (self.classes or 1)
        return np.split(positions, range(size, len(positions), size))

    def regions(self, regions: np.ndarray | None, positions: np.ndarray) -> Tensor | None:
        """Masks, fields of view or ignored pixels (N,H,W) of the explained images at these positions."""
        if regions is None:
            return None
        return torch.from_numpy(regions[self.explained.indices[positions]]).to(self.device)

    def predict(self, images: Tensor) -> Tensor:
        """Normalised images (n,3,H,W) -> logits (n,C), always in float32, in batches that shrink with the memory."""
        predictor = replace(self.inference, precision="float32")
        parts = in_batches(lambda part: predictor.predict(images[part]), len(images), self.section.batch_size)
        return torch.cat(parts)
