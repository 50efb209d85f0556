"""Occlusion operators and patch rules: scores and ranks of the methods by each, and their agreement.

They show whether what fills removed patches, or how a patch is read from a map, decides which method wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

from bench.plain.names import FILLS, RULED, RULES
from bench.report.figures.bump import Charts, bump_chart
from bench.report.figures.style import Drawing
from bench.report.frames.compared import RULE_WORDS, compared, row_order
from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.gaps import Missing
from bench.report.tables.rankings import TAU, Ranking, add_agreements, rank
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import estimate_means

_KEYS = ["dataset", "backbone", "explainer", "head"]
_MAIN = "audc"
_CAPTION = "Scores and ranks of the methods under every occlusion operator and every rule that ranks patches."
_OPERATORS, _BY_RULE = "operators", "rules"
_MEANING = {
    "zero": "the training mean",
    "black": "black",
    "blur": "the blurred image",
    "noise": "noisy linear imputation (ROAD, arXiv:2202.00449)",
    "donor": "the same place of a healthy image",
}


class Compared(NamedTuple):
    """One metric on one data set and backbone, scored with every operator, or with patches ranked by every rule."""

    metric: str
    dataset: str
    backbone: str
    kind: str
    rows: pd.DataFrame
    ranking: Ranking

    @property
    def by_meaning(self) -> Ranking:
        """The ranking with "mean" as the name of the default rule, which no variant's name says."""
        if self.kind == _OPERATORS:
            return self.ranking
        return self.ranking.renamed({way: way if way in RULED else RULES[0] for way in self.ranking.values})


def operator_tables(frames: Frames) -> dict[str, TableData]:
    """Returns ``operators`` and ``operators_agreement``, if a metric has two operators or rules, or more."""
    tables = {"operators": operators_table(frames), "operators_agreement": agreement_table(frames)}
    return {name: table for name, table in tables.items() if table.rows}


def missing_operators(frames: Frames) -> Iterator[Missing]:
    """Yields the operators and rules that this run did not use, if there are any."""
    asked = [metric.variant for metric in frames.record.metrics if metric.name == _MAIN]
    absent = [f"{_MAIN}@{name}" for name in (*FILLS, *RULES[1:]) if name not in asked]
    if absent:
        what = f"{', '.join(absent)} (operators)"
        remedy = "Re-run the same command with them under --metrics; existing results are reused."
        yield Missing(what, remedy, below={"operators": what})


def operators_table(frames: Frames) -> TableData:
    """Computes every such metric by operator and by rule, with the rank of each method of the main comparison."""
    found = list(rankings(frames))
    shown = {_title(one.metric, way) for one in found for way in one.ranking.values}
    metrics = [metric for metric in frames.record.metrics if title(metric) in shown]
    ranked = [f"rank {_title(one.metric, way)}" for one in found for way in one.ranking.values]
    keys = [*_KEYS, *dict.fromkeys(ranked)]
    columns = [Column(title(metric), metric.higher_is_better) for metric in metrics]
    table = TableData(_CAPTION, keys, columns, reading=_reading(frames))
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in found:
        ranks = {way: one.ranking.ranks(way) for way in one.ranking.values}
        for (explainer, head, way), score in estimate_means(one.rows, ["explainer", "head", "variant"]).items():
            key = (one.dataset, one.backbone, explainer, head)
            row = rows.setdefault(key, dict.fromkeys(keys[len(_KEYS) :], ""))
            row[_title(one.metric, way)] = score
            place = ranks.get(way, {}).get((explainer, head))
            row[f"rank {_title(one.metric, way)}"] = "" if place is None else f"{place:g}"
    for key in sorted(rows, key=row_order(frames)):
        table.rows.append(dict(zip(_KEYS, key, strict=True)) | rows[key])
        table.competes.append(frames.record.explainers[key[2]].family != "control")
    return replace(table, notes=_notes(frames, found))


def agreement_table(frames: Frames) -> TableData:
    """Computes Kendall's τ between the rankings of the same methods by every two operators, and every two rules."""
    caption = "Agreement of occlusion operators, and of rules that rank patches, on the ranking of the methods."
    keys = ["dataset", "backbone", "metric", "one", "other", "methods"]
    table = TableData(caption, keys, [Column(TAU, None)])
    table.reading = (
        "Kendall's τ-b between the orders in which two operators, or two rules with the same operator (mean, the "
        "default, and others), rank the methods of the main comparison without controls: 1 = the same order, 0 = no "
        "agreement, −1 = the opposite. Intervals are 95 % bootstrap intervals "
        "over groups, and n counts images. Source: arXiv:2202.00449 (operators change rankings)."
    )
    for one in rankings(frames):
        add_agreements(table, {"dataset": one.dataset, "backbone": one.backbone, "metric": one.metric}, one.by_meaning)
    return table


