"""Methods that may be the best in a metric, so that a recommendation names no winner that chance picked."""

from __future__ import annotations

import numpy as np

from bench.report.comparisons.opponents import relevant
from bench.report.frames.load import Frames
from bench.report.frames.paired import levelled
from bench.statistics.bootstrap.paired import Method, Paired
from bench.statistics.bootstrap_t import half_width
from bench.statistics.comparison import ALPHA, mean_differences, paired_differences
from bench.store.records import MetricFacts


def best_first(frames: Frames, metric: MetricFacts, paired: Paired, methods: list[Method]) -> list[Method]:
    """Returns the methods with a score by falling mean over groups, from the better end of the metric.

    Scores on different networks are levelled first (``bench.report.frames.paired.levelled``).
    """
    values = _from_better_end(frames, metric, paired, methods)
    means = mean_differences(values, paired.groups)["difference"].to_numpy()
    order = np.argsort(-means, kind="stable")  # nan comes last
    return [methods[at] for at in order if np.isfinite(means[at])]


def not_shown_worse(frames: Frames, metric: MetricFacts, paired: Paired, ordered: list[Method]) -> list[Method]:
    """Returns the methods that are not shown to be relevantly worse than the best one, which comes first.

    A method leaves if the interval of its distance from the best excludes 0 and the distance exceeds the margin of the
    metric on that data set. The intervals hold jointly for all methods, at a level that is shared by all methods that
    could have come first: with 95 % confidence, the truly best method remains.

    Args:
        frames: the run.
        metric: with a direction.
        paired: its scores on one data set and backbone.
        ordered: methods, from ``best_first``.

    Source: multiple comparisons with the best, Hsu 1984, Ann. Statist. 12(3), 1136-1144.
    Deviation: bootstrap-t intervals of paired differences instead of those of independent normal samples.
    """
    if len(ordered) < 2:
        return ordered
    values = _from_better_end(frames, metric, paired, ordered)
    rows = mean_differences(paired_differences(values[..., :1], values[..., 1:]), paired.groups)
    half = half_width(rows, 1 - ALPHA / len(ordered), joint=True)
    distance, (margin, _) = rows["difference"].to_numpy(), relevant(frames, metric, paired)
    is_worse = (distance - half > 0) & (distance > margin)  # without an interval (nan), nothing is shown
    return [ordered[0], *(one for one, worse in zip(ordered[1:], is_worse, strict=True) if not worse)]


def _from_better_end(frames: Frames, metric: MetricFacts, paired: Paired, methods: list[Method]) -> np.ndarray:
    """Returns comparable scores (S,N,len(methods)), of which higher ones are better."""
    several = len({head for head, _ in methods}) > 1
    values = levelled(frames, metric, paired, methods)[0] if several else paired.of(methods)
    return values if metric.higher_is_better else -values
