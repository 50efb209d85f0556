"""Figure: what a head loses in classification against what its maps gain; heads that differ in λ form a path."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.frames import Frames
from bench.report.masks import masks_note
from bench.report.methods import head_look
from bench.report.paired import main_metrics, title
from bench.report.price import MARGIN
from bench.report.style import GREY, LIGHT, Drawing, legend_below, panels


def pareto(frames: Frames, prices: pd.DataFrame) -> Iterator[Drawing]:
    """AUC lost against localisation gained over the best post-hoc method, both with intervals."""
    if "gain_localisation" not in prices:
        return
    rows = prices[np.isfinite(prices["gain_localisation"]) & np.isfinite(prices["auc"])]
    if not len(rows):
        return
    datasets = list(dict.fromkeys(rows["dataset"]))
    metric = title(main_metrics(frames)["localisation"]).replace("_", " ")
    figure, axes = panels(len(datasets), 2.3, "AUC lost against the black box", f"gain in {metric}", same_scale=False)
    for axis, dataset in zip(axes, datasets, strict=True):
        axis.axhline(0, color=GREY, linewidth=0.7, zorder=1)
        axis.axvline(0, color=GREY, linewidth=0.7, zorder=1)
        axis.axvline(MARGIN, color=LIGHT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        _panel(axis, frames, rows[rows["dataset"] == dataset])
        axis.set_title(dataset)
    heads = list(dict.fromkeys(rows["head"]))
    lines = [Line2D([], [], label=head, **_marker(frames, head)) for head in heads]
    margin = Line2D([], [], label=f"margin {MARGIN}", color=LIGHT, linestyle=(0, (4, 2)))
    legend_below(figure, {"": [*lines, margin]})
    caption = (
        f"Price against gain, with 95 % intervals: AUC of the black box minus the head's on the same test images, and "
        f"{metric} of the head's own maps minus that of the post-hoc method that is best on the data set. Better is "
        "towards the top left; lines join heads that differ only in their parameters, from weak to strong."
    )
    yield Drawing("price_pareto", figure, f"{caption} {masks_note(frames, datasets)}".strip())


def _panel(axis: Axes, frames: Frames, rows: pd.DataFrame) -> None:
    places = {}
    for row in rows.to_dict("records"):
        x, y = -row["auc"], row["gain_localisation"]
        bars: dict[str, Any] = {"color": _marker(frames, row["head"])["color"], "linewidth": 0.8, "alpha": 0.6}
        axis.plot([-row["auc_low"], -row["auc_high"]], [y, y], **bars)
        axis.plot([x, x], [row["gain_localisation_low"], row["gain_localisation_high"]], **bars)
        axis.plot(x, y, **_marker(frames, row["head"]), zorder=4)
        places[row["head"]] = (x, y)
    for first, second in _steps(frames, rows):
        axis.annotate(
            "", places[second], places[first], arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8}
        )


def _marker(frames: Frames, head: str) -> dict[str, Any]:
    look = head_look(frames.record, head)
    hollow = {"markerfacecolor": "none", "markeredgewidth": 1.3}  # heads may coincide
    return {"marker": look.marker, "color": look.color, "linestyle": "none", "markersize": 5.5} | hollow


def _steps(frames: Frames, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Neighbours on the paths: heads of one registered name in the order of their numeric parameters."""
    cells = frames.cells[frames.cells["dataset"].isin(rows["dataset"]) & frames.cells["head"].isin(rows["head"])]
    paths: dict[str, dict[str, tuple[float, ...]]] = {}
    for head, record in zip(cells["head"], cells["record"], strict=True):
        parameters = record.get("parameters")
        if isinstance(parameters, dict):
            numbers = tuple(float(value) for value in parameters.values() if isinstance(value, int | float))
            paths.setdefault(record.get("base", head), {})[head] = numbers
    return [step for path in paths.values() for step in pairwise(sorted(path, key=lambda head: path[head]))]
