"""Choice of the precision of occluded predictions.

bf16 is faster but rounds, so it is only used where the scores of a sample of images agree with the float32 scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Explainer
from bench.errors import one_line
from bench.evaluation.batch import EvaluationBatch
from bench.evaluation.context import EvaluationContext
from bench.evaluation.metric_inputs import OCCLUDED
from bench.evaluation.predictor import Predictor, batch_size_for, choices, fold_for_inference
from bench.evaluation.requests import MetricRequest
from bench.metrics import Occluder, audc, deletion, patch_order, target_probability
from bench.store.cell_facts import InferenceFacts

#: Largest accepted difference between the AUDC in bf16 and in float32: in the mean, and for one map. Two methods whose
#: mean AUDC differ by at most the first bound count as tied, and may change places.
MEAN_DIFFERENCE, WORST_DIFFERENCE = 0.001, 0.02
IMAGES = 4


def choose_predictor(
    context: EvaluationContext,
    asked: str,
    explainers: Mapping[str, Explainer],
    metrics: list[MetricRequest],
    noted: InferenceFacts | None,
) -> tuple[Predictor, InferenceFacts | None]:
    """Chooses the predictor that replaces the classifier of a context, and the facts to record about it.

    Args:
        context: the context of the cell, without a predictor.
        asked: ``float32``, ``bf16``, or ``auto``: bf16 if the device is faster with it and the scores agree.
        explainers: name -> explainer; the ones that apply are compared.
        metrics: the metrics of the run; without one that needs occlusion there is nothing to choose.
        noted: facts that an earlier call returned for the same classifier; used again instead of measuring again.

    Returns:
        The predictor, and the facts: asked, precision, batch_size and, where bf16 was compared with float32, the
        entries of ``compare``. Empty facts if there was nothing to choose.
    """
    image = EvaluationBatch(context, np.arange(1)).images
    network = fold_for_inference(context.classifier, image)
    predictor = Predictor(network, "float32", context.section.batch_size)
    possible = choices(asked, context.device)
    if noted and noted.asked == asked and noted.precision in possible:
        return Predictor(network, noted.precision, noted.batch_size), noted
    if not any(OCCLUDED & set(request.info.needs) for request in metrics) or not context.explained.faithful:
        return predictor, None
    best = Predictor(network, possible[-1], context.section.batch_size)
    facts: dict[str, Any] = {"asked": asked, "precision": possible[-1]}
    if len(possible) > 1:
        facts |= _compare_if_possible(replace(context, predictor=predictor), best, explainers)
        best = best if facts["agree"] else predictor
        facts["precision"] = best.precision
    best = replace(best, batch_size=batch_size_for(image))
    return best, InferenceFacts(**facts, batch_size=best.batch_size)


def _compare_if_possible(
    context: EvaluationContext, other: Predictor, explainers: Mapping[str, Explainer]
) -> dict[str, Any]:
    """Calls ``compare``; a predictor that cannot be compared does not agree."""
    try:
        return compare(context, other, explainers)
    except Exception as error:  # for example if an operator of a foreign network does not exist in bf16
        return {"agree": False, "failed": one_line(error)}


def compare(context: EvaluationContext, other: Predictor, explainers: Mapping[str, Explainer]) -> dict[str, Any]:
    """Compares the AUDC of two predictors, the context's own and another one, over all methods on the first images.

    Returns:
        The entries of ``agreement``, and the numbers of ``images`` and ``methods``.
    """
    positions = np.arange(min(IMAGES, context.explained.faithful))
    batch, others = EvaluationBatch(context, positions), EvaluationBatch(replace(context, predictor=other), positions)
    orders = []
    for name, explainer in explainers.items():
        with contextlib.suppress(Exception):  # a method that fails here fails again where failures are recorded
            if not explainer.applies_to(context.inference.classifier):
                orders.append(_order(batch, context.draw(explainer, batch.maps(name, explainer))))
    scores = [_audc(one, orders) for one in (batch, others)]
    return agreement(*scores) | {"images": len(positions), "methods": len(orders)}


def agreement(ours: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Decides whether two predictors agree in the AUDC (M,N) of M methods on N images; methods with a nan are skipped.

    Returns:
        agree, and the numbers that decide it: mean_difference and worst_difference (absolute), changed_ranks (pairs of
        methods that differ by more than ``MEAN_DIFFERENCE`` for the first predictor, in another order for the second).
    """
    is_defined = np.isfinite(ours).all(axis=1) & np.isfinite(others).all(axis=1)
    if not is_defined.any():
        return {"agree": False}
    ours, others = ours[is_defined], others[is_defined]
    difference = np.abs(ours - others)
    mean, worst = float(difference.mean()), float(difference.max())
    first, second = np.triu_indices(len(ours), k=1)
    before, after = (scores[first].mean(axis=1) - scores[second].mean(axis=1) for scores in (ours, others))
    changed = int(np.count_nonzero((np.abs(before) > MEAN_DIFFERENCE) & (before * after <= 0)))
    agree = mean <= MEAN_DIFFERENCE and worst <= WORST_DIFFERENCE and not changed
    return {"agree": agree, "mean_difference": mean, "worst_difference": worst, "changed_ranks": changed}


def _order(batch: EvaluationBatch, maps: Tensor) -> Tensor:
    """Ranks the patches (N,P) of drawn maps (N,H,W)."""
    occluder = _occluder(batch)
    return patch_order(maps, occluder.patch, occluder.ids, occluder.fov)


def _occluder(batch: EvaluationBatch) -> Occluder:
    return batch.occluder("faithful", np.arange(len(batch.positions)))


def _audc(batch: EvaluationBatch, orders: list[Tensor]) -> np.ndarray:
    """Computes the AUDC (M,N), with operator ``zero``, of images whose patches are removed in these orders (N,P)."""
    if not orders:
        return np.empty((0, len(batch.positions)))
    schedules = [deletion(order, batch.context.section.steps, "zero") for order in orders]
    targets, outputs = batch.targets, batch.context.outputs
    curves = [target_probability(one, targets, outputs) for one in _occluder(batch).logits(*schedules)]
    return torch.stack([audc(curve) for curve in curves]).double().cpu().numpy()
