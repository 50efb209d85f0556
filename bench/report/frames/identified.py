"""Metrics that a run cannot identify: those that read the zero of a map of logits.

Adding a constant to the evidence of all classes changes no prediction of a softmax model, but moves the zero of every
such map. Contrasts of classes do not change.
"""

from __future__ import annotations

from functools import lru_cache

from bench.report.frames.load import Frames
from bench.store.records import MetricFacts


@lru_cache(maxsize=4)
def explained_by_logit(frames: Frames) -> tuple[str, ...]:
    """Returns the data sets of two classes or more whose maps explain a logit, unless a sigmoid reads it alone."""
    keys = zip(frames.record.cells, frames.cells["record"], strict=False)
    found = dict.fromkeys(key.dataset for key, record in keys if record.target == "logit" and record.status == "ok")
    datasets = frames.record.datasets
    return tuple(name for name in found if len(datasets[name].classes) > 1 and not datasets[name].multilabel)


def is_identified(frames: Frames, metric: MetricFacts, dataset: str) -> bool:
    """Returns whether the score of a map on this data set follows from what the classifier predicts."""
    return not (metric.uses_zero and dataset in explained_by_logit(frames))
