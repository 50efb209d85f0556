"""Charts of curves: top-k precision, deletion and insertion, with bands and hover values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.report.figures.curve_figures import (
    DELETION,
    INSERTION,
    TOPK,
    Plot,
    best_post_hoc,
    distinct_looks,
    first_curves,
    variant_words,
    worded,
)
from bench.report.figures.looks import Method, averaging_note
from bench.report.frames.curves import Curve
from bench.report.frames.load import Frames
from bench.report.page.charts.chart import Chart, Panel, axis, distinct, hover, legend_entry, stem_of, title_of
from bench.text.media import figure_text

_TABLES = {TOPK.metric: "localisation", DELETION.metric: "faithfulness", INSERTION.metric: "faithfulness"}
_TITLES = {TOPK.metric: "Top-k precision", DELETION.metric: "Deletion", INSERTION.metric: "Insertion"}
_SHOWN_CONTROLS = ("floor", "ceiling", "grid ceiling")
_READ = " Bands: 95 % intervals of the inherent methods. Select names in the legend to show or hide methods."


def curve_charts(frames: Frames, backbone: str) -> Iterator[Chart]:
    """Yields the charts of one backbone.

    Args:
        frames: of one backbone.
        backbone: its name, for titles and the names of figures; empty if there is only one.
    """
    for plot in (TOPK, worded(DELETION, frames), worded(INSERTION, frames)):
        variant, curves = first_curves(frames, plot)
        if curves:
            yield _chart(frames, plot, variant, curves, backbone)


def _chart(frames: Frames, plot: Plot, variant: str, curves: dict[str, dict[Method, Curve]], backbone: str) -> Chart:
    looks = distinct_looks(best_post_hoc(curves, plot.better))
    methods = list(dict.fromkeys(method for of_dataset in curves.values() for method in of_dataset))
    roles = {name: facts.role for name, facts in frames.record.explainers.items()}
    legend = distinct(legend_entry(one, looks.get(one, one.look), _is_shown(one, looks, roles)) for one in methods)
    count = len(next(iter(next(iter(curves.values())).values())).mean)
    panels = [
        Panel(
            f"{figure_text(name)} (n = {max(curve.n for curve in of_dataset.values())})",
            _values(plot, of_dataset),
            _chance(frames, plot, name),
        )
        for name, of_dataset in curves.items()
    ]
    reading = plot.reading.format(variant=variant_words(plot, variant)) + _READ
    return Chart(
        name=stem_of(plot.stem, backbone),
        title=title_of(_TITLES[plot.metric], backbone),
        caption=plot.caption,
        reading=" ".join(filter(None, [reading, averaging_note(frames, methods)])),
        figures=[stem_of(plot.stem, backbone)],
        table=_TABLES[plot.metric],
        spec=_spec(plot, count),
        panels=panels,
        legend=legend,
    )


def _is_shown(method: Method, looks: dict[Method, Any], roles: dict[str, str]) -> bool:
    """Shows the inherent methods, the best post-hoc methods, and floor and ceiling at first."""
    if method.family == "control":
        return roles[method.explainer] in _SHOWN_CONTROLS
    return method.family == "inherent" or method in looks


def _values(plot: Plot, curves: dict[Method, Curve]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in ("method", "family", "x", "mean", "low", "high")}
    for method, curve in curves.items():
        x = plot.steps(len(curve.mean))
        found["method"] += [method.label] * len(x)
        found["family"] += [method.family] * len(x)
        for name, column in (("x", x), ("mean", curve.mean), ("low", curve.low), ("high", curve.high)):
            found[name] += list(column)
    return found


def _chance(frames: Frames, plot: Plot, dataset: str) -> list[tuple[str, float, str]]:
    chance = frames.record.datasets[dataset].topk_chance
    return [("y", chance, "chance: random patches")] if plot is TOPK and chance is not None else []


def _spec(plot: Plot, count: int) -> dict[str, Any]:
    x_title, y_title = plot.x.format(steps=count - 1), plot.y
    band = {
        "transform": [{"filter": "datum.family === 'inherent' && isValid(datum.low)"}],
        "mark": {"type": "area", "opacity": 0.15},
        "encoding": {"y": axis("low", y_title, zero=True), "y2": {"field": "high"}},
    }
    line = {"mark": {"type": "line"}, "encoding": {"y": axis("mean", y_title, zero=True)}}
    values = {"mean": "mean", "low": "95 % from", "high": "to"}
    if plot is TOPK:
        shown = hover({"method": "method", "x": "k"}, values)
    else:
        shown = hover({"method": "method"}, {"x": "share of steps"} | values)
    near = {"select": {"type": "point", "on": "pointerover", "nearest": True, "clear": "pointerout"}}
    points = {
        "params": [{"name": "near", **near}],
        "mark": {"type": "point", "filled": True, "size": 55},
        "encoding": {
            "y": axis("mean", y_title, zero=True),
            "opacity": {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0},
            "strokeDash": {"value": [1, 0]},
            "tooltip": shown,
        },
    }
    x = axis("x", x_title) | {"scale": {"zero": False, "nice": False}}
    return {"encoding": {"x": x}, "layer": [band, line, points]}
