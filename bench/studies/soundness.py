"""Study of the soundness of metrics.

Metrics score synthetic maps that are made from the exact masks, each worse than the one before; a sound metric ranks
them in this order.
"""

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
from bench.evaluation.scoring import score
from bench.metrics import patch_at
from bench.studies.base import Study, Subject, register_study

if TYPE_CHECKING:
    from bench.evaluation.requests import MetricRequest

Degrade = Callable[[Tensor, Sequence[int]], Tensor]
_CELLS = 4  # per side of the blurred maps


def oracle(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Returns exact masks (N,H,W) as maps of 0 and 1."""
    return masks.float()


def dilated(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Dilates the lesions by half a patch of the occlusion curves: right place, too large -> (N,H,W)."""
    reach = max(1, patch_at(masks.shape[-1]) // 2)
    return F.max_pool2d(masks.float()[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]


def blurred(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Averages the dilated maps over cells (N,4,4): like a CAM of a small feature map, right only up to a cell."""
    return F.adaptive_avg_pool2d(dilated(masks, seeds), _CELLS)


def shuffled(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Permutes a random third of the cells of the blurred maps -> (N,4,4)."""
    maps = blurred(masks, seeds).flatten(1)
    for cells, seed in zip(maps, seeds, strict=True):
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(cells), generator=draw)[: round(len(cells) / 3)].to(cells.device)
        cells[chosen] = cells[chosen[torch.randperm(len(chosen), generator=draw)]]
    return torch.unflatten(maps, 1, (_CELLS, _CELLS))


def random(masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Draws uniform noise (N,n,n), one value per patch: unrelated to the lesions."""
    cells = masks.shape[-1] // patch_at(masks.shape[-1])
    noise = [torch.rand(cells, cells, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(masks.device)


#: From the exact masks to noise: each map is worse than the one before.
DEGRADED: dict[str, Degrade] = {one.__name__: one for one in (oracle, dilated, blurred, shuffled, random)}


class SyntheticMaps(Explainer):
    """Synthetic maps made from the exact masks."""

    name, family, signed, paper = "made", "control", False, ""
    needs_masks = True

    def __init__(self, degrade: Degrade) -> None:
        self.degrade = degrade

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes maps (N,h,w) from the masks (N,H,W)."""
        assert batch.masks is not None  # because of needs_masks
        return self.degrade(batch.masks, batch.seeds)


@register_study
class Soundness(Study):
    """Scores of synthetic maps by the metrics of the run with the exact masks: one row per map, metric and image.

    Faithfulness is measured only on images that the classifier gets right and calls healthy without their lesions: on
    other images its prediction need not depend on the lesions, and the exact mask is not the truth about it.

    Args:
        images: largest number of explained diseased images that are read, from the first.
        occluded: largest number of them that go through the occlusion curves.

    Source:
        arXiv:1912.01451 (sanity checks of metrics); the synthetic maps are ours.
    """

    name, paper, per_explainer = "soundness", "arXiv:1912.01451", False

    def __init__(self, images: int = 32, occluded: int = 8) -> None:
        self.images, self.occluded = images, occluded

    def applies_to(self, subject: Subject) -> str:
        """Requires exact masks, and the black box, because one classifier per data set is enough."""
        if not hasattr(subject.prepared.samples, "exact_mask"):
            return "the data set has no exact masks"
        return "" if subject.trained.head.head.family == "black box" else "metrics are judged on the black box"

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns the columns map, image, group, metric, variant, value."""
        context = self._with_exact_masks(subject)
        frames = []
        for degraded, degrade in DEGRADED.items():
            rows = score(context, degraded, SyntheticMaps(degrade), judged(subject.metrics)).rows
            frames.append(rows[(rows["image"] != "") & (rows["step"] == -1)].assign(map=degraded))
        return pd.concat(frames)[["map", "image", "group", "metric", "variant", "value"]]

    def _with_exact_masks(self, subject: Subject) -> EvaluationContext:
        """Restricts the context to diseased images, with exact masks; images whose lesions decide come first."""
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
    """Selects the metrics that say which of two maps of a diseased image is better."""
    return [one for one in metrics if one.info.higher_is_better is not None and one.info.images == "diseased"]


def _lesions_decide(subject: Subject, positions: np.ndarray) -> np.ndarray:
    """Returns (N,) bool: the image is classified right, and as healthy without its lesions."""
    context, healthy = subject.context, subject.prepared.info.lesion_free
    indices = context.explained.indices[positions]
    rendered = torch.stack([subject.prepared.samples.counterfactual(index) for index in indices.tolist()])  # type: ignore[union-attr]
    images = normalise(rendered.to(context.device), context.mean, context.std)
    without, labels = context.predict(images).cpu().numpy(), context.split.labels[indices]
    is_right = context.outputs.predicted(context.logits[positions], labels) == labels
    decide: np.ndarray = is_right & (context.outputs.predicted(without, labels) == healthy)
    return decide
