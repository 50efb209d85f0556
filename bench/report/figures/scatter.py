"""Activation precision against sensitivity, because either alone rewards sparse or saturated maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.figures.looks import Method, averaging_note, methods_in, of_family
from bench.report.figures.style import BLACK, GREY, Drawing, Look, legend_below, number_marker, panels
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames
from bench.report.tables.notes import masks_note
from bench.statistics.intervals import Estimate, Floats, estimate_means
from bench.text.media import figure_text

_X, _Y = "activation_precision", "activation_sensitivity"
_CHANCE = Look(GREY, (0, (1, 1)), width=0.9)
_SIZES = {"inherent": 6.0, "post-hoc": 3.5, "control": 6.0}
_BOX = np.array([10.0, 8.0])  # points, of a two-digit number
_OFFSETS = [
    radius * np.array([np.cos(angle), np.sin(angle)])
    for radius, angle in product((7, 11, 16, 22, 29, 37), np.linspace(0, 2 * np.pi, 12, endpoint=False))
]


@dataclass(frozen=True)
class Point:
    """Precision and sensitivity of one method on one data set."""

    method: Method
    precision: Estimate
    sensitivity: Estimate


def precision_and_sensitivity(frames: Frames) -> dict[str, list[Point]]:
    """Returns data set -> a point per method that has both scores; data sets without any are left out."""
    precision, sensitivity = compared_rows(frames, _X), compared_rows(frames, _Y)
    methods = methods_in(frames, precision)
    found: dict[str, list[Point]] = {}
    estimates = [estimate_means(rows, ["dataset", "explainer", "head"]) for rows in (precision, sensitivity)]
    for name in precision["dataset"].unique():
        for method in methods:
            key = (name, method.explainer, method.head)
            if all(key in of_metric and np.isfinite(of_metric[key].mean) for of_metric in estimates):
                found.setdefault(name, []).append(Point(method, *(of_metric[key] for of_metric in estimates)))
    return found


def precision_sensitivity(frames: Frames) -> Iterator[Drawing]:
    """Draws precision against sensitivity with 95 % intervals; post-hoc methods are numbered."""
    points = precision_and_sensitivity(frames)
    if not points:
        return
    figure, axes = panels(len(points), 2.5, "activation precision ↑", "activation sensitivity ↑")
    drawn = {point.method for of_dataset in points.values() for point in of_dataset}
    methods = [method for method in methods_in(frames, compared_rows(frames, _X)) if method in drawn]
    numbers = {method: str(number) for number, method in enumerate(of_family(methods, "post-hoc"), start=1)}
    for axis, (name, of_dataset) in zip(axes, points.items(), strict=True):
        _panel(axis, of_dataset, frames.record.datasets[name].prevalence)
        axis.set_title(f"{figure_text(name)} (n = {max(point.precision.n for point in of_dataset)})")
    legend_below(figure, _handles(methods, numbers))
    figure.draw_without_rendering()  # numbers are placed in points, so the panels must have their size
    for axis, of_dataset in zip(axes, points.values(), strict=True):
        _number(axis, of_dataset, numbers)
    caption = "Share of a map's positive evidence inside the lesion against the mean evidence inside it."
    reading = (
        "Precision is the share of positive evidence in the lesion; sensitivity is the mean evidence in it, scaled "
        "to [0, 1] per map. Points are means over diseased images, bars are 95 % bootstrap intervals over groups. "
        "Better is towards the top right. Dotted: evenly spread evidence (the lesion's share of the image)."
    )
    notes = [averaging_note(frames, methods), masks_note(frames, points)]
    yield Drawing("precision_sensitivity", figure, caption, " ".join([reading, *filter(None, notes)]))


def _panel(axis: Axes, points: list[Point], prevalence: float | None) -> None:
    for point in points:
        x, y, look = point.precision, point.sensitivity, point.method.look
        color = GREY if point.method.family == "post-hoc" else look.color
        bars: dict[str, Any] = {"color": color, "linewidth": 0.7, "alpha": 0.45, "zorder": 2}
        axis.plot([x.low, x.high], [y.mean, y.mean], **bars)
        axis.plot([x.mean, x.mean], [y.low, y.high], **bars)
        axis.plot(x.mean, y.mean, **_marker(point.method), zorder=5 if point.method.family == "inherent" else 3)
    if prevalence is not None:
        axis.axvline(prevalence, **_CHANCE.line(), zorder=1)
    axis.set_xlim(-0.02, 1.03)  # a marker at 1 is whole
    axis.set_ylim(-0.02, 1.05)


def _marker(method: Method) -> dict[str, Any]:
    color = GREY if method.family == "post-hoc" else method.look.color
    style: dict[str, Any] = {
        "marker": method.look.marker,
        "color": color,
        "linestyle": "none",
        "markersize": _SIZES[method.family],
    }
    return style | ({"markeredgecolor": "white", "markeredgewidth": 0.6} if method.family == "inherent" else {})


def _handles(methods: list[Method], numbers: dict[Method, str]) -> dict[str, list[Line2D]]:
    def entry(method: Method) -> Line2D:
        style = _marker(method)
        if method in numbers:
            style |= {
                "marker": number_marker(numbers[method]),
                "markersize": 2.6 * len(numbers[method]) + 2,
                "markeredgewidth": 0.2,
                "color": BLACK,
            }
        return Line2D([], [], label=method.label, **style)

    groups = {family: [entry(method) for method in of_family(methods, family)] for family in _SIZES}
    groups["control"].append(Line2D([], [], label="chance: even spread", **_CHANCE.line()))
    return groups


def _number(axis: Axes, points: list[Point], numbers: dict[Method, str]) -> None:
    """Writes the number of each post-hoc method next to its point, with a hair line if it had to move away."""
    means = np.array([(point.precision.mean, point.sensitivity.mean) for point in points])
    places = axis.transData.transform(means) * 72 / axis.figure.dpi
    numbered = [index for index, point in enumerate(points) if point.method in numbers]
    inside = axis.get_window_extent().get_points() * 72 / axis.figure.dpi
    for index, offset in zip(numbered, place_labels(places, numbered, inside), strict=True):
        far = float(np.hypot(*offset)) > 8
        axis.annotate(
            numbers[points[index].method],
            tuple(means[index]),
            tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            zorder=6,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 1}
            if far
            else None,
        )


def place_labels(points: Floats, labelled: list[int], inside: Floats) -> list[Floats]:
    """Finds offsets for the labels of some points such that they cover neither points nor each other, if possible.

    Greedy: each label, from left to right, takes the nearest free place around its point.

    Args:
        points: (P,2) in points (1/72 inch).
        labelled: indices of the points that carry a label.
        inside: (2,2) lower left and upper right corner of the panel.

    Returns:
        One offset (2,) per label, in the order of ``labelled``.
    """
    taken: list[Floats] = []
    offsets: dict[int, Floats] = {}
    for index in sorted(labelled, key=lambda index: tuple(points[index])):
        centres = [points[index] + offset for offset in _OFFSETS]
        costs = [_cost(centre, points, taken, inside) for centre in centres]
        offsets[index] = _OFFSETS[int(np.argmin(costs))]
        taken.append(points[index] + offsets[index])
    return [offsets[index] for index in labelled]


def _cost(centre: Floats, points: Floats, taken: list[Floats], inside: Floats) -> int:
    """Counts the labels and points that a label here would cover; outside the panel is worst."""
    outside = (centre - _BOX / 2 < inside[0]).any() or (centre + _BOX / 2 > inside[1]).any()
    covered = (np.abs(points - centre) < _BOX / 2 + 2).all(axis=1).sum()
    overlaps = sum(bool((np.abs(other - centre) < _BOX).all()) for other in taken)
    return 100 * int(outside) + int(covered) + 2 * overlaps
