"""Charts of points: precision against sensitivity, and the accuracy that an inherent model costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report.comparisons.price import MARGIN, price_frame
from bench.report.figures.looks import head_look
from bench.report.figures.scatter import Point, precision_and_sensitivity
from bench.report.frames.load import Frames
from bench.report.frames.paired import main_metrics, title
from bench.report.page.charts.chart import (
    Chart,
    Panel,
    axis,
    by_columns,
    distinct,
    hover,
    legend_entry,
    stem_of,
    title_of,
)
from bench.text.media import figure_text

_PLACES = ("x", "x_low", "x_high", "y", "y_low", "y_high")
_LARGE, _SMALL = 130, 60  # square pixels
_SHAPES = {"domain": ["inherent", "post-hoc", "control"], "range": ["circle", "square", "triangle-up"]}


def scatter_charts(frames: Frames, backbone: str) -> Iterator[Chart]:
    """Yields activation precision against sensitivity of one backbone; see ``curve_charts``."""
    points = precision_and_sensitivity(frames)
    if not points:
        return
    methods = list(dict.fromkeys(point.method for of_dataset in points.values() for point in of_dataset))
    panels = []
    for name, of_dataset in points.items():
        prevalence = frames.record.datasets[name].prevalence
        lines = [("x", prevalence, "chance: even spread")] if prevalence is not None else []
        count = max(point.precision.n for point in of_dataset)
        panels.append(Panel(f"{figure_text(name)} (n = {count})", by_columns(map(_point, of_dataset)), lines))
    yield Chart(
        name=stem_of("precision_sensitivity", backbone),
        title=title_of("Precision against sensitivity", backbone),
        caption="Share of a map's positive evidence inside the lesion against the mean evidence inside it.",
        reading="Either alone rewards sparse or saturated maps, so the best place is the top right. Bars are 95 % "
        "intervals over groups. Circles: inherent. Squares: post-hoc. Triangles: controls.",
        figures=[stem_of("precision_sensitivity", backbone)],
        table="localisation",
        spec=_crosses("activation precision ↑", "activation sensitivity ↑"),
        panels=panels,
        legend=distinct(legend_entry(one, one.look) for one in methods),
    )


def _point(point: Point) -> dict[str, Any]:
    x, y = point.precision, point.sensitivity
    names = {"method": point.method.label, "family": point.method.family}
    return names | _cross(x.mean, x.low, x.high, y.mean, y.low, y.high)


def _cross(*places: float) -> dict[str, float]:
    return dict(zip(_PLACES, places, strict=True))


def _crosses(x_title: str, y_title: str) -> dict[str, Any]:
    """Returns points with their intervals in both directions."""
    x, y = axis("x", x_title), axis("y", y_title)
    bars = {"type": "rule", "opacity": 0.5}
    ends = ("95 % from", "to")
    numbers = dict(zip(_PLACES, (x_title, *ends, y_title, *ends), strict=True))
    shown = hover({"method": "method"}, numbers)
    shapes = {"field": "family", "type": "nominal", "legend": None, "scale": _SHAPES}
    size = {"condition": {"test": "datum.family === 'inherent'", "value": _LARGE}, "value": _SMALL}
    return {
        "encoding": {},
        "layer": [
            {"mark": bars, "encoding": {"x": axis("x_low", x_title), "x2": {"field": "x_high"}, "y": y}},
            {"mark": bars, "encoding": {"x": x, "y": axis("y_low", y_title), "y2": {"field": "y_high"}}},
            {
                "mark": {"type": "point", "filled": True, "opacity": 0.95},
                "encoding": {"x": x, "y": y, "shape": shapes, "size": size, "tooltip": shown},
            },
        ],
    }


def price_charts(frames: Frames) -> Iterator[Chart]:
    """Yields AUC lost against localisation gained, of each inherent head, on all backbones."""
    prices = price_frame(frames)
    if "gain_localisation" not in prices:
        return
    rows = prices[np.isfinite(prices["gain_localisation"]) & np.isfinite(prices["auc"])]
    if not len(rows):
        return
    metric = title(main_metrics(frames)["localisation"]).replace("_", " ")
    several = prices["backbone"].nunique() > 1
    panels = [
        Panel(
            title_of(figure_text(str(dataset)), str(backbone) if several else ""),
            by_columns(map(_priced, part.to_dict("records"))),
            [("x", 0.0, "no AUC lost"), ("x", MARGIN, f"margin of {MARGIN}"), ("y", 0.0, "no gain")],
        )
        for (dataset, backbone), part in rows.groupby(["dataset", "backbone"], sort=False)
    ]
    yield Chart(
        name="price_pareto",
        title="Price",
        caption=f"AUC lost against the black box, and gain in {metric} over the best post-hoc method.",
        reading="Bars are 95 % intervals. Better is towards the top left: more gained, less lost. Left of the dashed "
        "margin, a head loses no AUC that matters.",
        figures=_stems("price_pareto", rows),
        table="price",
        spec=_crosses("AUC lost ↓", f"gain in {metric} ↑"),
        panels=panels,
        legend=[head_entry(frames, head) for head in dict.fromkeys(rows["head"])],
    )


def _stems(stem: str, rows: pd.DataFrame) -> list[str]:
    backbones = list(rows["backbone"].unique())
    return [stem_of(stem, name if len(backbones) > 1 else "") for name in backbones]


def _priced(row: dict[Any, Any]) -> dict[str, Any]:
    names = {"method": row["head"], "family": "inherent"}
    lost = (-row["auc"], -row["auc_high"], -row["auc_low"])
    gain = "gain_localisation"
    return names | _cross(*lost, row[gain], row[f"{gain}_low"], row[f"{gain}_high"])


def head_entry(frames: Frames, head: str) -> dict[str, Any]:
    """Returns the entry of a head in the legend."""
    look = head_look(frames.record, head)
    return {"name": head, "color": look.color, "dash": [1, 0], "width": 1, "group": "inherent", "shown": True}
