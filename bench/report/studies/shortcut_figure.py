"""Figure: how much of each map lies on the tag, for models that were trained with it and without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures.style import BLACK, GREY, LIGHT, STRONG, WIDTH, Drawing, legend_below
from bench.report.frames.load import Frames
from bench.report.studies.shortcut import (
    DETECTS,
    FALSE_ALARM,
    MISSES,
    SILENT,
    UNDECIDED,
    planted,
    reference,
    shortcut_table,
)
from bench.store.folders import file_name

_COLORS = {DETECTS: STRONG[2], MISSES: STRONG[0], FALSE_ALARM: STRONG[3], SILENT: STRONG[1], UNDECIDED: BLACK}
_ROW = 0.17  # inches

Row = dict[str, Any]


def shortcut_forest(frames: Frames) -> Iterator[Drawing]:
    """One figure a data set with a shortcut: a panel a head, a line an explainer."""
    table = shortcut_table(frames)
    for dataset in planted(frames):
        rows = [row for row in table.rows if row["dataset"] == dataset]
        if rows:
            plain = reference(frames, dataset)
            heads = [head for head in frames.record["heads"] if head in {row["head"] for row in rows}]
            others = {(row["head"], row["explainer"]): row for row in table.rows if row["dataset"] == plain}
            caption = (
                f"{dataset}: share of each map's positive mass on the tag (95 % bootstrap interval over groups), for "
                "the model trained with the shortcut (colour: verdict) and, hollow, for the one trained without it on "
                "the same scenes; dotted: the tag's share of the area. Above each panel whether the model uses the tag."
            )
            yield Drawing(f"shortcut_{file_name(dataset)}", _figure(heads, rows, others), caption)


def _figure(heads: list[str], rows: list[Row], others: dict[tuple[str, str], Row]) -> Figure:
    names = list(dict.fromkeys(row["explainer"] for row in rows))
    figure = Figure(figsize=(WIDTH, _ROW * len(names) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(heads), squeeze=False, sharex=True, sharey=True)[0]
    for axis, head in zip(axes, heads, strict=True):
        own = [row for row in rows if row["head"] == head]
        _panel(axis, own, names, others)
        axis.set_title(f"{head}\nuses the tag: {own[0]['uses the tag']}")
        axis.set_xlabel("positive mass on the tag")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    found = [word for word in _COLORS if word in {row["verdict"] for row in rows}]
    dots: dict[str, Any] = {"linestyle": "none", "markersize": 4, "marker": "o"}
    handles = [Line2D([], [], color=_COLORS[word], label=word, **dots) for word in found]
    if others:
        handles.append(Line2D([], [], color=GREY, markerfacecolor="white", label="trained without", **dots))
    handles.append(Line2D([], [], color=BLACK, linestyle=(0, (1, 1)), linewidth=0.9, label="area of the tag"))
    legend_below(figure, {"": handles})
    return figure


def _panel(axis: Axes, rows: list[Row], names: list[str], others: dict[tuple[str, str], Row]) -> None:
    area = [row["tag_mass"].mean / row["tag_lift"].mean for row in rows if row["tag_lift"].mean > 0]
    if area:
        axis.axvline(float(np.median(area)), color=BLACK, linestyle=(0, (1, 1)), linewidth=0.9, zorder=1)
    for row in rows:
        place = names.index(row["explainer"])
        other = others.get((row["head"], row["explainer"]))
        if other is not None:
            _point(axis, other, place + 0.17, GREY, hollow=True)
        _point(axis, row, place - (0.17 if other is not None else 0), _COLORS[row["verdict"]], hollow=False)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_color(LIGHT)


def _point(axis: Axes, row: Row, y: float, color: str, hollow: bool) -> None:
    mass = row["tag_mass"]
    axis.plot([mass.low, mass.high], [y, y], color=color, linewidth=0.9, zorder=2)
    axis.plot(mass.mean, y, "o", color=color, markerfacecolor="white" if hollow else color, markersize=3.6, zorder=3)
