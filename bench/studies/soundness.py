"""Is a metric sound? It scores maps that are made of the exact truth, each worse than the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.data.selection import Selection
from bench.data.split import normalise
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import MetricRequest
from bench.evaluation.scoring import score
from bench.metrics import patch_at
from bench.studies.base import Study, Subject, register_study

if TYPE_CHECKING:
    from bench.evaluation.requests import MetricRequest

Degrade = Callable[[Tensor, Sequence[int]], Tensor]
_CELLS = 4  # a side of the blurred maps


def oracle(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Exact masks (N,H,W) as maps of 0 and 1."""
    return masks.float()


def dilated(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """The lesions grown on every side by half a patch of the occlusion tests: right place, too large."""
    reach = max(1, patch_at(masks.shape[-1]) // 2)
    return F.max_pool2d(masks.float()[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]


def blurred(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """The dilated maps averaged over cells, (N,4,4): as a CAM from a small feature map, right only by the cell."""
    return F.adaptive_avg_pool2d(dilated(masks, seeds), _CELLS)


def shuffled(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """The blurred maps (N,4,4), a random third of whose cells have changed places."""
    maps = blurred(masks, seeds).flatten(1)
    for cells, seed in zip(maps, seeds, strict=True):
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(cells), generator=draw)[: round(len(cells) / 3)].to(cells.device)
        cells[chosen] = cells[chosen[torch.randperm(len(chosen), generator=draw)]]
    return maps.unflatten(1, (_CELLS, _CELLS))


def random(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Uniform noise (N,n,n), one value a patch: nothing is right."""
    cells = masks.shape[-1] // patch_at(masks.shape[-1])
    noise = [torch.rand(cells, cells, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(masks.device)


#: From the truth to nothing: each map is made of the one before, and tells less of where the lesions are.
DEGRADED: dict[str, Degrade] = {one.__name__: one for one in (oracle, dilated, blurred, shuffled, random)}


class Made(Explainer):
    """Maps made of the exact masks."""

    name, family, signed, paper = "made", "control", False, ""
    needs_masks = True

    def __init__(self, degrade: Degrade) -> None:
        self.degrade = degrade

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Masks (N,H,W) -> maps (N,h,w)."""
        assert batch.masks is not None  # given to whom needs them
        return self.degrade(batch.masks, batch.seeds)


@register_study
class Soundness(Study):
    """One row a made map, metric and image, scored by the run's own metrics against the exact masks.

    Faithfulness is read only on images that the model classifies right and calls healthy once their lesions are gone:
    on others the lesions need not be what its prediction hangs on, and the oracle is no truth about the model.

    Source: arXiv:1912.01451 (sanity checks of metrics); the made maps are ours.

    Args:
        images: explained diseased images that are read, at most.
        occluded: how many of them go through the occlusion curves, at most.
    """

    name, paper, per_explainer = "soundness", "arXiv:1912.01451", False

    def __init__(self, images: int = 32, occluded: int = 8) -> None:
        self.images, self.occluded = images, occluded

    def applies_to(self, subject: Subject) -> str:
        """Only where the truth is known exactly, and once: on the black box."""
        if not hasattr(subject.prepared.samples, "exact_mask"):
            return "the data set has no exact masks"
        return "" if subject.trained.head.head.family == "black box" else "metrics are judged on the black box"

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Columns map, image, group, metric, variant, value."""
        context = self._scorer(subject)
        frames = []
        for made, degrade in DEGRADED.items():
            rows = score(context, made, Made(degrade), judged(subject.metrics)).rows
            frames.append(rows[(rows["image"] != "") & (rows["step"] == -1)].assign(map=made))
        return pd.concat(frames)[["map", "image", "group", "metric", "variant", "value"]]

    def _scorer(self, subject: Subject) -> EvaluationContext:
        """The cell's scorer with the exact masks, on diseased images alone, those whose lesions decide coming first."""
        context, split = subject.context, subject.context.split
        positions = np.flatnonzero(context.explained.diseased)[: self.images]
        decide = _lesions_decide(subject, positions)
        positions = positions[np.argsort(~decide, kind="stable")]
        indices = context.explained.indices[positions]
        masks = np.zeros((len(split), *split.images.shape[2:]), dtype=bool)
        for index in indices.tolist():
            masks[index] = subject.prepared.samples.exact_mask(index).numpy()  # type: ignore[union-attr]
        return replace(
            context,
            split=replace(split, masks=masks),
            explained=Selection(indices, np.ones(len(indices), dtype=bool), min(self.occluded, int(decide.sum()))),
            logits=context.logits[positions],
            targets=context.targets[positions],
            gallery=[],
        )


def judged(metrics: list[MetricRequest]) -> list[MetricRequest]:
    """The metrics that say which of two maps of a diseased image is better."""
    return [one for one in metrics if one.info.higher_is_better is not None and one.info.images == "diseased"]


def _lesions_decide(subject: Subject, positions: np.ndarray) -> np.ndarray:
    """(N,) whether an image is classified right, and as healthy without its lesions."""
    context, healthy = subject.context, subject.prepared.info.healthy
    indices = context.explained.indices[positions]
    twins = torch.stack([subject.prepared.samples.counterfactual(index) for index in indices.tolist()])  # type: ignore[union-attr]
    images = normalise(twins.to(context.device), context.mean, context.std)
    without = context.predict(images)
    right = context.logits[positions].argmax(axis=1) == context.split.labels[indices]
    return right & (without.argmax(dim=1).cpu().numpy() == healthy)
