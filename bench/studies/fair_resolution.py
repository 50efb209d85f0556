"""Study of the resolution and alignment of maps.

Metrics may reward a map for being fine, smooth or well drawn rather than right, so every map is scored as it is under
both conventions of drawing, on one coarse grid, and blurred like that grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer, Geometry
from bench.data.selection import Selection
from bench.errors import UserError
from bench.evaluation.context import EvaluationContext
from bench.evaluation.metric_inputs import why_not_read
from bench.evaluation.requests import MetricRequest, resolve_metrics
from bench.evaluation.scoring import score
from bench.maps import area_average, blur_to_grid, cell_average, drawn_by
from bench.store.code_digest import code_digest
from bench.studies.base import Study, Subject, register_study

Size = tuple[int, int]
Treatment = Callable[[Tensor, Size, Size, Geometry | None], Tensor]
#: Both ways to draw a map on the feature grid; each is a treatment.
ALIGNMENTS = ("receptive-field", "grid")


def native(maps: Tensor, grid: Size, size: Size, geometry: Geometry | None) -> Tensor:
    """Returns maps (N,h,w) on their own grid."""
    return maps


def common(maps: Tensor, grid: Size, size: Size, geometry: Geometry | None) -> Tensor:
    """Averages maps (N,h,w) over the cells of a coarser grid (g,k), where these are drawn -> (N,g,k)."""
    return area_average(maps, grid) if geometry is None else cell_average(maps, grid, size, geometry)


def blurred(maps: Tensor, grid: Size, size: Size, geometry: Geometry | None) -> Tensor:
    """Enlarges maps (N,h,w) to the input's size (H,W) with the smoothness of a coarser grid -> (N,H,W)."""
    return blur_to_grid(maps, grid, size)


class Treated(Explainer):
    """Another explainer's maps after a treatment; they are computed once for all treatments.

    Args:
        explainer: the explainer.
        common_grid: grid (g,k) of the feature map.
        geometry: draws the common grid; None = the grid convention.
    """

    name, paper = "treated", ""

    def __init__(self, explainer: Explainer, common_grid: Size, geometry: Geometry | None = None) -> None:
        self.explainer, self.common_grid, self.geometry = explainer, common_grid, geometry
        self.kept: dict[int, Tensor] = {}
        for fact in ("family", "signed", "needs_masks"):
            setattr(self, fact, getattr(explainer, fact))
        self.treat(native)

    def treat(self, treatment: Treatment) -> None:
        """Sets the treatment, and with it the grid of the maps."""
        self.treatment = treatment
        on_common = "features" if self.geometry else "pixels"
        grids: dict[Treatment, str] = {native: self.explainer.grid, common: on_common, blurred: "pixels"}
        vars(self)["grid"] = grids[treatment]

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
        maps = torch.stack([self.kept[seed] for seed in batch.seeds])
        return self.treatment(maps, self.common_grid, (height, width), self.geometry)


@register_study
class FairResolution(Study):
    """Scores of every map drawn in both ways, on the grid of the feature map, and blurred like that grid.

    The common grid is the classifier's feature map. It is the coarsest grid of the compared methods, because class
    activation maps and evidence have it, and it is known before any method has run. A map on the feature grid has two
    scores, one per way to draw it (one if its geometry is unknown); a map that is not finer is neither averaged nor
    blurred, and keeps the score of the run's way.

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
        """Requires explained diseased images, and a metric that can be read from them."""
        if not subject.context.explained.diseased.any():
            return "no diseased image is explained"
        return "" if self._read(subject.context) else "no masks"

    def _read(self, context: EvaluationContext) -> list[MetricRequest]:
        """Lists the metrics that these images allow."""
        return [one for one in self.metrics if not why_not_read(one.info, context.split, context.explained)]

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """Lists the metrics with the digests of their code."""
        return [(request.name, code_digest(request.info.function)) for request in self.metrics]

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns image, group, metric, variant, value, higher_is_better, treatment, native_grid, common_grid."""
        assert explainer is not None  # per_explainer
        context = self._diseased(subject)
        grid, align = context.feature_grid, context.section.align
        geometry = context.classifier.geometry(context.size)
        treated = Treated(explainer, grid, drawn_by("features", geometry, align))
        found: dict[str, pd.DataFrame] = {align: self._rows(context, name, treated)}
        for other in ALIGNMENTS:
            is_drawn_anew = other != align and explainer.grid == "features" and geometry is not None
            found[other] = self._rows(_aligned(context, other), name, treated) if is_drawn_anew else found[align]
        is_finer = any(own > shared for own, shared in zip(treated.native_grid, grid, strict=True))
        for treatment in (common, blurred):
            treated.treat(treatment)
            found[treatment.__name__] = self._rows(context, name, treated) if is_finer else found[align]
        grids = {"native_grid": "×".join(map(str, treated.native_grid)), "common_grid": "×".join(map(str, grid))}
        order = (*ALIGNMENTS, common.__name__, blurred.__name__)
        frames = [found[treatment].assign(treatment=treatment) for treatment in order]
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
        result = score(context, name, treated, self._read(context))
        if result.problems:
            raise UserError("; ".join(result.notes))
        rows = result.rows
        rows = rows[(rows["image"] != "") & (rows["step"] == -1)][["image", "group", "metric", "variant", "value"]]
        better = {request.info.name: bool(request.info.higher_is_better) for request in self.metrics}
        return rows.assign(higher_is_better=rows["metric"].map(better))


def _aligned(context: EvaluationContext, align: str) -> EvaluationContext:
    """Returns the context with another way to draw maps on the feature grid."""
    return replace(context, section=context.section.model_copy(update={"align": align}))
