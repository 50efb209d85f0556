"""Columns and table of the estimands of deletion, insertion and SRG.

They answer different questions about the same scores, so they are shown next to each other, each with its n.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.report.frames.compared import compared, row_order
from bench.report.frames.estimands import CURVE, RIGHT, curve_estimates, named, right_only
from bench.report.frames.load import Frames
from bench.report.frames.paired import rows_of, title
from bench.report.tables.table import Column, TableData, is_number
from bench.statistics.intervals import Estimate, estimate_means
from bench.store.records import MetricFacts

_KEYS = ["dataset", "backbone", "metric", "explainer", "head"]
_ALL = "all images"
_CAPTION = "Three estimands of the areas under deletion and insertion curves."
_READING = (
    "all images is the mean of the scores of images: for AUDC and SRG a mean of ratios to the intact probability p₀, "
    "as published, in which an image that the classifier misses can have a small p₀ and a large weight. curve is the "
    "area under the mean curve, divided by the mean of p₀: the mean of ratios weighted by p₀, and for AUIC the mean "
    "area divided by the mean of p₀. right is the mean of the scores of images that the classifier gets right; "
    "comparisons of two classifiers use it, on images that both get right. Intervals are 95 % bootstrap intervals over "
    "groups."
)


def estimands(
    frames: Frames, metric: MetricFacts, rows: pd.DataFrame, by: list[str]
) -> dict[str, dict[tuple[Any, ...], Estimate]]:
    """Computes the estimands of a metric other than the mean over all images.

    Args:
        frames: the run.
        metric: with ``of_curve``.
        rows: of this metric and operator.
        by: columns that name a method; two or more.

    Returns:
        Estimand -> method -> estimate, clipped to the possible range.
    """
    lowest, highest = metric.value_range
    curve = curve_estimates(frames, metric, rows, by)
    # Divided by the mean of p₀, an area may exceed 1.
    most = highest if metric.of_curve == "relative" else float("inf")
    return {
        CURVE: {key: one.within(lowest, most) for key, one in curve.items()},
        RIGHT: {key: one.within(lowest, highest) for key, one in estimate_means(right_only(rows), by).items()},
    }


def add_estimands(
    frames: Frames, found: dict[Any, dict[str, Any]], rows: pd.DataFrame, metric: MetricFacts, keys: list[str]
) -> dict[str, list[Column]]:
    """Adds the estimands of the first operator of a metric to rows of a table.

    Args:
        frames: the run.
        found: keys of a row -> the row, which is changed.
        rows: scores of the metric.
        metric: with its first operator.
        keys: columns that name a row.

    Returns:
        Title of the metric -> the columns that follow it; nothing for a metric without a curve.
    """
    part = rows[rows["variant"] == metric.variant]
    if not metric.of_curve or not len(part):
        return {}
    columns = []
    for estimand, estimates in estimands(frames, metric, part, keys).items():
        columns.append(Column(named(metric, estimand), metric.higher_is_better))
        for key, estimate in estimates.items():
            found[key][columns[-1].name] = estimate
    return {title(metric): columns}


def estimands_table(frames: Frames) -> TableData:
    """Returns one row per metric, operator and method of the main comparison, one column per estimand."""
    table = TableData(_CAPTION, _KEYS, [Column(_ALL, None), Column(CURVE, None), Column(RIGHT, None)], within=3)
    table.reading, place, scores = _READING, row_order(frames), compared(frames)
    by = [key for key in _KEYS if key != "metric"]
    for metric in [metric for metric in frames.record.metrics if metric.of_curve]:
        columns = {name: dict[tuple[Any, ...], Estimate]() for name in (_ALL, CURVE, RIGHT)}
        for batch in scores.batches():
            rows = rows_of(batch, metric)
            if not len(rows):
                continue
            means = {key: one.within(*metric.value_range) for key, one in estimate_means(rows, by).items()}
            for name, found in ({_ALL: means} | estimands(frames, metric, rows, by)).items():
                columns[name] |= found
            del rows  # before the next ones are read
        for key in sorted(columns[_ALL], key=place):
            row = dict(zip(by, key, strict=True)) | {"metric": title(metric)}
            table.rows.append(row | {name: of.get(key) for name, of in columns.items()})
            table.competes.append(frames.record.explainers[str(row["explainer"])].family != "control")
            table.directions.append(metric.higher_is_better)
    table.columns = [one for one in table.columns if any(is_number(row.get(one.name)) for row in table.rows)]
    return table
