"""First explained images with one explainer.

Studies explain the same images several times: with other weights, for other classes, or with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.evaluation.batch import EvaluationBatch, explain_images, part_of
from bench.metrics.similarity import Floats
from bench.seeds import seed_of
from bench.studies.base import Subject


@dataclass(frozen=True)
class Subset:
    """Some explained images and the explainer of a study.

    Attributes:
        name: name of the explainer.
        explainer: computes the maps.
        batch: the images as the explainer gets them.
        about: one row per image: image, group and target.
        logits: (N,C) logits of the intact images.
        batch_size: number of images explained at once.
    """

    name: str
    explainer: Explainer
    batch: Batch
    about: pd.DataFrame
    logits: Floats
    batch_size: int

    @classmethod
    def of(cls, subject: Subject, name: str, explainer: Explainer, count: int) -> Subset:
        """Selects the first ``count`` explained images; diseased images come first."""
        context = subject.context
        positions = np.arange(min(count, len(context.explained.indices)))
        about = context.about.iloc[positions][["image", "group", "target"]].reset_index(drop=True)
        batch = EvaluationBatch(context, positions).explainer_input(name, explainer)
        return cls(name, explainer, batch, about, context.logits[positions], context.section.batch_size)

    def part(self, part: slice) -> Subset:
        """Selects some of the images."""
        batch = part_of(self.batch, part)
        return replace(self, batch=batch, about=self.about.iloc[part], logits=self.logits[part])

    def maps(
        self, classifier: Classifier, run: str, images: Tensor | None = None, targets: Tensor | None = None
    ) -> Floats:
        """Computes raw maps (N,h,w) float64.

        Args:
            classifier: the classifier to explain.
            run: names the explanation: each has random numbers of its own, as two calls of a random method have.
            images: (N,3,H,W) instead of the images of the subset.
            targets: (N,) classes instead of the targets of the subset.
        """
        batch = replace(
            self.batch,
            images=self.batch.images if images is None else images,
            targets=self.batch.targets if targets is None else targets,
            seeds=tuple(seed_of(seed, run) for seed in self.batch.seeds),
        )
        maps = explain_images(classifier, self.name, self.explainer, batch, self.batch_size)
        return maps.double().cpu().numpy()
