"""One explainer on the first explained images, as often as a study asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.evaluation.batch import EvaluationBatch
from bench.evaluation.output_checks import check_maps
from bench.memory import with_smaller_batches
from bench.metrics.similarity import Floats
from bench.seeds import seed_of
from bench.studies.base import Subject


@dataclass(frozen=True)
class Subset:
    """Some explained images and what explains them.

    Attributes:
        batch: the images as the explainer is given them.
        about: one row an image: image, group and target.
        logits: (N,C) of the intact images.
        batch_size: images explained at once.
    """

    name: str
    explainer: Explainer
    batch: Batch
    about: pd.DataFrame
    logits: Floats
    batch_size: int

    @classmethod
    def of(cls, subject: Subject, name: str, explainer: Explainer, count: int) -> Subset:
        """The first ``count`` explained images, of which the diseased ones come first."""
        context = subject.context
        positions = np.arange(min(count, len(context.explained.indices)))
        about = context.about.iloc[positions][["image", "group", "target"]].reset_index(drop=True)
        batch = EvaluationBatch(context, positions).explainer_input(name, explainer)
        return cls(name, explainer, batch, about, context.logits[positions], context.section.batch_size)

    def part(self, positions: np.ndarray) -> Subset:
        """Some of the images."""
        batch = _part(self.batch, positions)
        return replace(self, batch=batch, about=self.about.iloc[positions], logits=self.logits[positions])

    def maps(
        self, classifier: Classifier, run: str, images: Tensor | None = None, targets: Tensor | None = None
    ) -> Floats:
        """Raw maps (N,h,w) of this classifier, for other images (N,3,H,W) or classes (N,) where they are given.

        Args:
            run: names the explanation. Each draws random numbers of its own, as a method does that is asked twice.
        """
        batch = replace(
            self.batch,
            images=self.batch.images if images is None else images,
            targets=self.batch.targets if targets is None else targets,
            seeds=tuple(seed_of(seed, run) for seed in self.batch.seeds),
        )

        def attempt(batch_size: int) -> Floats:
            everything = np.arange(len(batch.seeds))
            parts = np.split(everything, range(batch_size, len(everything), batch_size))
            return np.concatenate([self._explain(classifier, _part(batch, part)) for part in parts])

        return with_smaller_batches(attempt, self.batch_size)[0]

    def _explain(self, classifier: Classifier, batch: Batch) -> Floats:
        maps = check_maps(self.name, self.explainer.explain_batch(classifier, batch), len(batch.seeds))
        return maps.detach().double().cpu().numpy()


def _part(batch: Batch, positions: np.ndarray) -> Batch:
    return Batch(
        batch.images[positions],
        batch.targets[positions],
        None if batch.masks is None else batch.masks[positions],
        tuple(batch.seeds[at] for at in positions),
    )
