"""Scoring of one explainer.

The maps of a batch are measured by every metric on the images that the metric is defined for (all, diseased, healthy,
or the first ones that go through the occlusion curves).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Explainer
from bench.errors import one_line
from bench.evaluation.batch import EvaluationBatch, batches
from bench.evaluation.context import EvaluationContext
from bench.evaluation.guests import as_guest, check_values
from bench.evaluation.metric_inputs import KEPT_CURVES, OCCLUDED, MetricInputs
from bench.evaluation.requests import MetricRequest
from bench.evaluation.result import Cost, CostMeter, ExplainerResult
from bench.memory import is_out_of_memory


class _Measured(NamedTuple):
    """Values (n,), or (n,K) with one column per step, of the images at places ``at`` (n,) of a batch."""

    at: np.ndarray
    metric: str
    variant: str
    values: Tensor

    @property
    def steps(self) -> np.ndarray:
        """Number of each column; [-1] for values without steps."""
        return np.array([-1]) if self.values.ndim == 1 else np.arange(self.values.shape[1])


def score(context: EvaluationContext, name: str, explainer: Explainer, metrics: list[MetricRequest]) -> ExplainerResult:
    """Explains and scores all explained images without keeping their maps.

    Raises:
        UserError: The explainer did not return one map per image.
    """
    result = ExplainerResult()
    for batch in batches(context):
        result.add(score_batch(batch, name, explainer, metrics, set()))
    return result


def score_batch(
    batch: EvaluationBatch, name: str, explainer: Explainer, metrics: list[MetricRequest], keep: set[int]
) -> ExplainerResult:
    """Explains and scores the images of a batch, in smaller parts when memory runs out.

    Args:
        batch: the images.
        name: registered name of the explainer, which seeds its random numbers.
        explainer: computes the maps.
        metrics: the metrics to compute; one that fails is recorded in the result's ``problems``.
        keep: positions among the explained images whose maps are kept.

    Raises:
        UserError: The explainer did not return one map per image, or changed the images.
    """
    result = ExplainerResult()
    for part in batch.in_parts(lambda part: _score(part, name, explainer, metrics, keep)):
        result.add(part)
    return result


def _score(
    batch: EvaluationBatch, name: str, explainer: Explainer, metrics: list[MetricRequest], keep: set[int]
) -> ExplainerResult:
    maps, cost = _measured_maps(batch, name, explainer)
    result = ExplainerResult(cost=cost, left=batch.left)
    values, ids = maps.cpu().numpy(), batch.about["image"].tolist()
    result.bad_maps = [one for one, map_ in zip(ids, values, strict=True) if not np.isfinite(map_).all()]
    result.maps = {at: one for at, one in zip(batch.positions.tolist(), values, strict=True) if at in keep}
    found = list(_evaluate(batch, explainer, metrics, maps, result.problems))
    if found:
        result.frames.append(_frame(batch, found))
        result.kinds = {(one.metric, one.variant) for one in found}
    return result


def _measured_maps(batch: EvaluationBatch, name: str, explainer: Explainer) -> tuple[Tensor, Cost]:
    """Returns maps (n,h,w), and their cost as if the explainer had shared nothing with other explainers."""
    _ = batch.context.feature_grid  # computed once per context, outside what is measured
    meter, shared = CostMeter(batch.context.inference.classifier, batch.context.device), batch.once.shared
    shared.charge_anew()
    with meter:
        maps = batch.maps(name, explainer)
    shared = batch.once.shared
    meter.cost.images += len(batch.positions)
    meter.cost.forwards += shared.charged_forwards
    meter.cost.seconds += shared.charged_seconds
    meter.cost.memory_mib = float(np.fmax(meter.cost.memory_mib, shared.charged_memory_mib))
    return maps, meter.cost


def _evaluate(
    batch: EvaluationBatch, explainer: Explainer, metrics: list[MetricRequest], maps: Tensor, problems: dict[str, str]
) -> Iterator[_Measured]:
    """Yields every metric and curve, each on the images that it is defined for."""
    diseased = batch.context.explained.diseased[batch.positions]
    subsets = {
        "diseased": diseased,
        "healthy": ~diseased,
        "all": np.ones_like(diseased),
        "faithful": batch.positions < batch.context.explained.faithful,
    }
    for subset, chosen in subsets.items():
        wanted = [request for request in metrics if _subset(request) == subset]
        if chosen.any() and wanted:
            at = np.flatnonzero(chosen)
            yield from _measure(wanted, _inputs(batch, explainer, maps, subset, at), at, problems)


def _inputs(batch: EvaluationBatch, explainer: Explainer, maps: Tensor, subset: str, at: np.ndarray) -> MetricInputs:
    context, positions = batch.context, batch.positions[at]
    logits = torch.from_numpy(context.logits[positions]).to(context.device)
    return MetricInputs(
        native_maps=maps[at],
        occluder=batch.occluder(subset, at),
        targets=batch.targets[at],
        logits=logits,
        explained_logits=context.explained_scores(logits),
        masks=context.regions(context.split.masks, positions),
        ignored=context.regions(context.split.ignored, positions),
        steps=context.section.steps,
        inherent=explainer.family == "inherent",
        signed=explainer.signed,
        geometry=context.geometry_of(explainer),
        outputs=context.outputs,
    )


def _measure(
    metrics: list[MetricRequest], inputs: MetricInputs, at: np.ndarray, problems: dict[str, str]
) -> Iterator[_Measured]:
    kept: set[tuple[str, str]] = set()
    metrics = [request for request in metrics if _has_inputs(request, inputs)]
    _prepare(metrics, inputs)
    for request in metrics:
        info, variant = request.info, request.variant
        try:
            given = [_own(inputs.get(need, variant)) for need in info.needs]
            values, left = as_guest(f"metric {info.name!r}", partial(info.function, *given))
            if left:
                problems[request.name] = f"it left behind: {', '.join(left)} (put back)"
                continue
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


def _own(value: object) -> object:
    """Returns a copy of a tensor, so that a metric that works in place alters no other's input."""
    return value.clone() if isinstance(value, Tensor) else value


def _frame(batch: EvaluationBatch, found: list[_Measured]) -> pd.DataFrame:
    """Returns all values as long rows."""
    counts = [one.values.numel() for one in found]
    at = np.concatenate([np.repeat(one.at, len(one.steps)) for one in found])
    return batch.about.iloc[at].assign(
        metric=np.repeat([one.metric for one in found], counts),
        variant=np.repeat([one.variant for one in found], counts),
        step=np.concatenate([np.tile(one.steps, len(one.at)) for one in found]),
        value=np.concatenate([one.values.detach().double().cpu().numpy().ravel() for one in found]),
    )


def _prepare(metrics: list[MetricRequest], inputs: MetricInputs) -> None:
    """Occludes for all metrics at once; an input that fails here fails again when its own metric reads it."""
    try:
        inputs.prepare((need, request.variant) for request in metrics for need in request.info.needs)
    except Exception as error:
        if is_out_of_memory(error):
            raise


def _has_inputs(request: MetricRequest, inputs: MetricInputs) -> bool:
    """Returns whether the metric is defined for these inputs; an undefined one gives no row and is not a failure."""
    needs = set(request.info.needs)
    without_donors = inputs.occluder.donors is None and bool(OCCLUDED & needs) and request.variant == "donor"
    return not (without_donors or ("pooled_map" in needs and not inputs.inherent))


def _subset(request: MetricRequest) -> str:
    return "faithful" if OCCLUDED & set(request.info.needs) else request.info.images
