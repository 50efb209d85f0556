"""Is a map good, or only fine or smooth? Every map scored as it is, on one coarse grid, and blurred like that grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer, UserError
from bench.data.selection import Selection
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.scoring import score
from bench.maps import area_average, blur_to_grid
from bench.store.code_digest import code_digest
from bench.studies.base import Study, Subject, register_study

Size = tuple[int, int]
Treatment = Callable[[Tensor, Size, Size], Tensor]


def native(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Maps (N,h,w) on their own grid."""
    return maps


def common(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Maps (N,h,w) averaged over the cells of a coarser grid (g,k) -> (N,g,k)."""
    return area_average(maps, grid)


def blurred(maps: Tensor, grid: Size, size: Size) -> Tensor:
    """Maps (N,h,w) at the input's size (H,W) with the smoothness of a coarser grid -> (N,H,W)."""
    return blur_to_grid(maps, grid, size)


TREATMENTS: tuple[Treatment, ...] = (native, common, blurred)


class Treated(Explainer):
    """Another explainer's maps, treated; they are made only once for all treatments."""

    name, paper = "treated", ""

    def __init__(self, explainer: Explainer, grid: Size) -> None:
        self.explainer, self.grid, self.treatment = explainer, grid, TREATMENTS[0]
        self.kept: dict[int, Tensor] = {}
        for fact in ("family", "signed", "needs_masks"):
            setattr(self, fact, getattr(explainer, fact))

    @property
    def native_grid(self) -> Size:
        """Cells of the maps that were made, once there are some."""
        height, width = next(iter(self.kept.values())).shape
        return height, width

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Maps (N,h,w) after the treatment; an image is known by its seed."""
        if not self.kept.keys() >= set(batch.seeds):
            maps = self.explainer.explain_batch(classifier, batch).detach().float()
            self.kept |= dict(zip(batch.seeds, maps, strict=True))
        height, width = batch.images.shape[2:]
        return self.treatment(torch.stack([self.kept[seed] for seed in batch.seeds]), self.grid, (height, width))


@register_study
class FairResolution(Study):
    """Scores of every map on its own grid, on the grid of the feature map, and blurred as that grid would.

    The common grid is the classifier's feature map: the coarsest grid of the compared methods, since the class
    activation maps and the evidence stand on it, and known before any method has run. A map that is no finer has the
    same score under every treatment.

    Args:
        images: explained diseased images that are read, at most.
        occluded: how many of them go through the occlusion curves, at most; never more than of the run itself.
        metrics: what is scored, as in ``[run] metrics``.
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
        """Read are diseased images."""
        return "" if subject.context.explained.diseased.any() else "no diseased image is explained"

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """Lists the code of the metrics."""
        return [(request.name, code_digest(request.info.function)) for request in self.metrics]

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Columns image, group, metric, variant, value, higher_is_better, treatment, native_grid, common_grid."""
        assert explainer is not None  # studied by explainer
        context = self._scorer(subject)
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

    def _scorer(self, subject: Subject) -> EvaluationContext:
        """The cell's scorer on the first diseased images alone."""
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
        scored = score(context, name, treated, self.metrics)
        if scored.problems:
            raise UserError("; ".join(scored.notes))
        rows = scored.rows
        rows = rows[(rows["image"] != "") & (rows["step"] == -1)][["image", "group", "metric", "variant", "value"]]
        better = {request.info.name: bool(request.info.higher_is_better) for request in self.metrics}
        return rows.assign(higher_is_better=rows["metric"].map(better))


@torch.inference_mode()
def feature_grid(context: EvaluationContext) -> Size:
    """Cells (h,w) of the classifier's feature map of an image of the split."""
    channels, rows, columns = context.split.images.shape[1:]
    height, width = context.classifier.forward_features(
        torch.zeros(1, channels, rows, columns, device=context.device)
    ).shape[2:]
    return height, width
