"""Opponents of a head's own maps, which comparison comes first, and which differences matter.

All of it is settled by the config, by the controls and by maps that coincide, before any own map is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from bench.configs.sections import ReportSection
from bench.report.frames.estimands import named
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, margin, paired_scores, post_hoc, title
from bench.report.studies.soundness import FAILS
from bench.statistics.bootstrap.paired import Method, Paired
from bench.statistics.comparison import mean_columns
from bench.statistics.decisions import Bools, needed_groups
from bench.statistics.intervals import ABSOLUTE, RELATIVE
from bench.store.records import MetricFacts

#: Questions, each of which has families of comparisons of its own.
CONTROLS, REFERENCE, POST_HOC = "controls", "reference", "post-hoc"
#: Share of the way from the floor to the ceiling that a difference must exceed.
SHARE = 0.02
_CEILINGS = ("grid ceiling", "ceiling")


@lru_cache(maxsize=4)
def report_section(frames: Frames) -> ReportSection:
    """Returns ``[report]`` of the run's config, with defaults for runs that were made before it."""
    return ReportSection.model_validate(frames.record.config.get("report", {}))


@lru_cache(maxsize=2)
def coinciding(frames: Frames) -> dict[tuple[str, str], dict[Method, list[Method]]]:
    """Finds post-hoc maps of black boxes that have the same scores, by data set and backbone.

    Maps coincide if all their stored scores are the same on every image and in every metric, up to rounding. They are
    represented by the reference if it is one of them, otherwise by the first one in the order of the run.

    Returns:
        (data set, backbone) -> representative -> the maps that it stands for, without itself.
    """
    scores, reference = frames.source.where(family=["post-hoc"]), report_section(frames).reference
    ordered: dict[tuple[str, str], list[Method]] = {}
    for (dataset, backbone), part in frames.explained.groupby(["dataset", "backbone"], sort=False):
        methods = [(str(head), str(name)) for head, name in part[["head", "explainer"]].drop_duplicates().to_numpy()]
        maps = post_hoc(frames, methods)
        ordered[str(dataset), str(backbone)] = sorted(maps, key=lambda one: one[1] != reference)
    same = {place: np.ones((len(maps), len(maps)), dtype=bool) for place, maps in ordered.items()}
    for metric in scores.metrics:
        if all(known.sum() == len(known) for known in same.values()):  # only each map with itself
            break
        for dataset, backbone, _, paired in paired_scores(scores, metric):
            place = (dataset, backbone)
            same[place] = _alike(paired, ordered[place], same[place])
    return {place: _represented(maps, same[place]) for place, maps in ordered.items()}


def _alike(paired: Paired, maps: list[Method], known: Bools) -> Bools:
    """Returns for every two of C maps that are ``known`` (C,C) as alike whether their scores agree, too."""
    found = known.copy()
    for one, other in combinations(range(len(maps)), 2):
        if known[one, other]:
            first, second = np.moveaxis(paired.of([maps[one], maps[other]]), -1, 0)
            close = np.isclose(first, second, RELATIVE, ABSOLUTE, equal_nan=True)
            found[one, other] = found[other, one] = close.all()
    return found


def _represented(maps: list[Method], same: Bools) -> dict[Method, list[Method]]:
    """Returns the first of the maps that coincide -> the others."""
    groups: dict[Method, list[Method]] = {}
    for place, one in enumerate(maps):
        first = next((other for other in groups if same[maps.index(other), place]), None)
        groups.setdefault(first or one, []).extend([one] if first else [])
    return groups


def opponents(frames: Frames, paired: Paired, place: tuple[str, str], own: Method) -> dict[str, list[Method]]:
    """Returns question -> maps that an own map is compared with; maps that coincide are named once.

    Controls are those on the own map's network if they were run there, otherwise those on the black box. Ceilings are
    no opponents, because they read the masks.

    Args:
        frames: the run.
        paired: scores of one metric.
        place: data set and backbone.
        own: the own map.
    """
    same = {one for rest in coinciding(frames)[place].values() for one in rest}
    others = [one for one in post_hoc(frames, paired.methods) if one not in same]
    reference = [one for one in others if one[1] == report_section(frames).reference]
    return {
        CONTROLS: list(_controls(frames, paired, own)),
        REFERENCE: reference,
        POST_HOC: [one for one in others if one not in reference],
    }


