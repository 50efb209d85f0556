"""Floor and ceiling: scores as a share of the way from a map without information to the mask, or to its coarse form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.report.frames.compared import compared
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, margin, pairs, title
from bench.report.gaps import Missing
from bench.report.tables.table import Column, TableData
from bench.statistics.bootstrap.paired import Method, Paired
from bench.statistics.comparison import mean_columns, mean_ratios
from bench.statistics.intervals import Estimate, Floats, mean_over
from bench.store.records import MetricFacts

#: Families -> True if the controls' scores depend on the classifier, which must then be the same.
FAMILIES = {"localisation": False, "faithfulness": True}
_SHORTEST = 10  # margins from floor to ceiling
_GRID = "grid ceiling"
PREVALENCE = "lesion share of image [%]"
_KEYS = ["dataset", "backbone", "explainer", "head"]
_CAPTION = "Scores as percentage of the way from the floor control to a ceiling control."
_READING = (
    "Entries are ratios of mean distances with 95 % bootstrap intervals over groups. Above 100, a map beats the mask "
    "itself; below 0, it is worse than no information. Columns of the grid: the ceiling is the mask averaged over the "
    "cells of the classifier's feature map, which is about what a map of that resolution can reach. Controls of "
    "localisation do not depend on the classifier: they are averaged over all classifiers of the data set, and the "
    "best row is bold. Controls of faithfulness belong to one classifier, so each head has its own scale and none is "
    f"best. A dash: the ceiling is not shown to be better than the floor, the distance is shorter than {_SHORTEST} "
    "margins (a tenth of the metric's range, or 0.1), or the controls did not run on that classifier, which "
    "faithfulness needs (add them to on_inherent)."
)


def floor_ceiling_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the table ``floor_ceiling``."""
    return {"floor_ceiling": floor_ceiling_table(frames)}


def missing_floor_ceiling(frames: Frames) -> Iterator[Missing]:
    """Yields the table as missing if the run has no floor or no ceiling control."""
    roles = {facts.role for facts in frames.record.explainers.values()}
    if not {"floor", "ceiling"} <= roles:
        remedy = "It needs a floor and a ceiling control: add them to --explainers; existing results are reused."
        yield Missing("floor_ceiling", remedy)


def floor_ceiling_table(frames: Frames) -> TableData:
    """Computes percentages of the way from floor to ceiling, one row per method of the main comparison."""
    metrics = [metric for metric in directed(frames) if metric.family in FAMILIES]
    columns = [Column(PREVALENCE, None), *(column for metric in metrics for column in _columns(metric))]
    table = TableData(_CAPTION, _KEYS, columns, reading=_READING)
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for metric in metrics:
        for dataset, backbone, paired in pairs(frames, metric):
            for column, ceiling in _ceilings(metric).items():
                for (head, explainer), share in _shares(frames, paired, metric, ceiling).items():
                    rows.setdefault((dataset, backbone, explainer, head), {})[column] = share
    order = list(compared(frames).methods[_KEYS].drop_duplicates().itertuples(index=False, name=None))
    for key in [key for key in order if key in rows]:
        table.rows.append(dict(zip(_KEYS, key, strict=True)) | rows[key] | _prevalence(frames, key[0]))
        table.competes.append(frames.record.explainers[key[2]].family != "control")
    shown = {name for row in rows.values() for name in row}
    table.columns = [column for column in columns if column.name in shown or column.name == PREVALENCE]
    table.notes = _notes([title(metric) for metric in metrics if title(metric) not in shown])
    return table


def _columns(metric: MetricFacts) -> list[Column]:
    return [Column(name, True, ranked=not FAMILIES[metric.family]) for name in _ceilings(metric)]


def _ceilings(metric: MetricFacts) -> dict[str, str]:
    """Returns column -> role of the control at 100 %; resolution limits localisation, not faithfulness."""
    grid = {} if FAMILIES[metric.family] else {f"{title(metric)} (grid)": _GRID}
    return {title(metric): "ceiling"} | grid


def _shares(frames: Frames, paired: Paired, metric: MetricFacts, ceiling: str) -> dict[Method, Estimate]:
    """Computes the percentage of each method for which there are both controls."""
    controls = {role: _control(frames, role) for role in ("floor", "ceiling", _GRID)}
    methods = [one for one in paired.methods if one[1] not in controls.values()]
    if not methods:
        return {}
    heads = list(dict.fromkeys(head for head, _ in methods)) if FAMILIES[metric.family] else [""]
    low, high = (_ends(paired, controls[role], heads) for role in ("floor", ceiling))
    way = mean_columns(high - low, paired.groups)
    ahead = (way["low"] > 0) if metric.higher_is_better else (way["high"] < 0)
    is_far = ahead & (np.abs(way["difference"]) >= _SHORTEST * margin(metric))
    is_there = np.asarray(np.isfinite(high - low).any(axis=(0, 1)))
    scale = {one: heads.index(one[0]) if FAMILIES[metric.family] else 0 for one in methods}
    found: dict[Method, Estimate] = {}
    for some in paired.shares([one for one in methods if is_there[scale[one]]]):
        at = [scale[one] for one in some]
        rows = mean_ratios(paired.of(some) - low[..., at], (high - low)[..., at], paired.groups).to_dict("records")
        found |= {one: _percent(row, is_far[scale[one]]) for one, row in zip(some, rows, strict=True)}
    return found


def _percent(row: dict[Any, Any], is_far: bool) -> Estimate:
    if not is_far:
        return Estimate(np.nan, np.nan, np.nan, 0, int(row["n"] + row["undefined"]))
    return Estimate(100 * row["ratio"], 100 * row["low"], 100 * row["high"], int(row["n"]), int(row["undefined"]))


def _control(frames: Frames, role: str) -> str:
    """Returns the name of the explainer with this role; empty if the run has none or did not record roles."""
    roles = {facts.role: name for name, facts in frames.record.explainers.items()}
    return str(roles.get(role, ""))


def _ends(paired: Paired, control: str, heads: Sequence[str]) -> Floats:
    """Returns scores (S,N,H) of a control on the classifier of each head; for "", the mean over all classifiers."""
    everywhere = [one for one in paired.methods if one[1] == control]
    return np.stack([mean_over(paired.of([(head, control)] if head else everywhere), axis=-1) for head in heads], -1)


def _prevalence(frames: Frames, dataset: str) -> dict[str, Estimate]:
    prevalence = frames.record.datasets[dataset].prevalence
    share = np.nan if prevalence is None else 100 * prevalence
    return {PREVALENCE: Estimate(share, np.nan, np.nan, 0)}


def _notes(missing: list[str]) -> list[str]:
    return [f"Without any value: {', '.join(missing)}."] if missing else []