@lru_cache(maxsize=2)
def rankings(frames: Frames) -> tuple[Compared, ...]:
    """Returns the metrics with two operators or more, then those with two rules or more."""
    found = []
    for kind in (_OPERATORS, _BY_RULE):
        for name in dict.fromkeys(metric.name for metric in frames.record.metrics):
            metrics = [metric for metric in frames.record.metrics if metric.name == name]
            ways = _ways([metric.variant for metric in metrics], kind)
            rows = compared(frames).rows([name]) if len(ways) > 1 else pd.DataFrame()
            rows = rows[rows["variant"].isin(ways)] if len(rows) else rows
            for (dataset, backbone), part in rows.groupby(["dataset", "backbone"], sort=False) if len(rows) else ():
                ranking = rank(part, "variant", ways, bool(metrics[0].higher_is_better))
                if len(ranking.values) > 1:
                    found.append(Compared(name, str(dataset), str(backbone), kind, part, ranking))
    return tuple(found)


def _ways(variants: list[str], kind: str) -> list[str]:
    """Returns the variants of a metric that differ in the operator alone, or in the rule alone."""
    if kind == _OPERATORS:
        return [one for one in variants if one in FILLS]
    return [one for one in variants if one in ("", FILLS[0], *RULED)]


def _title(name: str, variant: str) -> str:
    return f"{name}@{variant}" if variant else name


def _reading(frames: Frames) -> str:
    used = list(dict.fromkeys(metric.variant for metric in frames.record.metrics))
    fills = "; ".join(f"{name}, {_MEANING[name]}" for name in used if name in FILLS)
    rules = "; ".join(f"{name}, {RULE_WORDS[name]}" for name in used if name in RULED)
    other = f"A rule after the @ ranks patches otherwise: {rules}; removed patches are then filled as by zero. "
    return (
        (f"An @ separates a metric from what fills removed patches: {fills}. " if fills else "")
        + "Patches are ranked by the mean of the map's positive part. "
        + (other if rules else "")
        + "audc removes the most important patches first; srg is the area with the least important first minus that. "
        "Nothing is filled outside the field of view. Entries are means over diseased images (of occlusion metrics: "
        "the first ones) with 95 % bootstrap intervals over groups, the best in bold; rank 1 is the best of the "
        "methods without controls."
    )


def _notes(frames: Frames, found: list[Compared]) -> list[str]:
    """Returns how far the operators and rules agree, and why the operator donor is absent."""
    notes = []
    for one in found:
        pairs = [
            f"{first}-{second} {tau.mean:.2f} [{tau.low:.2f}, {tau.high:.2f}]"
            for first, second, tau in one.by_meaning.agreements()
        ]
        where = f"{one.dataset}, {one.backbone}"
        notes.append(f"{where}, {one.metric}: Kendall's τ of the ranks by {one.kind} {', '.join(pairs)}.")
        asked = [metric.variant for metric in frames.record.metrics if metric.name == one.metric]
        if one.kind == _OPERATORS and "donor" in asked and "donor" not in one.ranking.values:
            notes.append(
                f"{where}: the operator donor is absent, because there is no healthy class or too few healthy images."
            )
    return notes


def operator_ranks(frames: Frames) -> Iterator[Drawing]:
    """Yields the ranks by occlusion operator and by patch rule."""
    charts: Charts = {}
    for one in rankings(frames):
        name = Column(one.metric, one.ranking.higher_is_better).title
        name = name if one.kind == _OPERATORS else f"{name}, by rule"
        charts.setdefault(name, {})[one.dataset] = one.by_meaning
    caption = "Rank of every method by the occlusion operator that fills removed patches, and by the patch rule."
    reading = (
        "Rank 1 is the best; controls are left out. Crossing lines are verdicts that depend on the operator, or on the "
        "rule that ranks patches. τ: mean of Kendall's τ over pairs of operators or rules; n: images."
    )
    yield from bump_chart(frames, "operators", charts, caption, reading)
