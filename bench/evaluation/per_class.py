"""Additional (image, class) pairs that are explained when a data set has more than two classes.

Scores per class need images of every class, and class maps need every class of an image; the main scores give neither.
``own_class``: images explained for their true class, for classes of which the main scores have too few images (the
healthy class has none there, because healthy images are explained for a disease). ``every_class``: the images of the
figures, each explained for every class.
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
    """Additional (image, class) pairs with the metrics to compute on them.

    Attributes:
        name: ``OWN_CLASS`` or ``EVERY_CLASS``; names the part in the store.
        context: the pairs, as explained images with targets.
        metrics: the metrics to compute.
        save_maps: whether all maps are kept.
    """

    name: str
    context: EvaluationContext
    metrics: list[MetricRequest]
    save_maps: bool


def parts(context: EvaluationContext, metrics: list[MetricRequest], save_maps: bool) -> Iterator[Part]:
    """Yields the parts of a cell that have pairs; none with two classes, whose maps mirror each other.

    Args:
        context: the context of the main scores.
        metrics: the metrics of the main scores; only the ones read from occlusion curves are computed again.
        save_maps: whether every explained image is explained for every class, not only the images of the figures.
    """
    classes = len(context.split.classes)
    if classes < 3 or context.outputs.multilabel:  # pairs are explained for their own finding already
        return
    occluded = [request for request in metrics if OCCLUDED & set(request.info.needs)]
    own = own_class_positions(context.split.labels[context.explained.indices], context.explained, classes)
    if len(own) and occluded:
        yield Part(OWN_CLASS, own_class(context, own), occluded, save_maps=False)
    shown = np.arange(len(context.explained.indices)) if save_maps else np.array(context.gallery, dtype=np.int64)
    if len(shown):
        yield Part(EVERY_CLASS, every_class(context, shown, classes), [], save_maps)


def own_class_positions(labels: np.ndarray, explained: Selection, classes: int) -> np.ndarray:
    """Selects images that give every class as many occluded images as an equal part per disease, if there are enough.

    Args:
        labels: (N,) true classes of the explained images.
        explained: the selection of the main scores, which occlude its first ``faithful`` images.
        classes: number of classes.

    Returns:
        Positions (n,) after the first ``explained.faithful`` ones.
    """
    at = np.arange(len(labels))
    wanted = -(-explained.faithful // max(1, len(np.unique(labels[explained.diseased]))))
    lacking = [wanted - np.count_nonzero(labels[: explained.faithful] == one) for one in range(classes)]
    spare = [at[(labels == one) & (at >= explained.faithful)] for one in range(classes)]
    return np.sort(np.concatenate([found[: max(lack, 0)] for found, lack in zip(spare, lacking, strict=True)]))


def own_class(context: EvaluationContext, positions: np.ndarray) -> EvaluationContext:
    """Returns a context of the explained images at positions (n,), each explained for its true class and occluded."""
    indices = context.explained.indices[positions]
    return replace(
        context,
        explained=Selection(indices, context.explained.diseased[positions], faithful=len(indices)),
        logits=context.logits[positions],
        targets=context.split.labels[indices],
        gallery=[],
    )


def every_class(context: EvaluationContext, positions: np.ndarray, classes: int) -> EvaluationContext:
    """Returns a context that explains the images at positions (n,) once per class; the gallery keeps its images."""
    pairs = np.repeat(positions, classes)
    return replace(
        context,
        explained=Selection(context.explained.indices[pairs], context.explained.diseased[pairs], faithful=0),
        logits=context.logits[pairs],
        targets=np.tile(np.arange(classes), len(positions)),
        gallery=np.flatnonzero(np.isin(pairs, context.gallery)).tolist(),
        classes=classes,
    )
