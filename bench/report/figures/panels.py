"""Panels of the studies: curves with bands over a setting, groups of points, and masses on a tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import BLACK, GREY, LIGHT, STRONG, WIDTH, Look, legend_below
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate

Row = dict[str, Any]
Rows = list[Row]
_LINE = 0.17  # inches per explainer in ``draw_masses``
SMALLEST = 1e-9  # where 0 is drawn on a log axis
_MARKERS = "osD^vP"
_TITLES = {"accuracy": "test accuracy ↑", "auc": "test AUC ↑", "validation_auc": "validation AUC ↑"}


def title_of(column: Column) -> str:
    """Returns the name of a metric on axes and in legends."""
    return _TITLES.get(column.name, column.title)


def strong_look(place: int) -> Look:
    """Returns the look of the n-th of a few lines."""
    return Look(STRONG[place % len(STRONG)], marker=_MARKERS[place % len(_MARKERS)])


def handle(look: Look, label: str, dash: str | None = None) -> Line2D:
    """Returns a legend entry; with ``dash`` "none" it is the marker alone."""
    style = look.line() | ({"linestyle": dash} if dash else {})
    return Line2D([], [], label=label, marker=look.marker, markersize=4, **style)


def split_rows(table: TableData, *keys: str) -> dict[tuple[str, ...], Rows]:
    """Groups rows by some of their keys, and keeps the first explainer of each head."""
    found: dict[tuple[str, ...], Rows] = {}
    for row in table.rows:
        rows = found.setdefault(tuple(row[name] for name in keys), [])
        if all((row["dataset"], row["head"]) != (other["dataset"], other["head"]) for other in rows):
            rows.append(row)
    return found


def most(rows: Rows, columns: Sequence[Column]) -> int:
    """Returns the largest number of images in these columns."""
    return max((row[column.name].n for row in rows for column in columns if column.name in row), default=0)


def panel_columns(count: int, height: int, inches: float, across: int = 0) -> tuple[Figure, list[list[Axes]]]:
    """Returns a figure with ``count`` columns of ``height`` panels, ``across`` in a row (by default 3, or 2 of 4)."""
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
    """Names the y axes at the left, gives panels of one metric the same limits, and labels empty panels."""
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
    """Draws a line with a marker per estimate, and a band."""
    low, high = [value.low for value in estimates], [value.high for value in estimates]
    axis.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)
    axis.plot(x, [value.mean for value in estimates], marker=look.marker, markersize=3.5, **look.line())


def draw_groups(
    values: dict[str, dict[tuple[str, str], Estimate]],
    categories: dict[str, str],
    series: dict[str, Look],
    marks: Mapping[tuple[str, str, str], str] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Draws a panel per metric, side by side: for each category a group of points with intervals, one per series.

    Args:
        values: title of the metric -> (category, series) -> estimate.
        categories: name -> label, from above.
        series: label -> look.
        marks: (title, category, series) -> text next to the point.
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
                offset: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7}
                axis.annotate(mark, (max(value.high, value.mean), y), (4, 0), **offset)
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


def draw_masses(heads: list[str], rows: Rows, others: dict[tuple[str, str], Row], colors: dict[str, str]) -> Figure:
    """Draws the positive mass on the tag with its interval: a panel per head, a line per explainer.

    Args:
        heads: names, from the left.
        rows: of the table ``shortcut``.
        others: head and explainer -> row of the model trained without the shortcut, drawn hollow.
        colors: verdict -> colour.
    """
    names = list(dict.fromkeys(row["explainer"] for row in rows))
    figure = Figure(figsize=(WIDTH, _LINE * len(names) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(heads), squeeze=False, sharex=True, sharey=True)[0]
    for axis, head in zip(axes, heads, strict=True):
        own = [row for row in rows if row["head"] == head]
        _masses(axis, own, names, others, colors)
        axis.set_title(f"{head}\nuses the tag: {own[0]['uses the tag']}")
        axis.set_xlabel("positive mass on the tag")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    found = [word for word in colors if word in {row["verdict"] for row in rows}]
    dots: dict[str, Any] = {"linestyle": "none", "markersize": 4, "marker": "o"}
    handles = [Line2D([], [], color=colors[word], label=word, **dots) for word in found]
    if others:
        handles.append(Line2D([], [], color=GREY, markerfacecolor="white", label="trained without", **dots))
    handles.append(Line2D([], [], color=BLACK, linestyle=(0, (1, 1)), linewidth=0.9, label="area of the tag"))
    legend_below(figure, {"": handles})
    return figure


def _masses(
    axis: Axes, rows: Rows, names: list[str], others: dict[tuple[str, str], Row], colors: dict[str, str]
) -> None:
    area = [row["tag_mass"].mean / row["tag_lift"].mean for row in rows if row["tag_lift"].mean > 0]
    if area:
        axis.axvline(float(np.median(area)), color=BLACK, linestyle=(0, (1, 1)), linewidth=0.9, zorder=1)
    for row in rows:
        place = names.index(row["explainer"])
        other = others.get((row["head"], row["explainer"]))
        if other is not None:
            _point(axis, other, place + 0.17, GREY, hollow=True)
        _point(axis, row, place - (0.17 if other is not None else 0), colors[row["verdict"]], hollow=False)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_color(LIGHT)


def _point(axis: Axes, row: Row, y: float, color: str, hollow: bool) -> None:
    mass = row["tag_mass"]
    axis.plot([mass.low, mass.high], [y, y], color=color, linewidth=0.9, zorder=2)
    axis.plot(mass.mean, y, "o", color=color, markerfacecolor="white" if hollow else color, markersize=3.6, zorder=3)
