"""Win matrix: wins and losses of each head against each post-hoc method, with one panel per family of metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from bench.report.comparisons.choices import leading
from bench.report.comparisons.opponents import CONTROLS
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.figures.style import STRONG, WIDTH, Drawing
from bench.report.frames.load import Frames
from bench.statistics.comparison import BETTER, TOO_FEW, WORSE

_COLORS = LinearSegmentedColormap.from_list("verdicts", [STRONG[0], "#FFFFFF", STRONG[1]])


def wins(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts the data sets (and backbones) per head and post-hoc method: better, worse, all.

    ``all`` counts the comparisons that had enough images to be decided.
    """
    parts = {
        "better": rows["verdict"] == BETTER,
        "worse": rows["verdict"] == WORSE,
        "all": rows["verdict"] != TOO_FEW,
    }
    counts = rows[["method", "against"]].assign(**parts)
    return counts.groupby(["method", "against"], sort=False).sum().reset_index()


def win_matrix(frames: Frames) -> Iterator[Drawing]:
    """Yields one figure: data sets on which each head is better : worse than each post-hoc method, per family."""
    yield from draw_wins(verdict_frame(frames))


def draw_wins(verdicts: pd.DataFrame) -> Iterator[Drawing]:
    """Draws the leading metric of each family; nothing without verdicts."""
    rows = leading(verdicts) if len(verdicts) else verdicts
    rows = rows[rows["question"] != CONTROLS] if len(rows) else rows
    if not len(rows):
        return
    families = list(dict.fromkeys(rows["family"]))
    methods, others = (list(dict.fromkeys(rows[column])) for column in ("method", "against"))
    height = len(families) * (0.24 * len(methods) + 0.3) + 1.2
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(families), 1, squeeze=False, sharex=True).ravel()
    for axis, family in zip(axes, families, strict=True):
        part = rows[rows["family"] == family]
        _panel(axis, wins(part), methods, others)
        axis.set_title(_title(family, part), loc="left")
    axes[-1].set_xticks(range(len(others)), others, rotation=45, ha="right", rotation_mode="anchor")
    figure.suptitle("wins : losses of each head (rows) against each post-hoc method, in data sets", x=0.01, ha="left")
    caption = "Data sets on which a head's own maps are better : worse (wins : losses) than a post-hoc method."
    reading = (
        "The metric is the first of each family that has enough images on a data set and does not fail on maps of "
        "known quality; better and worse are those of the table verdicts. Blue: better more often. Red: worse more "
        "often. A dot: neither on any data set. Empty: too few images, or the method cannot be compared in that "
        "metric."
    )
    yield Drawing("win_matrix", figure, caption, reading)


def _title(family: str, rows: pd.DataFrame) -> str:
    """Returns family and metrics, with the data sets on which they lead."""
    where: dict[str, list[str]] = {}
    for row in rows.drop_duplicates(["dataset", "metric"]).to_dict("records"):
        where.setdefault(row["metric"].replace("_", " "), []).append(row["dataset"])
    if len(where) == 1:
        ((metric, names),) = where.items()
        return f"{family}: {metric} ({len(names)} data set{'s' if len(names) > 1 else ''})"
    named = [f"{metric} ({', '.join(names)})" for metric, names in where.items()]
    return f"{family}: {'; '.join(named)}"


def _panel(axis: Axes, counts: pd.DataFrame, methods: list[str], others: list[str]) -> None:
    balance = np.full((len(methods), len(others)), np.nan)
    for row in counts.to_dict("records"):
        place = methods.index(row["method"]), others.index(row["against"])
        if row["all"]:
            balance[place] = (row["better"] - row["worse"]) / row["all"]
            decided = row["better"] + row["worse"]
            text = f"{row['better']}:{row['worse']}" if decided else "·"
            color = "white" if abs(balance[place]) > 0.6 else "black"
            axis.text(place[1], place[0], text, ha="center", va="center", color=color)
    axis.imshow(balance, cmap=_COLORS, vmin=-1, vmax=1, aspect="auto")
    axis.set_yticks(range(len(methods)), methods)
    axis.set_xticks(np.arange(len(others) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(methods) + 1) - 0.5, minor=True)
    axis.grid(visible=False, which="major")
    axis.grid(visible=True, which="minor", color="#E6E6E6", linewidth=0.5)
    axis.tick_params(which="both", length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
