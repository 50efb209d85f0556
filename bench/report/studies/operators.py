"""Occlusion operators: scores and ranks of the methods by what fills removed patches, and their agreement.

They show whether the operator decides which method wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.metrics import FILLS
from bench.report.figures.bump import Charts, bump_chart
from bench.report.figures.style import Drawing
from bench.report.frames.compared import main_rows, row_order
from bench.report.frames.load import Frames
from bench.report.gaps import Missing
from bench.report.tables.rankings import TAU, Ranking, add_agreements, rank
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import estimate_means
from bench.store.records import MetricFacts

_KEYS = ["dataset", "backbone", "explainer", "head"]
_MAIN = "audc"
_CAPTION = "Occlusion scores and ranks of the methods under every occlusion operator."
_MEANING = {
    "zero": "the training mean",
    "black": "black",
    "blur": "the blurred image",
    "noise": "noisy linear imputation (ROAD, arXiv:2202.00449)",
    "donor": "the same place of a healthy image",
}


def operator_tables(frames: Frames) -> dict[str, TableData]:
    """Returns ``operators`` and ``operators_agreement``, if a metric has two operators or more."""
    tables = {"operators": operators_table(frames), "operators_agreement": agreement_table(frames)}
    return {name: table for name, table in tables.items() if table.rows}


def missing_operators(frames: Frames) -> Iterator[Missing]:
    """Yields the operators that this run did not use, if there are any."""
    asked = [metric.variant for metric in _occlusion_metrics(frames) if metric.name == _MAIN]
    absent = [f"{_MAIN}@{name}" for name in FILLS if name not in asked]
    if absent:
        what = f"{', '.join(absent)} (operators)"
        remedy = "Re-run the same command with them under --metrics; existing results are reused."
        yield Missing(what, remedy, below={"operators": what})


def operators_table(frames: Frames) -> TableData:
    """Computes every occlusion metric by operator, with the rank of each method of the main comparison."""
    found = list(rankings(frames))
    names = list(dict.fromkeys(name for name, *_ in found))
    metrics = [metric for metric in _occlusion_metrics(frames) if metric.name in names]
    ranked = [f"rank {name}@{way}" for name, *_, ranking in found for way in ranking.values]
    keys = [*_KEYS, *dict.fromkeys(ranked)]
    columns = [Column(f"{metric.name}@{metric.variant}", metric.higher_is_better) for metric in metrics]
    table = TableData(_CAPTION, keys, columns, reading=_reading(frames))
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, dataset, backbone, part, ranking in found:
        ranks = {way: ranking.ranks(way) for way in ranking.values}
        for (explainer, head, way), score in estimate_means(part, ["explainer", "head", "variant"]).items():
            row = rows.setdefault((dataset, backbone, explainer, head), dict.fromkeys(keys[len(_KEYS) :], ""))
            row[f"{name}@{way}"] = score
            place = ranks.get(way, {}).get((explainer, head))
            row[f"rank {name}@{way}"] = "" if place is None else f"{place:g}"
    for key in sorted(rows, key=row_order(frames)):
        table.rows.append(dict(zip(_KEYS, key, strict=True)) | rows[key])
        table.competes.append(frames.record.explainers[key[2]].family != "control")
    return replace(table, notes=_notes(frames, found))


def agreement_table(frames: Frames) -> TableData:
    """Computes Kendall's τ between the rankings of the same methods by every two operators."""
    caption = "Agreement of occlusion operators on the ranking of the methods."
    keys = ["dataset", "backbone", "metric", "one", "other", "methods"]
    table = TableData(caption, keys, [Column(TAU, None)])
    table.reading = (
        "Kendall's τ-b between the orders in which two operators rank the methods of the main comparison without "
        "controls: 1 = the same order, 0 = no agreement, −1 = the opposite. Intervals are 95 % bootstrap intervals "
        "over groups, and n counts images. Source: arXiv:2202.00449 (operators change rankings)."
    )
    for name, dataset, backbone, _, ranking in rankings(frames):
        add_agreements(table, {"dataset": dataset, "backbone": backbone, "metric": name}, ranking)
    return table


def rankings(frames: Frames) -> Iterator[tuple[str, str, str, pd.DataFrame, Ranking]]:
    """Yields metric, data set, backbone, rows and ranking, for metrics with two operators or more."""
    scores = main_rows(frames)
    for name in dict.fromkeys(metric.name for metric in _occlusion_metrics(frames)) if len(scores) else ():
        metrics = [metric for metric in _occlusion_metrics(frames) if metric.name == name]
        ways = [metric.variant for metric in metrics]
        rows = scores[(scores["metric"] == name) & scores["variant"].isin(ways)]
        for (dataset, backbone), part in rows.groupby(["dataset", "backbone"], sort=False):
            ranking = rank(part, "variant", ways, bool(metrics[0].higher_is_better))
            if len(ranking.values) > 1:
                yield name, str(dataset), str(backbone), part, ranking


def _occlusion_metrics(frames: Frames) -> list[MetricFacts]:
    return [metric for metric in frames.record.metrics if metric.variant in FILLS]


def _reading(frames: Frames) -> str:
    used = dict.fromkeys(metric.variant for metric in _occlusion_metrics(frames))
    return (
        "An @ separates a metric from what fills removed patches: "
        f"{'; '.join(f'{name}, {_MEANING[name]}' for name in used)}. audc removes the most important patches first; "
        "srg is the area with the least important first minus that. Nothing is filled outside the field of view. "
        "Entries are means over the first diseased images with 95 % bootstrap intervals over groups, the best in "
        "bold; rank 1 is the best of the methods without controls."
    )


def _notes(frames: Frames, found: list[tuple[str, str, str, pd.DataFrame, Ranking]]) -> list[str]:
    """Returns how far the operators agree, and why the operator donor is absent."""
    notes = []
    for name, dataset, backbone, _, ranking in found:
        pairs = [
            f"{one}-{other} {tau.mean:.2f} [{tau.low:.2f}, {tau.high:.2f}]" for one, other, tau in ranking.agreements()
        ]
        notes.append(f"{dataset}, {backbone}, {name}: Kendall's τ of the ranks {', '.join(pairs)}.")
        asked = [metric.variant for metric in _occlusion_metrics(frames) if metric.name == name]
        if "donor" in asked and "donor" not in ranking.values:
            notes.append(
                f"{dataset}, {backbone}: the operator donor is absent, because there is no healthy class or too few "
                "healthy images."
            )
    return notes


def operator_ranks(frames: Frames) -> Iterator[Drawing]:
    """Yields the ranks by occlusion operator."""
    charts: Charts = {}
    for name, dataset, _, _, ranking in rankings(frames):
        charts.setdefault(Column(name, ranking.higher_is_better).title, {})[dataset] = ranking
    caption = "Rank of every method by the occlusion operator that fills removed patches."
    reading = (
        "Rank 1 is the best; controls are left out. Crossing lines are verdicts that depend on the operator. τ: mean "
        "of Kendall's τ over pairs of operators; n: occluded images."
    )
    yield from bump_chart(frames, "operators", charts, caption, reading)
