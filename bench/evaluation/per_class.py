"""More than two classes: which further pairs of image and class are explained, beside those of the main scores.

``own_class``: images explained for their true class where the main scores have too few of it for a mean of that class;
the healthy class has none there, because healthy images are explained for a disease. ``every_class``: the images of
the figures explained for one class after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import EVERY_CLASS, OWN_CLASS
from bench.data.selection import Selection
from bench.evaluation.context import EvaluationContext
from bench.evaluation.metric_inputs import OCCLUDED

if TYPE_CHECKING:
    from bench.evaluation.requests import MetricRequest


@dataclass(frozen=True)
class Part:
    """Pairs of image and class, and what is done with them."""

    name: str
    context: EvaluationContext
    metrics: list[MetricRequest]
    save_maps: bool


def parts(context: EvaluationContext, metrics: list[MetricRequest], save_maps: bool) -> Iterator[Part]:
    """The parts of a cell that have pairs; none with two classes, whose maps are each other's counterpart.

    Args:
        scorer: that of the main scores.
        metrics: those of the main scores; the ones read from occlusion curves are what is missing.
        save_maps: explain every explained image for every class, not only those of the figures.
    """
    classes = len(context.split.classes)
    if classes < 3:
        return
    occluded = [request for request in metrics if OCCLUDED & set(request.info.needs)]
    own = own_class_positions(context.split.labels[context.explained.indices], context.explained, classes)
    if len(own) and occluded:
        yield Part(OWN_CLASS, own_class(context, own), occluded, save_maps=False)
    shown = np.arange(len(context.explained.indices)) if save_maps else np.array(context.gallery, dtype=np.int64)
    if len(shown):
        yield Part(EVERY_CLASS, every_class(context, shown, classes), [], save_maps)


def own_class_positions(labels: np.ndarray, explained: Selection, classes: int) -> np.ndarray:
    """Explained images that raise every class to a disease's equal share of the occluded ones, as far as there are any.

    Args:
        labels: (N,) of the explained images.

    Returns:
        (n,) positions behind the first ``explained.faithful`` ones, which the main scores occlude already.
    """
    at = np.arange(len(labels))
    share = -(-explained.faithful // max(1, len(np.unique(labels[explained.diseased]))))
    lacking = [share - np.count_nonzero(labels[: explained.faithful] == one) for one in range(classes)]
    spare = [at[(labels == one) & (at >= explained.faithful)] for one in range(classes)]
    return np.sort(np.concatenate([found[: max(lack, 0)] for found, lack in zip(spare, lacking, strict=True)]))


def own_class(context: EvaluationContext, positions: np.ndarray) -> EvaluationContext:
    """These of the explained images, each for its true class and each through the occlusion curves."""
    indices = context.explained.indices[positions]
    return replace(
        context,
        explained=Selection(indices, context.explained.diseased[positions], faithful=len(indices)),
        logits=context.logits[positions],
        targets=context.split.labels[indices],
        gallery=[],
    )


def every_class(context: EvaluationContext, positions: np.ndarray, classes: int) -> EvaluationContext:
    """These of the explained images, each for one class after the other; figures show those they show anyway."""
    pairs = np.repeat(positions, classes)
    return replace(
        context,
        explained=Selection(context.explained.indices[pairs], context.explained.diseased[pairs], faithful=0),
        logits=context.logits[pairs],
        targets=np.tile(np.arange(classes), len(positions)),
        gallery=np.flatnonzero(np.isin(pairs, context.gallery)).tolist(),
        classes=classes,
    )
