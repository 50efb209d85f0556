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
from bench.data.selection import Explained
from bench.evaluation.context import Scorer
from bench.evaluation.metric_inputs import OCCLUDED

if TYPE_CHECKING:
    from bench.evaluation.requests import MetricRequest


@dataclass(frozen=True)
class Part:
    """Pairs of image and class, and what is done with them."""

    name: str
    scorer: Scorer
    metrics: list[MetricRequest]
    save_maps: bool


def parts(scorer: Scorer, metrics: list[MetricRequest], save_maps: bool) -> Iterator[Part]:
    """The parts of a cell that have pairs; none with two classes, whose maps are each other's counterpart.

    Args:
        scorer: that of the main scores.
        metrics: those of the main scores; the ones read from occlusion curves are what is missing.
        save_maps: explain every explained image for every class, not only those of the figures.
    """
    classes = len(scorer.split.classes)
    if classes < 3:
        return
    occluded = [request for request in metrics if OCCLUDED & set(request.info.needs)]
    own = own_class_positions(scorer.split.labels[scorer.explained.indices], scorer.explained, classes)
    if len(own) and occluded:
        yield Part(OWN_CLASS, own_class(scorer, own), occluded, save_maps=False)
    shown = np.arange(len(scorer.explained.indices)) if save_maps else np.array(scorer.gallery, dtype=np.int64)
    if len(shown):
        yield Part(EVERY_CLASS, every_class(scorer, shown, classes), [], save_maps)


def own_class_positions(labels: np.ndarray, explained: Explained, classes: int) -> np.ndarray:
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


def own_class(scorer: Scorer, positions: np.ndarray) -> Scorer:
    """These of the explained images, each for its true class and each through the occlusion curves."""
    indices = scorer.explained.indices[positions]
    return replace(
        scorer,
        explained=Explained(indices, scorer.explained.diseased[positions], faithful=len(indices)),
        logits=scorer.logits[positions],
        targets=scorer.split.labels[indices],
        gallery=[],
    )


def every_class(scorer: Scorer, positions: np.ndarray, classes: int) -> Scorer:
    """These of the explained images, each for one class after the other; figures show those they show anyway."""
    pairs = np.repeat(positions, classes)
    return replace(
        scorer,
        explained=Explained(scorer.explained.indices[pairs], scorer.explained.diseased[pairs], faithful=0),
        logits=scorer.logits[pairs],
        targets=np.tile(np.arange(classes), len(positions)),
        gallery=np.flatnonzero(np.isin(pairs, scorer.gallery)).tolist(),
        classes=classes,
    )
