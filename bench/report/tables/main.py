"""Main tables: one row per method and classifier, one column per metric.

The other tables are views of these, or compare what these show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pandas as pd

from bench.report.frames.compared import main_rows, row_order
from bench.report.frames.load import Frames
from bench.report.frames.paired import comparable, main_variants, title
from bench.report.tables.captions import PER_CLASS, captioned
from bench.report.tables.classification import classification_table, cost_table
from bench.report.tables.estimands import add_estimands, estimands_table
from bench.report.tables.findings import finding_tables
from bench.report.tables.table import Column, TableData, is_number
from bench.statistics.intervals import estimate_means
from bench.store.folders import file_name

_KEYS = ["dataset", "backbone", "explainer", "head"]


def all_tables(frames: Frames) -> dict[str, TableData]:
    """Returns every table for which there are scores, by file name; the caller may add marks and notes to them."""
    return {name: table.copy() for name, table in _all_tables(frames).items()}


@lru_cache(maxsize=2)
def _all_tables(frames: Frames) -> dict[str, TableData]:
    tables = {"classification": classification_table(frames)} if len(frames.predictions) else {}
    families = dict.fromkeys(metric.family for metric in frames.record.metrics)
    main = main_rows(frames)
    for family in families:
        stem = file_name(family)
        tables[stem] = metric_table(frames, family, main)
        tables[f"{stem}_all_weights"] = on_all = metric_table(frames, family, frames.scores)
        on_all.caption = f"{on_all.caption.removesuffix('.')}, on every classifier."
        if family in PER_CLASS:
            tables[PER_CLASS[family]] = per_class_table(frames, family)
    tables |= finding_tables(frames)
    tables["estimands"] = estimands_table(frames)
    tables["cost"] = cost_table(frames)
    return {name: table for name, table in tables.items() if table.rows}


def metric_table(frames: Frames, family: str, scores: pd.DataFrame) -> TableData:
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
    rows = main_rows(replace(frames, scores=pd.concat([frames.scores, frames.own_class], ignore_index=True)))
    if not len(rows):
        return table
    classes = {name: facts.classes for name, facts in frames.record.datasets.items()}
    several = [name for name, one in frames.record.datasets.items() if len(one.classes) > 2 or one.multilabel]
    rows = rows[rows["dataset"].isin(several) & (rows["target"] == rows["label"])]
    names = [classes[name][label] for name, label in zip(rows["dataset"], rows["label"], strict=True)]
    place = row_order(frames)

    def order(key: tuple[Any, ...]) -> tuple[int, ...]:
        dataset, backbone, name, *method = key
        first, second, *rest = place((dataset, backbone, *method))
        return first, second, classes[dataset].index(name), *rest

    _fill(table, frames, family, rows.assign(**{"class": names}), order)
    return table


def _fill(
    table: TableData, frames: Frames, family: str, scores: pd.DataFrame, order: Callable[[tuple[Any, ...]], Any]
) -> None:
    """Adds a row per combination of the table's keys, and the columns that have a number somewhere."""
    if not len(scores):
        return
    keys = table.keys
    metrics = [metric for metric in main_variants(frames) if metric.family == family]
    columns = {(m.name, m.variant): Column(title(m), m.higher_is_better) for m in metrics}
    ranges = {(m.name, m.variant): m.value_range for m in metrics}
    wanted = scores[scores["metric"].isin({name for name, _ in columns})]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (*key, name, variant), estimate in estimate_means(wanted, [*keys, "metric", "variant"]).items():
        row = found.setdefault(tuple(key), dict(zip(keys, key, strict=True)))
        if (name, variant) in columns:
            row[columns[name, variant].name] = estimate.within(*ranges[name, variant])
    compared, explainers = comparable(frames, family), frames.record.explainers
    for place in sorted(found, key=order):
        name = found[place]["explainer"]
        table.rows.append(found[place])
        table.competes.append(explainers[name].family != "control" and name in compared)
    used = add_estimands(frames, [*columns.values()], found, wanted, metrics, keys)
    table.columns = [column for column in used if any(is_number(row.get(column.name)) for row in table.rows)]
