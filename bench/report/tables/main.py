"""Main tables: one row per method and classifier, one column per metric.

The other tables are views of these, or compare what these show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import pandas as pd

from bench.report.frames.compared import compared, compared_of, row_order
from bench.report.frames.load import Frames
from bench.report.frames.paired import comparable, main_variants, title
from bench.report.frames.stored.scores import Scores
from bench.report.tables.captions import PER_CLASS, captioned
from bench.report.tables.classification import classification_table, cost_table
from bench.report.tables.estimands import add_estimands, estimands_table
from bench.report.tables.findings import classification_by_finding, macro_table
from bench.report.tables.table import Column, TableData, is_number
from bench.statistics.intervals import estimate_means
from bench.store.folders import file_name
from bench.store.records import MetricFacts

_KEYS = ["dataset", "backbone", "explainer", "head"]


def all_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the tables of classifiers and of their maps."""
    return classification_tables(frames) | score_tables(frames)


def classification_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the tables of classifiers by file name; the caller may add marks and notes to them."""
    return {name: table.copy() for name, table in _classification_tables(frames).items()}


@lru_cache(maxsize=2)
def _classification_tables(frames: Frames) -> dict[str, TableData]:
    if not len(frames.predictions):
        return {}
    tables = {"classification": classification_table(frames)}
    tables["classification_findings"] = classification_by_finding(frames)
    return {name: table for name, table in tables.items() if table.rows}


def score_tables(frames: Frames) -> dict[str, TableData]:
    """Returns every table of scores and costs of maps by file name; the caller may add marks and notes to them."""
    return {name: table.copy() for name, table in _score_tables(frames).items()}


@lru_cache(maxsize=2)
def _score_tables(frames: Frames) -> dict[str, TableData]:
    tables: dict[str, TableData] = {}
    families = dict.fromkeys(metric.family for metric in frames.record.metrics)
    main = set(compared(frames).methods[_KEYS].itertuples(index=False, name=None))
    for family in families:
        stem = file_name(family)
        on_all = metric_table(frames, family, frames.source)
        tables[stem] = _only(on_all, main)
        tables[f"{stem}_all_weights"] = on_all
        on_all.caption = f"{on_all.caption.removesuffix('.')}, on every classifier."
        if family in PER_CLASS:
            tables[PER_CLASS[family]] = per_class_table(frames, family)
    tables["macro"] = macro_table(frames)
    tables["estimands"] = estimands_table(frames)
    tables["cost"] = cost_table(frames)
    return {name: table for name, table in tables.items() if table.rows}


def _only(table: TableData, methods: set[tuple[str, ...]]) -> TableData:
    """Returns the rows of some methods, and the columns that have a number in them."""
    kept = [place for place, row in enumerate(table.rows) if tuple(row[key] for key in table.keys) in methods]
    rows = [dict(table.rows[place]) for place in kept]
    columns = [one for one in table.columns if any(is_number(row.get(one.name)) for row in rows)]
    competes = [table.competes[place] for place in kept]
    return replace(table.copy(), rows=rows, columns=columns, competes=competes)


def metric_table(frames: Frames, family: str, scores: Scores) -> TableData:
    """Computes the means over images of every metric of a family."""
    table = captioned(frames, family, _KEYS)
    _fill(table, frames, family, scores, row_order(frames))
    return table


def per_class_table(frames: Frames, family: str) -> TableData:
    """Computes the metrics of a family by true class, for data sets of more than two classes, or of findings.

    It reads the rows of the compared methods whose map explains the image's label, and those of ``Frames.own_class``.
    """
    keys = ["dataset", "backbone", "class", "explainer", "head"]
    table = captioned(frames, PER_CLASS[family], keys, within=3)
    scores = compared_of(frames, frames.source + frames.own_class)
    classes = {name: facts.classes for name, facts in frames.record.datasets.items()}
    several = [name for name, one in frames.record.datasets.items() if len(one.classes) > 2 or one.multilabel]
    scores = scores.where(dataset=several)

    def own(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["target"] == rows["label"]]
        names = [classes[name][label] for name, label in zip(rows["dataset"], rows["label"], strict=True)]
        return rows.assign(**{"class": names})

    place = row_order(frames)

    def order(key: tuple[Any, ...]) -> tuple[int, ...]:
        dataset, backbone, name, *method = key
        first, second, *rest = place((dataset, backbone, *method))
        return first, second, classes[dataset].index(name), *rest

    _fill(table, frames, family, scores, order, own)
    return table


def _fill(
    table: TableData,
    frames: Frames,
    family: str,
    scores: Scores,
    order: Callable[[tuple[Any, ...]], Any],
    chosen: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
) -> None:
    """Adds a row per combination of the table's keys, and the columns that have a number somewhere.

    Args:
        table: to fill.
        frames: the run.
        family: of the metrics.
        scores: of the methods.
        order: of rows by their keys.
        chosen: rows of a metric -> those that count, with the columns that are keys of the table.
    """
    metrics = [metric for metric in main_variants(frames) if metric.family == family]
    further: dict[str, list[Column]] = {}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    batches, names = scores.batches(), dict.fromkeys(metric.name for metric in metrics)
    for name, batch in product(names, batches):
        variants = {metric.variant: metric for metric in metrics if metric.name == name}
        if not len(rows := batch.rows([name])):
            continue
        wanted = rows["variant"].isin(list(variants))
        rows = chosen(rows if wanted.all() else rows[wanted])
        for (*key, variant), estimate in estimate_means(rows, [*table.keys, "variant"]).items():
            row = found.setdefault(tuple(key), dict(zip(table.keys, key, strict=True)))
            row[title(variants[variant])] = estimate.within(*variants[variant].value_range)
        further |= add_estimands(frames, found, rows, next(iter(variants.values())), table.keys)
        del rows, wanted  # before the next ones are read
    competing, explainers = comparable(frames, family), frames.record.explainers
    for place in sorted(found, key=order):
        explainer = found[place]["explainer"]
        table.rows.append(found[place])
        table.competes.append(explainers[explainer].family != "control" and explainer in competing)
    used = [one for metric in metrics for one in (_column(metric), *further.get(title(metric), []))]
    table.columns = [column for column in used if any(is_number(row.get(column.name)) for row in table.rows)]


def _column(metric: MetricFacts) -> Column:
    return Column(title(metric), metric.higher_is_better)
