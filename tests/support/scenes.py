"""Scenes whose lesions have known effects on a linear model: a data set that can take one lesion out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.configs.sections import ExplainSection
from bench.contracts import Batch, Classifier, Explainer, Sample
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import MetricRequest
from bench.studies.base import Subject

SIDE, LESION, STEP = 32, 4, 50
PLACES = ((2, 2), (2, 22), (22, 2), (20, 20))


class Scenes:
    """Grey images with a brighter 4×4 square at each of the first ``index % 5`` places; none of them is healthy."""

    files: tuple[str, ...] = ()

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        name = f"scene-{index:03d}"
        return Sample(self._render(range(index % 5)), int(index % 5 > 0), self.exact_mask(index), name, name)

    def lesions(self, index: int) -> list[Tensor]:
        return [self._square(place) for place in range(index % 5)]

    def exact_mask(self, index: int) -> Tensor:
        return torch.stack([torch.zeros(SIDE, SIDE, dtype=torch.bool), *self.lesions(index)]).any(dim=0)

    def counterfactual(self, index: int, lesion: int | None = None) -> Tensor:
        return self._render([] if lesion is None else [place for place in range(index % 5) if place != lesion])

    def _square(self, place: int) -> Tensor:
        mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        row, column = PLACES[place]
        mask[row : row + LESION, column : column + LESION] = True
        return mask

    def _render(self, places: Any) -> Tensor:
        image = torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8)
        for place in places:
            image[:, self._square(place)] += STEP
        return image


class Weighted(nn.Module):
    """Logits 0 and ``sum(weight · (image − 100/255)) − 0.5``: linear, and healthy without lesions."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, features: Tensor) -> Tensor:
        disease = ((features - 100 / 255) * self.weight).sum(dim=(1, 2, 3)) - 0.5
        return torch.stack([torch.zeros_like(disease), disease], dim=1)


class Planted(Explainer):
    """The same map for every image, or one drawn from the image's seed."""

    name, family, signed, paper = "planted", "post-hoc", True, ""

    def __init__(self, planted: Tensor | None) -> None:
        self.planted = planted

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        if self.planted is not None:
            return self.planted.repeat(len(batch.images), 1, 1)
        maps = [torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) for seed in batch.seeds]
        return torch.stack(maps)


def subject_of(weight: Tensor, count: int, metrics: list[MetricRequest] | None = None) -> Subject:
    """The linear model with this weight (H,W) on scenes, all explained, in steps of a few images."""
    scenes = Scenes(count)
    samples = [scenes[index] for index in range(count)]
    labels = np.array([sample.label for sample in samples])
    images = torch.stack([sample.image for sample in samples])
    split = Split(
        "test", images.numpy(), labels, np.zeros((count, SIDE, SIDE), bool), np.ones(count, bool), None, None,
        tuple(one.id for one in samples), tuple(one.group for one in samples), ("healthy", "ill"), (), "",
    )  # fmt: skip
    order = np.argsort(labels == 0, kind="stable")
    classifier = Classifier(nn.Identity(), Weighted(weight), 2).eval()
    logits = classifier(images.float() / 255).detach().numpy()[order]
    context = EvaluationContext(
        classifier, split, Selection(order, labels[order] == 1, count), ExplainSection(batch_size=3, steps=4),
        logits, np.ones(count, dtype=int), (0.0,) * 3, (1.0,) * 3, torch.device("cpu"), [], 0, ("scenes",),
    )  # fmt: skip
    prepared = SimpleNamespace(samples=scenes, info=SimpleNamespace(healthy=0, lesion_free=0))
    head = SimpleNamespace(head=SimpleNamespace(family="black box"))
    trained: Any = SimpleNamespace(prepared=prepared, head=head)
    return Subject(trained, context, {}, metrics or [], {})
