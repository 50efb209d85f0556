"""Paired scores: the same images side by side, from which every comparison of two methods starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter

import numpy as np
import pandas as pd

from bench.plain.names import RULED
from bench.report.frames.estimands import RIGHT, named, right_only
from bench.report.frames.load import Frames
from bench.report.frames.scores import Scores
from bench.statistics.bootstrap.names import Names
from bench.statistics.comparison import difference
from bench.statistics.intervals import Floats
from bench.store.records import MetricFacts

Method = tuple[str, str]  # head, explainer
SUBTRACTED, ABSENT, NOT_NEEDED = "subtracted", "missing", "not needed"  # states of the floor
_PLACE = ["dataset", "backbone", "variant"]
_MARGIN = 0.01  # of a metric's range, or of its unit if it is unbounded: smaller differences do not matter


@dataclass(frozen=True)
class Paired:
    """One metric on one data set and backbone.

    Attributes:
        columns: method, by name -> scores (S,N) of S seeds and N images; nan where it has none.
        images: the N names, in order.
        groups: (N,) group of each image.
        seeds: the S seeds.
    """

    columns: Mapping[Method, Floats]
    images: pd.Index
    groups: Names
    seeds: tuple[int, ...] = ()

    @property
    def methods(self) -> list[Method]:
        """The C methods, by name."""
        return list(self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of all scores."""
        return sum(values.nbytes for values in self.columns.values())

    @property
    def values(self) -> Floats:
        """Scores (S,N,C) of all methods."""
        return self.of(self.methods)

    def of(self, methods: Sequence[Method]) -> Floats:
        """Returns scores (S,N,len(methods)); nan for a method without scores."""
        found = np.full((len(self.seeds), len(self.images), len(methods)), np.nan)
        for place, method in enumerate(methods):
            if method in self.columns:
                found[..., place] = self.columns[method]
        return found

    def number_of_groups(self, method: Method) -> int:
        """Returns the number of groups in which a method has a value."""
        return len(np.unique(self.groups.place[np.isfinite(self.of([method])).any(axis=(0, 2))]))


def pair(rows: pd.DataFrame) -> Paired:
    """Aligns long rows of one metric, data set and backbone, without steps, by seed and image.

    Raises:
        ValueError: a method has two scores of one image and seed.
    """
    image, head, explainer = (Names.of(rows[name]) for name in ("image", "head", "explainer"))
    seed, seeds = pd.factorize(rows["seed"].to_numpy(), sort=True)
    both, method = np.unique(head.place * len(explainer.known) + explainer.place, return_inverse=True)
    shape = (len(both), len(seeds), len(image.known))
    place = np.ravel_multi_index((method, seed, image.place), shape)
    if len(place) and np.bincount(place).max() > 1:
        raise ValueError("a method has two scores of one image and seed")
    values = np.full(shape, np.nan)
    values.ravel()[place] = rows["value"].to_numpy(dtype=float)
    first = np.empty(len(image.known), dtype=np.intp)
    first[image.place[::-1]] = np.arange(len(image))[::-1]
    of_head, of_explainer = np.divmod(both, len(explainer.known))
    names = zip(map(str, head.known[of_head]), map(str, explainer.known[of_explainer]), strict=True)
    columns = dict(zip(names, values, strict=True))
    return Paired(columns, image.known, Names.of(rows["group"])[first], tuple(map(int, seeds)))


def paired_scores(
    scores: Scores, metric: str, chosen: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
) -> Iterator[tuple[str, str, str, Paired]]:
    """Aligns the scores of a metric, some methods after the other, so that few rows are in memory.

    Args:
        scores: of all methods.
        metric: its stored name.
        chosen: rows of it -> those that count.

    Yields:
        Data set, backbone, variant and the scores.
    """
    parts: dict[tuple[str, ...], list[Paired]] = {}
    for batch in scores.batches():
        rows = batch.rows([metric])
        rows = chosen(rows) if len(rows) else rows
        for place, some in rows.groupby(_PLACE, sort=False, observed=True) if len(rows) else ():
            parts.setdefault(tuple(map(str, place)), []).append(pair(some))
    for (dataset, backbone, variant), found in parts.items():
        yield dataset, backbone, variant, _joined(found)


def _joined(parts: list[Paired]) -> Paired:
    """Joins different methods; those on the same images keep their arrays."""
    images, groups = parts[0].images, parts[0].groups
    if not all(one.images.equals(images) for one in parts):
        of_image = pd.concat([pd.Series(one.groups.to_numpy(), one.images) for one in parts])
        of_image = of_image[~of_image.index.duplicated()].sort_index()
        images, groups = of_image.index, Names.of(of_image)
    seeds = tuple(sorted({seed for one in parts for seed in one.seeds}))
    columns: dict[Method, Floats] = {}
    for one in parts:
        if one.seeds == seeds and one.images.equals(images):
            columns |= one.columns
            continue
        place = np.ix_(np.searchsorted(seeds, one.seeds), images.get_indexer(one.images))
        for method, values in one.columns.items():
            columns[method] = np.full((len(seeds), len(images)), np.nan)
            columns[method][place] = values
    return Paired(dict(sorted(columns.items(), key=itemgetter(0))), images, groups, seeds)


def rows_of(scores: Scores, metric: MetricFacts) -> pd.DataFrame:
    """Reads the rows of one metric, operator and estimand."""
    rows = scores.rows([metric.name])
    return _asked(metric, rows) if len(rows) else rows


def _asked(metric: MetricFacts, rows: pd.DataFrame) -> pd.DataFrame:
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


def levelled(frames: Frames, metric: MetricFacts, paired: Paired, methods: list[Method]) -> tuple[Floats, str]:
    """Returns scores by which methods on different networks can be compared.

    If the network sets the level of the metric, the score of the floor control on the same network is subtracted,
    image by image and seed by seed, provided that all networks have one.

    Returns:
        (S,N,len(methods)), and ``SUBTRACTED``, ``ABSENT`` or ``NOT_NEEDED`` for the floor.
    """
    values = paired.of(methods)
    if not metric.of_network:
        return values, NOT_NEEDED
    floors = [name for name, facts in frames.record.explainers.items() if facts.role == "floor"]
    controls = [(head, floor) for head, _ in methods for floor in floors[:1]]
    if not controls or not set(controls) <= set(paired.methods):
        return values, ABSENT
    return difference(values, paired.of(controls)), SUBTRACTED


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


#: Bytes of aligned scores that are kept.
KEPT = 2**29
_Places = tuple[tuple[str, str, Paired], ...]


def pairs(frames: Frames, metric: MetricFacts) -> _Places:
    """Returns data set, backbone and aligned scores of one metric; those used last are kept."""
    kept = _kept(frames)
    if metric in kept:
        kept[metric] = kept.pop(metric)  # the last used comes last
    else:
        while kept and sum(paired.nbytes for places in kept.values() for *_, paired in places) > KEPT:
            del kept[next(iter(kept))]
        found = paired_scores(competing(frames, metric), metric.name, partial(_asked, metric))
        kept[metric] = tuple((dataset, backbone, paired) for dataset, backbone, _, paired in found)
    return kept[metric]


@lru_cache(maxsize=2)
def _kept(frames: Frames) -> dict[MetricFacts, _Places]:
    return {}


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
