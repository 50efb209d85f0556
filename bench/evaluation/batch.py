"""Some of the explained images: what the explainers of a cell share about them, and the scores of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Explainer, UserError
from bench.data.donors import donor_source
from bench.data.split import normalise
from bench.errors import one_line
from bench.evaluation.metric_inputs import KEPT_CURVES, MetricInputs
from bench.evaluation.output_checks import check_maps, check_values
from bench.evaluation.result import CostMeter, ExplainerResult
from bench.evaluation.scoring import _has_inputs, _Measured, _prepare, _subset
from bench.memory import is_out_of_memory, with_smaller_batches
from bench.metrics import Occluder, patch_at
from bench.models.shared_features import SharedFeatures
from bench.seeds import seed_of

if TYPE_CHECKING:
    from bench.evaluation.context import EvaluationContext
    from bench.evaluation.requests import MetricRequest


class EvaluationBatch:
    """The images at some positions among the explained ones, no more than are explained at a time.

    Images, what the feature map and the head make of them, and the logits under occlusion are computed when they are
    first asked for, serve every explainer, and go with the portion: memory does not grow with the number of images.

    Args:
        scorer: of the cell.
        positions: (n,) among the explained images.
    """

    def __init__(self, context: EvaluationContext, positions: np.ndarray) -> None:
        self.context, self.positions = context, positions
        self._occluders: dict[str, Occluder] = {}

    @cached_property
    def about(self) -> pd.DataFrame:
        """One row an image: what every score of it is labelled with."""
        return self.context.about.iloc[self.positions]

    @cached_property
    def images(self) -> Tensor:
        """(n,3,H,W) normalised, channels_last, on the device."""
        context = self.context
        pixels = context.split.batch(context.explained.indices[self.positions]).to(context.device)
        return normalise(pixels, context.mean, context.std).contiguous(memory_format=torch.channels_last)

    @cached_property
    def targets(self) -> Tensor:
        """(n,) the class that each image is explained for."""
        return torch.tensor(self.about["target"].to_numpy()).to(self.context.device)

    @cached_property
    def shared(self) -> SharedFeatures:
        """What the feature map and the head make of the images."""
        return SharedFeatures(self.context.inference.classifier, self.images)

    @property
    def once(self) -> EvaluationBatch:
        """Every image once, where each is explained for one class after the other; else itself."""
        return self._once or self  # a portion that held itself would outlive its last user

    @cached_property
    def _once(self) -> EvaluationBatch | None:
        classes = self.context.classes
        return EvaluationBatch(self.context.once, self.positions[::classes]) if classes else None

    def batch(self, name: str, explainer: Explainer) -> Batch:
        """What this explainer is given."""
        return Batch(
            images=self.images,
            targets=self.targets,
            masks=self.context.regions(self.context.split.masks, self.positions) if explainer.needs_masks else None,
            seeds=tuple(seed_of(*self.context.seed_names, name, image) for image in self.about["image"]),
            shared=self.shared,
        )

    def maps(self, name: str, explainer: Explainer) -> Tensor:
        """Raw maps (n,h,w) float32 on the device.

        Raises:
            UserError: the explainer returned something that is no map for each image, or changed the images.
        """
        network, batch = self.context.inference.classifier, self.once.batch(name, explainer)
        version = batch.images._version
        if self.once is self:
            raw = explainer.explain_batch(network, batch)
        else:
            raw = explainer.explain_classes(network, batch).flatten(0, 1)
        if batch.images._version != version:
            self._forget()
            raise UserError(f"explainer {name!r} changed the images that it was given; it must work on a copy")
        return check_maps(name, raw, len(self.positions)).detach().to(self.context.device, torch.float32)

    def _forget(self) -> None:
        """Everything that is shared is made anew when it is next asked for."""
        for part in ("images", "shared", "_once"):
            vars(self).pop(part, None)
        self._occluders.clear()

    def score(self, name: str, explainer: Explainer, metrics: list[MetricRequest], keep: set[int]) -> ExplainerResult:
        """Explain and score the images, in parts that shrink, and share nothing, when memory runs out.

        Args:
            keep: positions among the explained images whose maps are wanted.
        """

        def attempt(size: int) -> ExplainerResult:
            if size >= len(self.positions):
                return self._score(name, explainer, metrics, keep)
            scored = ExplainerResult()
            for part in self.context.split_positions(self.positions, size):
                scored.add(EvaluationBatch(self.context, part)._score(name, explainer, metrics, keep))
            return scored

        return with_smaller_batches(attempt, len(self.positions))[0]

    def _score(self, name: str, explainer: Explainer, metrics: list[MetricRequest], keep: set[int]) -> ExplainerResult:
        meter = CostMeter(self.context.inference.classifier, self.context.device)
        self.once.shared.charge_anew()
        with meter:
            maps = self.maps(name, explainer)
        meter.cost.images += len(self.positions)
        meter.cost.forwards += self.once.shared.charged_forwards
        meter.cost.seconds += self.once.shared.charged_seconds
        meter.cost.memory_mib = float(np.fmax(meter.cost.memory_mib, self.once.shared.charged_memory_mib))
        scored = ExplainerResult(cost=meter.cost)
        values, ids = maps.cpu().numpy(), self.about["image"].tolist()
        scored.bad_maps = [one for one, map_ in zip(ids, values, strict=True) if not np.isfinite(map_).all()]
        scored.maps = {at: one for at, one in zip(self.positions.tolist(), values, strict=True) if at in keep}
        found = list(self._evaluate(explainer, metrics, maps, scored.problems))
        if found:
            scored.frames.append(self._frame(found))
            scored.kinds = {(one.metric, one.variant) for one in found}
        return scored

    def _evaluate(
        self, explainer: Explainer, metrics: list[MetricRequest], maps: Tensor, problems: dict[str, str]
    ) -> Iterator[_Measured]:
        """Every metric and curve, each on the images that it is read on."""
        diseased = self.context.explained.diseased[self.positions]
        subsets = {
            "diseased": diseased,
            "healthy": ~diseased,
            "all": np.ones_like(diseased),
            "faithful": self.positions < self.context.explained.faithful,
        }
        for subset, chosen in subsets.items():
            wanted = [request for request in metrics if _subset(request) == subset]
            if chosen.any() and wanted:
                inputs = self._inputs(explainer, maps, subset, np.flatnonzero(chosen))
                yield from self._measure(wanted, inputs, np.flatnonzero(chosen), problems)

    def _inputs(self, explainer: Explainer, maps: Tensor, subset: str, at: np.ndarray) -> MetricInputs:
        context, positions = self.context, self.positions[at]
        return MetricInputs(
            native_maps=maps[at],
            occluder=self.occluder(subset, at),
            targets=self.targets[at],
            logits=torch.from_numpy(context.logits[positions]).to(context.device),
            masks=context.regions(context.split.masks, positions),
            ignored=context.regions(context.split.ignored, positions),
            steps=context.section.steps,
            inherent=explainer.family == "inherent",
            signed=explainer.signed,
        )

    def occluder(self, subset: str, at: np.ndarray) -> Occluder:
        """Of the images at these places (n,) of the portion, which ``subset`` names: the same for every explainer."""
        if subset not in self._occluders:
            context, ids = self.context, self.about["image"].iloc[at].tolist()
            self._occluders[subset] = Occluder(
                context.inference.predict,
                self.images[at],
                patch_at(self.images.shape[-1]),
                black=-torch.tensor(context.mean) / torch.tensor(context.std),
                donors=donor_source(context.split, context.healthy, ids, context.mean, context.std),
                ids=ids,
                fov=context.regions(context.split.fov, self.positions[at]),
                batch_size=context.inference.batch_size,
                dtype=context.inference.dtype,
            )
        return self._occluders[subset]

    def _measure(
        self, metrics: list[MetricRequest], inputs: MetricInputs, at: np.ndarray, problems: dict[str, str]
    ) -> Iterator[_Measured]:
        kept: set[tuple[str, str]] = set()
        metrics = [request for request in metrics if _has_inputs(request, inputs)]
        _prepare(metrics, inputs)
        for request in metrics:
            info, variant = request.info, request.variant
            try:
                values = info.function(*(inputs.get(need, variant) for need in info.needs))
                yield _Measured(at, info.name, variant, check_values(info.name, values, len(at)))
            except Exception as error:  # a metric of a plugin that fails must not take the others with it
                if is_out_of_memory(error):
                    raise
                problems[request.name] = one_line(error)
                continue
            for curve in sorted(KEPT_CURVES & set(info.needs)):
                if (curve, variant) not in kept:
                    kept.add((curve, variant))
                    yield _Measured(at, curve, variant, inputs.get(curve, variant))

    def _frame(self, found: list[_Measured]) -> pd.DataFrame:
        """Long rows of all values."""
        counts = [one.values.numel() for one in found]
        at = np.concatenate([np.repeat(one.at, len(one.steps)) for one in found])
        return self.about.iloc[at].assign(
            metric=np.repeat([one.metric for one in found], counts),
            variant=np.repeat([one.variant for one in found], counts),
            step=np.concatenate([np.tile(one.steps, len(one.at)) for one in found]),
            value=np.concatenate([one.values.detach().double().cpu().numpy().ravel() for one in found]),
        )
