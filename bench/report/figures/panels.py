"""Panels that the figures of the studies share: curves with bands over a setting, and groups of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import GREY, STRONG, WIDTH, Look
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate

Rows = list[dict[str, Any]]
SMALLEST = 1e-9  # where 0 is drawn on a log axis
_MARKERS = "osD^vP"
_TITLES = {"accuracy": "test accuracy ↑", "auc": "test AUC ↑", "validation_auc": "validation AUC ↑"}


def title_of(column: Column) -> str:
    """What axes and legends call a metric."""
    return _TITLES.get(column.name, column.title)


def strong_look(place: int) -> Look:
    """The look of the n-th of a few lines."""
    return Look(STRONG[place % len(STRONG)], marker=_MARKERS[place % len(_MARKERS)])


def handle(look: Look, label: str, dash: str | None = None) -> Line2D:
    """Legend entry; ``dash`` "none" leaves the marker alone."""
    style = look.line() | ({"linestyle": dash} if dash else {})
    return Line2D([], [], label=label, marker=look.marker, markersize=4, **style)


def split_rows(table: TableData, *keys: str) -> dict[tuple[str, ...], Rows]:
    """Rows by some of their keys, those of the first explainer of each head."""
    found: dict[tuple[str, ...], Rows] = {}
    for row in table.rows:
        rows = found.setdefault(tuple(row[name] for name in keys), [])
        if all((row["dataset"], row["head"]) != (other["dataset"], other["head"]) for other in rows):
            rows.append(row)
    return found


def most(rows: Rows, columns: Sequence[Column]) -> int:
    """The largest number of images behind one of these columns."""
    return max((row[column.name].n for row in rows for column in columns if column.name in row), default=0)


def panel_columns(count: int, height: int, inches: float, across: int = 0) -> tuple[Figure, list[list[Axes]]]:
    """A figure with ``count`` columns of ``height`` panels, ``across`` in a row: three, of four two."""
    most = across or (2 if count == 4 else 3)
    columns = min(count, most)
    blocks = -(-count // columns)
    size = (max(WIDTH * columns / most, 4.0), blocks * (height * inches + 0.3) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(blocks * height, columns, squeeze=False)
    stacks = [
        axes[block * height : (block + 1) * height, at].tolist() for block in range(blocks) for at in range(columns)
    ]
    for unused in stacks[count:]:
        for axis in unused:
            axis.remove()
    return figure, stacks[:count]


def label_rows(stacks: list[list[Axes]], labels: Sequence[str]) -> None:
    """Name the y axes at the left, and give panels that show the same the same limits; say where there is nothing."""
    places = [stack[0].get_subplotspec() for stack in stacks]
    first = [place is not None and place.is_first_col() for place in places]
    for at, label in enumerate(labels[: len(stacks[0])]):
        panels = [stack[at] for stack in stacks]
        limits = np.array([panel.get_ylim() for panel in panels if panel.has_data()])
        for panel, is_first in zip(panels, first, strict=True):
            if not panel.has_data():
                panel.text(0.5, 0.5, "not scored", transform=panel.transAxes, ha="center", color=GREY)
            if len(limits):
                panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
            panel.tick_params(labelleft=is_first)
            panel.set_ylabel(label if is_first else "")


def draw_curve(axis: Axes, x: Sequence[float], estimates: Sequence[Estimate], look: Look) -> None:
    """A line with a marker an estimate, and a band."""
    low, high = [value.low for value in estimates], [value.high for value in estimates]
    axis.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)
    axis.plot(x, [value.mean for value in estimates], marker=look.marker, markersize=3.5, **look.line())


def draw_groups(
    values: dict[str, dict[tuple[str, str], Estimate]],
    categories: dict[str, str],
    series: dict[str, Look],
    marks: Mapping[tuple[str, str, str], str] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A panel a metric, beside each other: for each category a group of points with intervals, one a series.

    Args:
        values: title of the metric -> (category, series) -> estimate.
        categories: name -> label, from above.
        series: label -> look.
        marks: (title, category, series) -> what stands beside the point.
    """
    marks = marks or {}
    height = len(categories) * (0.1 * max(len(series), 3) + 0.1) + 0.17 * -(-len(series) // 5) + 0.7
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, len(values), squeeze=False, sharey=True)[0].tolist()
    step, names, labels = 0.8 / max(len(series), 2), list(categories), list(series)
    for axis, (title, of_metric) in zip(axes, values.items(), strict=True):
        for (category, label), value in of_metric.items():
            look, place = series[label], labels.index(label) - (len(series) - 1) / 2
            y = names.index(category) + place * step
            axis.plot(np.maximum([value.low, value.high], SMALLEST), [y, y], color=look.color, linewidth=1)
            axis.plot(max(value.mean, SMALLEST), y, look.marker, color=look.color, markersize=4)
            if mark := marks.get((title, category, label)):
                beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7}
                axis.annotate(mark, (max(value.high, value.mean), y), (4, 0), **beside)
        name, *below = title.split("\n")
        axis.set_title("\n".join([name.replace(" ", "\n", 1) if len(name) > 16 else name, *below]))
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        for place in range(1, len(names)):
            axis.axhline(place - 0.5, color="#E6E6E6", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), list(categories.values()))
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure, axes
