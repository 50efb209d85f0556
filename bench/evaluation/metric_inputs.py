"""Inputs of the metrics.

Each is computed on first use and shared by the metrics of one batch, because several metrics read the same curve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.contracts import Geometry, MetricInfo
from bench.data.selection import Selection
from bench.data.split import Split
from bench.maps import upsample
from bench.metrics import (
    RULES,
    Occluder,
    Predict,
    Schedule,
    deletion,
    fill_and_rule,
    insertion,
    patch_order,
    still_target,
    stride_at,
    target_probability,
    topk_patch_hits,
)
from bench.outputs import SOFTMAX, Outputs

#: Inputs that are stored as curves in addition to the scores computed from them.
KEPT_CURVES = {"deletion_curve", "insertion_curve", "topk_hits"}
#: Input that needs occlusion passes -> kind of schedule that it is read from.
_SCHEDULES = {
    "deletion_curve": "deletion",
    "deletion_hits": "deletion",
    "reverse_deletion_curve": "reverse",
    "insertion_curve": "insertion",
}
OCCLUDED = set(_SCHEDULES)
_VARIED = OCCLUDED | {"topk_hits"}
NEEDS_MASKS = {"masks", "topk_hits"}


def why_not_read(metric: MetricInfo, split: Split, explained: Selection) -> str:
    """Returns why a metric has no image to be computed on; empty if it has one."""
    if not NEEDS_MASKS & set(metric.needs):
        return ""
    if split.masks is None:
        return "no masks"
    annotated = split.has_mask[explained.indices[explained.diseased]]
    return "" if metric.images != "diseased" or annotated.any() else "no masks of diseased images"


@dataclass
class MetricInputs:
    """The inputs of ``bench.contracts.METRIC_INPUTS`` for some maps of one explainer.

    Attributes:
        native_maps: (N,h,w) raw maps.
        occluder: holds the images, their ids and fields of view, and predicts; shared by all explainers.
        targets: (N,) class that each image is explained for.
        logits: (N,C) logits of the intact images.
        masks: (N,H,W) bool, lesions; None without masks.
        ignored: (N,H,W) bool, pixels that no metric counts; None if there are none.
        steps: number of occlusion steps K.
        inherent: whether the explainer's family is "inherent".
        signed: whether the explainer's maps are signed.
        geometry: draws the maps; None = the grid convention.
        explained_logits: (N,C) what the maps explain: the contrasts of the logits, or None for the logits themselves.
        outputs: meaning of the logits.
    """

    native_maps: Tensor
    occluder: Occluder
    targets: Tensor
    logits: Tensor
    masks: Tensor | None
    ignored: Tensor | None
    steps: int
    inherent: bool
    signed: bool
    geometry: Geometry | None = None
    explained_logits: Tensor | None = None
    outputs: Outputs = SOFTMAX
    _known: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.explained_logits = self.logits if self.explained_logits is None else self.explained_logits

    @property
    def images(self) -> Tensor:
        """Normalised images (N,3,H,W)."""
        return self.occluder.images

    @property
    def predict(self) -> Predict:
        """Function from normalised images (n,3,H,W) to logits (n,C)."""
        return self.occluder.predict

    def get(self, name: str, variant: str = "") -> Any:
        """Returns the input of this name, for the ``variant`` of the metric if it depends on that."""
        key = (name, variant if name in _VARIED else "")
        if key not in self._known:
            self._known[key] = self._occluded(name, variant) if name in OCCLUDED else self._plain(*key)
        return self._known[key]

    def prepare(self, asked: Iterable[tuple[str, str]]) -> None:
        """Computes the occluded logits of (input, variant) pairs at once, so that they fill batches together."""
        kinds = list(dict.fromkeys((_SCHEDULES[name], variant) for name, variant in asked if name in OCCLUDED))
        if kinds:
            logits = self.occluder.logits(*(self._schedule(*kind) for kind in kinds))
            self._known |= dict(zip(kinds, logits, strict=True))

    def _plain(self, name: str, variant: str) -> Any:
        if name == "topk_hits":
            return self._topk_hits(variant or RULES[0])
        make = {"maps": self._maps, "pooled_map": self._pooled_map}.get(name)
        return getattr(self, name) if make is None else make()

    def _occluded(self, name: str, variant: str) -> Tensor:
        kind = (_SCHEDULES[name], variant)
        if kind not in self._known:
            self.prepare([(name, variant)])
        if name == "deletion_hits":
            return still_target(self._known[kind], self.targets, self.outputs)
        return target_probability(self._known[kind], self.targets, self.outputs, self.logits)

    def _schedule(self, kind: str, variant: str) -> Schedule:
        occluder, (fill, rule) = self.occluder, fill_and_rule(variant)
        order = patch_order(self.get("maps"), occluder.patch, occluder.ids, occluder.fov, kind == "reverse", rule)
        return (insertion if kind == "insertion" else deletion)(order, self.steps, fill)

    def _maps(self) -> Tensor:
        return upsample(self.native_maps, (self.images.shape[2], self.images.shape[3]), self.geometry)

    def _pooled_map(self) -> Tensor:
        mean = self.native_maps.mean(dim=(1, 2))
        return mean if self.inherent else torch.full_like(mean, torch.nan)

    def _topk_hits(self, rule: str) -> Tensor:
        assert self.masks is not None  # the cell skips metrics that need masks where there are none
        patch, stride = self.occluder.patch, stride_at(self.images.shape[-1])
        return topk_patch_hits(self.get("maps"), self.masks, 30, patch, stride, ignored=self.ignored, rule=rule)
