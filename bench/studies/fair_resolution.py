"""Study of the resolution of maps.

Metrics may reward a map for being fine or smooth rather than right, so every map is scored as it is, on one coarse
grid, and blurred like that grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.data.selection import Selection
from bench.errors import UserError
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.scoring import score
from bench.maps import area_average, blur_to_grid
from bench.store.code_digest import code_digest
from bench.studies.base import Study, Subject, register_study

Size = tuple[int, int]
Treatment = Callable[[Tensor, Size, Size], Tensor]


def native(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Returns maps (N,h,w) on their own grid."""
    return maps


def common(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Averages maps (N,h,w) over the cells of a coarser grid (g,k) -> (N,g,k)."""
    return area_average(maps, grid)


def blurred(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Enlarges maps (N,h,w) to the input's size (H,W) with the smoothness of a coarser grid -> (N,H,W)."""
    return blur_to_grid(maps, grid, size)


TREATMENTS: tuple[Treatment, ...] = (native, common, blurred)


class Treated(Explainer):
    """Another explainer's maps after a treatment; they are computed once for all treatments."""

    name, paper = "treated", ""

    def __init__(self, explainer: Explainer, grid: Size) -> None:
        self.explainer, self.grid, self.treatment = explainer, grid, TREATMENTS[0]
        self.kept: dict[int, Tensor] = {}
        for fact in ("family", "signed", "needs_masks"):
            setattr(self, fact, getattr(explainer, fact))

    @property
    def native_grid(self) -> Size:
        """Grid (h,w) of the computed maps; available after the first call."""
        height, width = next(iter(self.kept.values())).shape
        return height, width

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Returns treated maps (N,h,w); images are identified by their seeds."""
        if not self.kept.keys() >= set(batch.seeds):
            maps = self.explainer.explain_batch(classifier, batch).detach().float()
            self.kept |= dict(zip(batch.seeds, maps, strict=True))
        height, width = batch.images.shape[2:]
        return self.treatment(torch.stack([self.kept[seed] for seed in batch.seeds]), self.grid, (height, width))


@register_study
class FairResolution(Study):
    """Scores of every map on its own grid, on the grid of the feature map, and blurred like that grid.

    The common grid is the classifier's feature map. It is the coarsest grid of the compared methods, because class
    activation maps and evidence have it, and it is known before any method has run. A map that is not finer has the
    same score under every treatment.

    Args:
        images: largest number of explained diseased images that are read, from the first.
        occluded: largest number of them that go through the occlusion curves; never more than in the run itself.
        metrics: the metrics to compute, as in ``[run] metrics``.
    """

    name, paper = "fair_resolution", ""

    def __init__(
        self,
        images: int = 8,
        occluded: int = 4,
        metrics: Sequence[str] = ("activation_precision", "pixel_auroc", "topk_precision", "audc"),
    ) -> None:
        self.images, self.occluded, self.metrics = images, occluded, resolve_metrics(metrics)

    def applies_to(self, subject: Subject) -> str:
        """Requires explained diseased images."""
        return "" if subject.context.explained.diseased.any() else "no diseased image is explained"

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """Lists the metrics with the digests of their code."""
        return [(request.name, code_digest(request.info.function)) for request in self.metrics]

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns image, group, metric, variant, value, higher_is_better, treatment, native_grid, common_grid."""
        assert explainer is not None  # per_explainer
        context = self._diseased(subject)
        grid = feature_grid(context)
        treated = Treated(explainer, grid)
        first = self._rows(context, name, treated)
        is_finer = any(own > shared for own, shared in zip(treated.native_grid, grid, strict=True))
        frames = []
        for treatment in TREATMENTS:
            treated.treatment = treatment
            rows = self._rows(context, name, treated) if is_finer and treatment is not native else first
            frames.append(rows.assign(treatment=treatment.__name__))
        grids = {"native_grid": "×".join(map(str, treated.native_grid)), "common_grid": "×".join(map(str, grid))}
        return pd.concat(frames, ignore_index=True).assign(**grids)

    def _diseased(self, subject: Subject) -> EvaluationContext:
        """Restricts the context of the cell to the first diseased images, which come first among the explained."""
        context, explained = subject.context, subject.context.explained
        count = min(self.images, int(explained.diseased.sum()))
        occluded = min(self.occluded, explained.faithful, count)
        return replace(
            context,
            explained=Selection(explained.indices[:count], explained.diseased[:count], occluded),
            logits=context.logits[:count],
            targets=context.targets[:count],
            gallery=[],
        )

    def _rows(self, context: EvaluationContext, name: str, treated: Treated) -> pd.DataFrame:
        result = score(context, name, treated, self.metrics)
        if result.problems:
            raise UserError("; ".join(result.notes))
        rows = result.rows
        rows = rows[(rows["image"] != "") & (rows["step"] == -1)][["image", "group", "metric", "variant", "value"]]
        better = {request.info.name: bool(request.info.higher_is_better) for request in self.metrics}
        return rows.assign(higher_is_better=rows["metric"].map(better))


@torch.inference_mode()
def feature_grid(context: EvaluationContext) -> Size:
    """Computes the grid (h,w) of the classifier's feature map for an image of the split."""
    channels, rows, columns = context.split.images.shape[1:]
    height, width = context.classifier.forward_features(
        torch.zeros(1, channels, rows, columns, device=context.device)
    ).shape[2:]
    return height, width
