"""Paired scores: the same images side by side, from which every comparison of two methods starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
import pandas as pd

from bench.plain.names import RULED
from bench.report.frames.estimands import RIGHT, named, right_only
from bench.report.frames.load import Frames
from bench.report.frames.stored.scores import Scores
from bench.statistics.bootstrap.names import combinations
from bench.statistics.bootstrap.paired import Method, Paired, ScoreFile, joined, pair
from bench.statistics.comparison import difference
from bench.statistics.intervals import Floats
from bench.store.records import MetricFacts

SUBTRACTED, ABSENT, NOT_NEEDED = "subtracted", "missing", "not needed"  # states of the floor
_PLACE = ["dataset", "backbone", "variant"]
_MARGIN = 0.01  # of a metric's range, or of its unit if it is unbounded: smaller differences do not matter


#: Bytes of aligned scores that stay in memory; others wait in a temporary file.
KEPT = 2**23


class Budget:
    """Memory of aligned scores: what exceeds it waits in a file."""

    def __init__(self) -> None:
        self._bytes = 0
        self._file: ScoreFile | None = None

    def keep(self, paired: Paired) -> Paired:
        """Returns the scores, on disk if too many are in memory."""
        self._bytes += paired.nbytes
        if self._bytes <= KEPT:
            return paired
        self._file = self._file or ScoreFile()
        return paired.on_disk(self._file)


def paired_scores(
    scores: Scores,
    metric: str,
    chosen: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
    budget: Budget | None = None,
) -> Iterator[tuple[str, str, str, Paired]]:
    """Aligns the scores of a metric, some methods after the other, so that few of them are in memory.

    Args:
        scores: of all methods.
        metric: its stored name.
        chosen: rows of it -> those that count.
        budget: that these scores share with others.

    Yields:
        Data set, backbone, variant and the scores.
    """
    parts: dict[tuple[str, ...], list[Paired]] = {}
    budget = budget or Budget()
    for batch in scores.batches():
        for place, paired in _pairs(batch, metric, chosen):
            known, part = parts.setdefault(place, []), budget.keep(paired)
            known.append(part.with_images_of(known[0]) if known else part)
    for (dataset, backbone, variant), found in parts.items():
        yield dataset, backbone, variant, joined(found)


def _pairs(
    scores: Scores, metric: str, chosen: Callable[[pd.DataFrame], pd.DataFrame]
) -> Iterator[tuple[tuple[str, ...], Paired]]:
    """Yields data set, backbone and variant, and the aligned scores of each; all rows are in memory meanwhile."""
    rows = scores.rows([metric])
    rows = chosen(rows) if len(rows) else rows
    places = combinations(rows, _PLACE)[1] if len(rows) else []
    if len(places) == 1:  # without a copy
        yield tuple(map(str, places[0])), pair(rows)
    elif places:
        for place, some in rows.groupby(_PLACE, sort=False, observed=True):
            yield tuple(map(str, place)), pair(some)


def rows_of(scores: Scores, metric: MetricFacts) -> pd.DataFrame:
    """Reads the rows of one metric, operator and estimand."""
    rows = scores.rows([metric.name])
    return asked(metric, rows) if len(rows) else rows


def asked(metric: MetricFacts, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the variant and estimand of a metric among all rows of its name."""
    chosen = (rows["variant"] == metric.variant).to_numpy()
    rows = rows if chosen.all() else rows[chosen]  # most metrics have one variant, and need no copy
    return right_only(rows) if metric.estimand == RIGHT else rows


def title(metric: MetricFacts) -> str:
    """Returns the name of a metric with its estimand and operator."""
    return named(metric, metric.estimand)


def margin(metric: MetricFacts) -> float:
    """Returns the smallest difference that matters: 0.01 of the range of a metric, or 0.01 if it is unbounded."""
    lowest, highest = value_range(metric)
    return _MARGIN * (highest - lowest if np.isfinite(highest - lowest) else 1)


def value_range(metric: MetricFacts) -> tuple[float, float]:
    """Returns lowest and highest possible score."""
    return metric.value_range


def range_of(frames: Frames, name: str, variant: str) -> tuple[float, float]:
    """Returns the range of a metric of the run by its name and operator; unbounded if the run does not have it."""
    found = (one.value_range for one in frames.record.metrics if (one.name, one.variant) == (name, variant))
    return next(found, (-np.inf, np.inf))


def possible(metric: MetricFacts, floor: str) -> tuple[float, float]:
    """Returns lowest and highest possible score of ``levelled``."""
    lowest, highest = value_range(metric)
    return (lowest - highest, highest - lowest) if floor == SUBTRACTED else (lowest, highest)