def _controls(frames: Frames, paired: Paired, own: Method) -> Iterator[Method]:
    black_boxes = [name for name, facts in frames.record.heads.items() if facts.family != "inherent"]
    for name, facts in frames.record.explainers.items():
        if facts.family == "control" and facts.role not in _CEILINGS:
            yield from [(head, name) for head in (own[0], *black_boxes) if (head, name) in paired.methods][:1]


def primary_metrics(frames: Frames) -> dict[str, str]:
    """Returns family -> the metric of the run that the config names for it, by its title in comparisons."""
    wished = report_section(frames).primary
    return {one.family: title(one) for one in directed(frames) if named(one, "") == wished.get(one.family)}


def primary_rows(frames: Frames, rows: pd.DataFrame, family: list[str]) -> Bools:
    """Returns True for the comparison that is tested first in each family.

    It is that of the first trained head's own map, or of the head that the config names, with the reference or the
    floor control. Its metric is the one that the config names, otherwise the first in the order of the run that does
    not fail on maps of known quality and has enough images for the whole family.

    Args:
        frames: the run.
        rows: comparisons, with the columns ``family``, head, explainer, their_explainer, metric, sound and groups.
        family: columns that name a family; the last one is the question.
    """
    section, heads = report_section(frames), frames.record.heads
    trained = [name for name, head in heads.items() if head.family == "inherent" and not head.converts]
    head = next((one for one in (section.head, *trained) if one in frames.own_explainers), "")
    floors = [name for name, facts in frames.record.explainers.items() if facts.role == "floor"]
    opponent = rows["question"].map({CONTROLS: floors[:1], REFERENCE: [section.reference], POST_HOC: []})
    right = np.array([other in known for other, known in zip(rows["their_explainer"], opponent, strict=True)])
    mine = (rows["head"] == head) & (rows["explainer"] == frames.own_explainers.get(head, [""])[0]) & right
    needed = rows.groupby(family)["metric"].transform("size").map(needed_groups)
    metric = mine & (rows["groups"] >= needed) & (rows["sound"] != FAILS)
    wished = rows["family"].map(primary_metrics(frames).get).astype(object)
    places = [rows[name] for name in family]
    first = rows["metric"].astype(object).where(metric).groupby(places).transform("first")
    found: Bools = (mine & (rows["metric"] == wished.fillna(first))).to_numpy(dtype=bool)
    return found


def relevant(frames: Frames, metric: MetricFacts, paired: Paired) -> tuple[float, str]:
    """Returns the margin of a metric on a data set: the smallest difference that matters, and where it comes from.

    It is a share of what can be reached, the mean distance of the ceiling control (that of the grid, otherwise the
    mask) from the floor control on the same networks, if the ceiling is shown to be better. Otherwise, it is a share
    of the metric's range.
    """
    roles = {facts.role: name for name, facts in frames.record.explainers.items()}
    scored = {name for _, name in paired.methods}
    floor, ceiling = roles.get("floor", ""), next((roles[one] for one in _CEILINGS if roles.get(one) in scored), "")
    heads = [head for head, name in paired.methods if name == floor and (head, ceiling) in paired.methods]
    if heads:
        ends = [paired.of([(head, name) for head in heads]).mean(axis=-1, keepdims=True) for name in (floor, ceiling)]
        defined = np.isfinite(ends[1] - ends[0]).any(axis=(0, 2))
        way = mean_columns((ends[1] - ends[0])[:, defined], paired.groups[defined]) if defined.any() else None
        if way is not None and (way["low"][0] > 0 if metric.higher_is_better else way["high"][0] < 0):
            return SHARE * abs(way["difference"][0]), f"{SHARE} of the way from {floor} to {ceiling}"
    unit = "the range" if np.isfinite(np.diff(metric.value_range)).all() else "1"
    return margin(metric), f"0.01 of {unit}"
