"""Does the operator that fills removed patches decide who wins? Scores and ranks by operator, and their agreement."""

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

_KEYS = ["dataset", "backbone", "explainer", "head"]
_MAIN = "audc"
_MEANING = {
    "zero": "the training mean",
    "black": "black",
    "blur": "the blurred image",
    "noise": "noisy linear imputation (ROAD, arXiv:2202.00449)",
    "donor": "the same place of a healthy image",
}


def operator_tables(frames: Frames) -> dict[str, TableData]:
    """``operators`` and ``operators_agreement``, where a metric was asked for with two operators or more."""
    tables = {"operators": operators_table(frames), "operators_agreement": agreement_table(frames)}
    return {name: table for name, table in tables.items() if table.rows}


def missing_operators(frames: Frames) -> Iterator[Missing]:
    """Yields the operators that this run did not use, if there are any."""
    asked = [metric["variant"] for metric in _occlusion_metrics(frames) if metric["name"] == _MAIN]
    absent = [f"{_MAIN}@{name}" for name in FILLS if name not in asked]
    if absent:
        what = f"{', '.join(absent)} (operators)"
        remedy = "Re-run the same command with them under --metrics; existing results are reused."
        yield Missing(what, remedy, below={"operators": what})


def operators_table(frames: Frames) -> TableData:
    """Every occlusion metric by operator with the rank of each method, one row a method of the main comparison."""
    found = list(rankings(frames))
    names = list(dict.fromkeys(name for name, *_ in found))
    metrics = [metric for metric in _occlusion_metrics(frames) if metric["name"] in names]
    ranked = [f"rank {name}@{way}" for name, *_, ranking in found for way in ranking.values]
    keys = [*_KEYS, *dict.fromkeys(ranked)]
    columns = [Column(f"{metric['name']}@{metric['variant']}", metric["higher_is_better"]) for metric in metrics]
    table = TableData(_caption(frames), keys, columns)
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
        table.competes.append(frames.record["explainers"][key[2]]["family"] != "control")
    return replace(table, notes=_notes(frames, found))


def agreement_table(frames: Frames) -> TableData:
    """Kendall's τ between the rankings of the same methods by every two operators."""
    caption = (
        "Agreement of occlusion operators. Kendall's τ-b between the orders in which two operators rank the methods of "
        "the main comparison (controls apart): 1 the same order, 0 none, -1 the opposite; 95 % bootstrap interval over "
        "groups, n images. Source: arXiv:2202.00449 (operators change rankings)."
    )
    keys = ["dataset", "backbone", "metric", "one", "other", "methods"]
    table = TableData(caption, keys, [Column(TAU, None)])
    for name, dataset, backbone, _, ranking in rankings(frames):
        add_agreements(table, {"dataset": dataset, "backbone": backbone, "metric": name}, ranking)
    return table


def rankings(frames: Frames) -> Iterator[tuple[str, str, str, pd.DataFrame, Ranking]]:
    """Metric, data set, backbone, rows and ranking, where there are two operators or more."""
    scores = main_rows(frames)
    for name in dict.fromkeys(metric["name"] for metric in _occlusion_metrics(frames)) if len(scores) else ():
        metrics = [metric for metric in _occlusion_metrics(frames) if metric["name"] == name]
        ways = [metric["variant"] for metric in metrics]
        rows = scores[(scores["metric"] == name) & scores["variant"].isin(ways)]
        for (dataset, backbone), part in rows.groupby(["dataset", "backbone"], sort=False):
            ranking = rank(part, "variant", ways, metrics[0]["higher_is_better"])
            if len(ranking.values) > 1:
                yield name, str(dataset), str(backbone), part, ranking


def _occlusion_metrics(frames: Frames) -> list[dict[str, Any]]:
    return [metric for metric in frames.record["metrics"] if metric["variant"] in FILLS]


def _caption(frames: Frames) -> str:
    used = dict.fromkeys(metric["variant"] for metric in _occlusion_metrics(frames))
    return (
        "Occlusion operators, the first diseased images. What fills removed patches stands behind the @: "
        f"{'; '.join(f'{name}, {_MEANING[name]}' for name in used)}. audc: most important patches first; srg: least "
        "important first minus most important first. Means over images [95 % bootstrap interval over groups], best in "
        "bold; rank 1 is the best of the methods without controls. Only inside the field of view anything is filled."
    )


def _notes(frames: Frames, found: list[tuple[str, str, str, pd.DataFrame, Ranking]]) -> list[str]:
    """How far the operators agree, and which are not there."""
    notes = []
    for name, dataset, backbone, _, ranking in found:
        pairs = [
            f"{one}-{other} {tau.mean:.2f} [{tau.low:.2f}, {tau.high:.2f}]" for one, other, tau in ranking.agreements()
        ]
        notes.append(f"{dataset}, {backbone}, {name}: Kendall's τ of the ranks {', '.join(pairs)}.")
        asked = [metric["variant"] for metric in _occlusion_metrics(frames) if metric["name"] == name]
        if "donor" in asked and "donor" not in ranking.values:
            notes.append(f"{dataset}, {backbone}: no donor, because it has no healthy class or too few healthy images.")
    return notes


def operator_ranks(frames: Frames) -> Iterator[Drawing]:
    """Yields the ranks by occlusion operator."""
    charts: Charts = {}
    for name, dataset, _, _, ranking in rankings(frames):
        charts.setdefault(Column(name, ranking.higher_is_better).title, {})[dataset] = ranking
    caption = (
        "Rank of every method (1 is the best, controls apart) by what fills removed patches. Lines that cross are "
        "verdicts that hang on the operator. τ: mean of Kendall's τ over pairs of operators; n: occluded images."
    )
    yield from bump_chart(frames, "operators", charts, caption)