def levelled(
    frames: Frames, metric: MetricFacts, paired: Paired, methods: list[Method], among: Sequence[Method] = ()
) -> tuple[Floats, str]:
    """Returns scores by which methods on different networks can be compared.

    If the network sets the level of the metric, the score of the floor control on the same network is subtracted,
    image by image and seed by seed, provided that all networks have one.

    Args:
        frames: the run.
        metric: of the scores.
        paired: scores of all methods.
        methods: those that are asked for.
        among: all methods that are compared, whose networks must have the control; by default, these.

    Returns:
        (S,N,len(methods)), and ``SUBTRACTED``, ``ABSENT`` or ``NOT_NEEDED`` for the floor.
    """
    values = paired.of(methods)
    if not metric.of_network:
        return values, NOT_NEEDED
    floors = [name for name, facts in frames.record.explainers.items() if facts.role == "floor"]
    needed = {(head, floor) for head, _ in among or methods for floor in floors[:1]}
    if not needed or not needed <= set(paired.methods):
        return values, ABSENT
    known = {head: paired.columns[head, floors[0]] for head, _ in methods}
    for place, (head, _) in enumerate(methods):
        values[..., place] = difference(values[..., place], known[head])
    return values, SUBTRACTED


def main_variants(frames: Frames) -> list[MetricFacts]:
    """Returns the metrics of main tables and verdicts: of several rules that score patches, the first requested one.

    Other rules are for the table ``operators``: as columns of their own they would be chances to win by choice of a
    rule, and would enlarge the families of tests.
    """
    first: dict[str, MetricFacts] = {}
    for metric in frames.record.metrics:
        first.setdefault(metric.name, metric)
    return [metric for metric in frames.record.metrics if metric.variant not in RULED or metric is first[metric.name]]


def directed(frames: Frames) -> list[MetricFacts]:
    """Returns the metrics of main tables and verdicts that have a better direction, as comparisons read them.

    Areas under curves are compared on images that both classifiers get right: on others the ratio to a small intact
    probability would decide.
    """
    metrics = [metric for metric in main_variants(frames) if metric.higher_is_better is not None]
    return [metric.changed(estimand=RIGHT) if metric.of_curve else metric for metric in metrics]


def questions_first(metrics: list[MetricFacts]) -> list[MetricFacts]:
    """Sorts metrics: those of localisation, then those of faithfulness, which answer a question, then the others."""
    return sorted(metrics, key=lambda metric: (metric.family != "localisation", metric.family != "faithfulness"))


def main_metrics(frames: Frames) -> dict[str, MetricFacts]:
    """Returns family -> the first of its metrics that has a direction, in the run's order."""
    first: dict[str, MetricFacts] = {}
    for metric in directed(frames):
        first.setdefault(metric.family, metric)
    return first


def comparable(frames: Frames, family: str) -> list[str]:
    """Returns the explainers whose scores of a family of metrics can be compared: for consistency, signed ones.

    A map without a sign is positive nearly everywhere by construction: next to a signed one, its share of positive
    cells says nothing about agreement with the label.
    """
    return [name for name, facts in frames.record.explainers.items() if facts.signed or family != "consistency"]


def competing(frames: Frames, metric: MetricFacts) -> Scores:
    """Returns the scores of the explainers that can be compared by a metric."""
    return frames.source.where(explainer=comparable(frames, metric.family))


def pairs(frames: Frames, metric: MetricFacts) -> tuple[tuple[str, str, Paired], ...]:
    """Returns data set, backbone and aligned scores of one metric, which are kept."""
    return _kept(frames).of(frames, metric)


@lru_cache(maxsize=2)
def _kept(frames: Frames) -> _Kept:
    return _Kept()


class _Kept:
    """Aligned scores of a run by metric."""

    def __init__(self) -> None:
        self._known: dict[MetricFacts, tuple[tuple[str, str, Paired], ...]] = {}
        self._budget = Budget()

    def of(self, frames: Frames, metric: MetricFacts) -> tuple[tuple[str, str, Paired], ...]:
        """Returns data set, backbone and scores of a metric."""
        if metric not in self._known:
            found = paired_scores(competing(frames, metric), metric.name, partial(asked, metric), self._budget)
            self._known[metric] = tuple((dataset, backbone, paired) for dataset, backbone, _, paired in found)
        return self._known[metric]


def own_maps(frames: Frames, methods: list[Method]) -> list[Method]:
    """Returns the inherent maps among these, on heads that have them."""
    return _of(frames, methods, "inherent", "inherent")


def post_hoc(frames: Frames, methods: list[Method]) -> list[Method]:
    """Returns the post-hoc maps of black boxes among these."""
    return _of(frames, methods, "post-hoc", "black box")


def _of(frames: Frames, methods: list[Method], explainers: str, heads: str) -> list[Method]:
    record, known = frames.record, set(methods)
    of_family = [name for name, facts in record.explainers.items() if facts.family == explainers]
    right = [name for name, facts in record.heads.items() if facts.family == heads]
    return [(head, explainer) for head in right for explainer in of_family if (head, explainer) in known]


def label(frames: Frames, method: Method) -> str:
    """Returns the name of a method in sentences: the head of its only inherent map, otherwise the explainer."""
    head, explainer = method
    black_boxes = [name for name, facts in frames.record.heads.items() if facts.family != "inherent"]
    if frames.record.explainers[explainer].family == "inherent":
        return head if frames.own_explainers[head] == [explainer] else f"{explainer} of {head}"
    return explainer if len(black_boxes) == 1 and head in black_boxes else f"{explainer} on {head}"
