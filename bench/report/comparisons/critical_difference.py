"""Critical differences: mean ranks of the methods over data sets, with one diagram per main metric."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.style import BLACK, GREY, STRONG, WIDTH, Drawing
from bench.report.frames.load import Frames
from bench.report.frames.paired import label, levelled, main_metrics, own_maps, pairs, post_hoc, title
from bench.report.frames.settings import is_identified
from bench.report.gaps import Missing
from bench.report.tables.table import FrameTable, frame_table
from bench.report.tables.writers import number
from bench.statistics.comparison import ALPHA, means
from bench.statistics.friedman import FEWEST_BLOCKS, FEWEST_METHODS, alike, friedman
from bench.store.records import MetricFacts

_LINE = 0.17  # inches per method
_CAPTION = "Mean rank of each method over data sets, with Nemenyi's critical difference."


def block_means(frames: Frames, metric: MetricFacts) -> pd.DataFrame:
    """Averages seeds and images: (blocks, methods) from the better direction; a block is a data set on a backbone.

    Methods are inherent maps on their own heads and post-hoc maps of black boxes that have a score in every block.
    Columns are pairs of the name of a method and True for a head's own map.
    """
    found = {}
    for dataset, backbone, paired in pairs(frames, metric):
        own = own_maps(frames, paired.methods)
        methods = [*own, *post_hoc(frames, paired.methods)]
        # without methods, only controls were scored
        if not methods or not is_identified(frames, metric, dataset):
            continue
        shares = (levelled(frames, metric, paired, some, methods)[0] for some in paired.shares(methods))
        names = [(label(frames, one), one in own) for one in methods]
        found[dataset, backbone] = pd.Series(
            np.concatenate([*map(means, shares)]), pd.MultiIndex.from_tuples(names), dtype=float
        )
    blocks = pd.DataFrame(found).T.dropna(axis="index", how="all").dropna(axis="columns")
    return blocks if metric.higher_is_better else -blocks


@lru_cache(maxsize=2)
def critical_difference_frame(frames: Frames) -> pd.DataFrame:
    """Computes one row per main metric and method, best first: mean_rank, n, critical_difference and Friedman's p.

    Metrics with fewer than ``FEWEST_BLOCKS`` blocks or ``FEWEST_METHODS`` methods are left out.
    """
    found = []
    for family, metric in main_metrics(frames).items():
        blocks = block_means(frames, metric)
        if len(blocks) >= FEWEST_BLOCKS and blocks.shape[1] >= FEWEST_METHODS:
            result = friedman(blocks.to_numpy())
            rows = pd.DataFrame(list(blocks.columns), columns=["method", "own"]).assign(mean_rank=result.mean_ranks)
            about: dict[str, Any] = {
                "family": family,
                "metric": title(metric),
                "n": len(blocks),
                "methods": blocks.shape[1],
            }
            rows = rows.assign(**about, critical_difference=result.critical_difference, p=result.p)
            found.append(rows.sort_values("mean_rank", kind="stable"))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def missing_critical_difference(frames: Frames) -> Iterator[Missing]:
    """Yields the table as missing if the run has too few blocks."""
    blocks = len(frames.cells[["dataset", "backbone"]].drop_duplicates())
    if blocks < FEWEST_BLOCKS:
        needs = f"It needs {FEWEST_BLOCKS} pairs of data set and backbone, and this run has {blocks}"
        yield Missing("critical_difference", f"{needs}: name more under --datasets or --backbones.")


def critical_difference_tables(frames: Frames) -> dict[str, FrameTable]:
    """Returns the table ``critical_difference``, if the run has enough blocks."""
    ranks = critical_difference_frame(frames)
    return {"critical_difference": critical_difference_table(ranks)} if len(ranks) else {}


def critical_difference_table(ranks: pd.DataFrame) -> FrameTable:
    """Returns every mean rank."""
    reading = (
        "A block is a data set on a backbone; n counts blocks. Scores are means over images and seeds, relative to "
        "random maps on the same network if this sets the level. Methods are those with a score in every block; rank "
        "1 is the best, and ties share their mean rank. p is that of Friedman's test: if it is below 0.05, two "
        "methods differ if their mean ranks differ by Nemenyi's critical difference at 0.05 (Demšar 2006, JMLR "
        "7:1-30). The tests treat blocks as independent, which backbones on one data set are not quite. At least "
        f"{FEWEST_BLOCKS} blocks are needed (our limit); p is approximate below 11 blocks or 6 methods (Demšar's "
        "rule of thumb)."
    )
    shown = ranks.rename(columns=lambda name: name.replace("_", " "))
    table = frame_table(_CAPTION, shown, ["metric", "method"], {}, ["mean rank", "critical difference", "p"])
    table.frame, table.reading = ranks, reading
    return table


def critical_difference_diagrams(frames: Frames) -> Iterator[Drawing]:
    """Yields one figure with a panel per main metric that has enough blocks."""
    ranks = critical_difference_frame(frames)
    if not len(ranks):
        return
    panels = [(str(name), rows) for name, rows in ranks.groupby("metric", sort=False)]
    heights = [0.75 + _LINE * ((len(rows) + 1) // 2) + 0.09 * len(_bars(rows)) for _, rows in panels]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights).ravel()
    for axis, (name, rows) in zip(axes, panels, strict=True):
        _panel(axis, rows)
        p = rows["p"].iloc[0]
        said = "p < 0.001" if p < 0.001 else f"p = {number(p)}"
        axis.set_title(f"{name.replace('_', ' ')} (Friedman {said}, {rows['n'].iloc[0]} blocks)", loc="left")
    reading = (
        "The best methods are on the left. CD: Nemenyi's critical difference at 0.05. A bar joins methods that are not "
        "shown to differ; these are all methods if p of Friedman's test is 0.05 or more (Demšar 2006, JMLR 7:1-30). "
        "Inherent heads' own maps are in colour."
    )
    yield Drawing("critical_difference", figure, _CAPTION, reading)


def _bars(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Returns first and last mean rank of the methods that are not shown to differ."""
    ranks = rows["mean_rank"].to_numpy()
    shown = rows["p"].iloc[0] < ALPHA
    return alike(ranks, rows["critical_difference"].iloc[0] if shown else np.inf)


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    """Draws ranks on a line at height 0, names below it left and right, and bars in between; a unit is one line."""
    count, bars = len(rows), _bars(rows)
    difference = rows["critical_difference"].iloc[0]
    axis.plot([1, count], [0, 0], color=BLACK, linewidth=0.8)
    for rank in range(1, count + 1):
        axis.plot([rank, rank], [0, 0.3], color=BLACK, linewidth=0.8)
        axis.text(rank, 0.45, f"{rank}", ha="center", va="bottom")
    axis.plot([1, 1 + difference], [2.2, 2.2], color=BLACK, linewidth=1.2, marker="|", markersize=4)
    axis.text(1 + difference / 2, 2.4, f"CD = {difference:.2f}", ha="center", va="bottom")
    for place, (first, last) in enumerate(bars):
        height = -0.5 * (place + 1)
        axis.plot([first - 0.04, last + 0.04], [height, height], color=GREY, linewidth=2.4)
    start, half, margin = -0.5 * len(bars) - 0.9, (count + 1) // 2, 0.03 * count
    for place, row in enumerate(rows.to_dict("records")):
        left = place < half
        depth = start - (place if left else count - 1 - place)
        edge, side = (1 - margin, "right") if left else (count + margin, "left")
        color = STRONG[1] if row["own"] else BLACK
        axis.plot([row["mean_rank"]] * 2 + [edge], [0, depth, depth], color=color, linewidth=0.7)
        name = f"{row['method']} ({row['mean_rank']:.2f})"
        axis.text(edge + (-0.1 if left else 0.1), depth, name, ha=side, va="center", color=color)
    room = 0.45 * count
    axis.set(xlim=(1 - room, count + room), ylim=(start - half, 4))
    axis.axis("off")
