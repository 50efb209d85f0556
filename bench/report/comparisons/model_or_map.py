"""Model or map: the gain of an inherent map, split into that of a better model and that of a better map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.comparisons.choices import printed
from bench.report.comparisons.verdicts import PRINTED, verdict_frame
from bench.report.figures.looks import head_look
from bench.report.figures.style import BLACK, Drawing, Look, by_backbone, legend_below, panels
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, levelled, main_metrics, pairs, possible, title
from bench.report.gaps import Missing
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.bootstrap.names import Names
from bench.statistics.bootstrap.paired import Method, Paired, shares
from bench.statistics.comparison import columns_of_each, difference
from bench.statistics.intervals import Floats
from bench.store.records import MetricFacts
from bench.text.media import figure_text

#: Corners of the square, in words: weights, map.
CORNERS = {
    "black_box_post_hoc": "black-box weights, post-hoc map",
    "black_box_own": "black-box weights, own evidence (converted)",
    "inherent_post_hoc": "inherent weights, post-hoc map",
    "inherent_own": "inherent weights, own evidence",
}
EFFECTS = ("total", "model", "map")
_CAPTION = "Model or map: gain of an inherent head's own map, split into what the model and what the map contribute."
_REMEDIES = {
    "black_box_own": "Add a head that converts the black box to --heads; existing results are reused.",
    "inherent_post_hoc": "Name the method in on_inherent of the config; existing results are reused.",
}


@dataclass(frozen=True)
class Square:
    """An inherent head with its own map, and a post-hoc method.

    Attributes:
        head: the inherent head.
        post_hoc: the method.
        corners: name from ``CORNERS`` -> method; only those that have scores.
    """

    head: str
    post_hoc: str
    corners: dict[str, Method]

    @property
    def missing(self) -> list[str]:
        """Corners without scores."""
        return [name for name in CORNERS if name not in self.corners]


@lru_cache(maxsize=2)
def model_or_map_frame(frames: Frames) -> pd.DataFrame:
    """Computes one row per data set, backbone, metric, head and post-hoc method.

    Columns: means of the corners, then total = model + map, each with ``<name>_low`` and ``<name>_high``; ``missing``;
    n images on which all corners are defined, and seeds.
    """
    found = []
    for metric in directed(frames):
        for dataset, backbone, paired in pairs(frames, metric):
            about = {"dataset": dataset, "backbone": backbone, "family": metric.family, "metric": title(metric)}
            squares = list(_squares(frames, paired))
            for square, parts in zip(squares, _decompositions(frames, metric, squares, paired), strict=True):
                found.append(about | {"head": square.head, "post_hoc": square.post_hoc} | parts)
    rows = pd.DataFrame(found)
    return rows[rows["n"] > 0].reset_index(drop=True) if len(rows) else rows


def _squares(frames: Frames, paired: Paired) -> Iterator[Square]:
    """Yields the squares of which at least three corners have scores, including the two on the diagonal."""
    heads, explainers = frames.record.heads, frames.record.explainers
    black_boxes = [name for name, facts in heads.items() if facts.family != "inherent"]
    trained = [name for name, facts in heads.items() if facts.family == "inherent" and not facts.converts]
    own = [name for name, facts in explainers.items() if facts.family == "inherent"]
    others = [name for name, facts in explainers.items() if facts.family == "post-hoc"]
    for black_box in black_boxes[:1]:
        converted = [name for name, facts in heads.items() if facts.converts == heads[black_box].base]
        for head, other in ((head, other) for head in trained for other in others):
            wanted = {
                "black_box_post_hoc": [(black_box, other)],
                "black_box_own": [(name, one) for name in converted for one in own],
                "inherent_post_hoc": [(head, other)],
                "inherent_own": [(head, one) for one in own],
            }
            present = {name: [one for one in methods if one in paired.methods] for name, methods in wanted.items()}
            corners = {name: methods[0] for name, methods in present.items() if methods}
            if len(corners) > 2 and {"black_box_post_hoc", "inherent_own"} <= set(corners):
                yield Square(head, other, corners)


def _decompositions(
    frames: Frames, metric: MetricFacts, squares: list[Square], paired: Paired
) -> Iterator[dict[str, Any]]:
    """Yields means of the corners and effects of each square, on the images with a score in all of its corners."""
    floors: list[str] = []

    def columns() -> Iterator[tuple[list[Floats], Names]]:
        for _, group in groupby(squares, lambda one: (one.head, tuple(one.corners))):  # on the same networks
            alike = list(group)
            corners = [one for of in alike for one in of.corners.values()]
            for some in paired.shares(corners, together=len(alike[0].corners)):
                scores, floor = levelled(frames, metric, paired, some)
                columns = scores.reshape(*scores.shape[:2], -1, len(alike[0].corners))
                floors.extend([floor] * columns.shape[2])
                yield shares(_columns(alike[0], columns)), paired.groups

    parts = columns_of_each(columns())
    means = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]} if parts else {}
    start = 0
    for square, floor in zip(squares, floors, strict=True):
        found: dict[str, Any] = {"floor": floor, "missing": ", ".join(CORNERS[name] for name in square.missing)}
        lowest, highest = possible(metric, floor)
        found |= {name: np.nan for corner in square.missing for name in (corner, f"{corner}_low", f"{corner}_high")}
        names = [*square.corners, *EFFECTS]
        own = slice(start, start + len(names))
        limits = [(lowest - highest, highest - lowest) if one in EFFECTS else (lowest, highest) for one in names]
        low, high = (np.clip(means[name][own], *np.transpose(limits)) for name in ("low", "high"))
        for name, *values in zip(names, means["difference"][own], low, high, strict=True):
            found |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
        yield found | {"n": means["n"][start], "seeds": means["seeds"][start]}
        start = own.stop


def _columns(square: Square, corners: Floats) -> Floats:
    """Corners (S,N,Q,3 or 4) of Q squares -> corners and effects (S,N,Q·C) of each, all nan if one of them is."""
    effects = decompose(dict(zip(square.corners, np.moveaxis(corners, -1, 0), strict=True)))
    columns = np.concatenate([corners, np.stack(effects, axis=-1)], axis=-1)
    columns[~np.isfinite(columns).all(axis=-1)] = np.nan
    return columns.reshape(*columns.shape[:2], -1)


def decompose(corners: dict[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """Splits the scores of three or four corners into total gain, part of the model and part of the map.

    The parts add up to the total. With all corners, each part is the mean over both orders in which model and map can
    be exchanged (its Shapley value); with three, there is one order.

    Source: Shapley 1953, doi:10.1515/9781400881970-018.
    """
    start, end = corners["black_box_post_hoc"], corners["inherent_own"]
    model = []
    if "inherent_post_hoc" in corners:
        model.append(difference(corners["inherent_post_hoc"], start))
    if "black_box_own" in corners:
        model.append(difference(end, corners["black_box_own"]))
    total, of_model = difference(end, start), np.mean(model, axis=0)
    return total, of_model, difference(total, of_model)


def model_or_map_tables(frames: Frames) -> dict[str, FrameTable]:
    """Returns the table ``model_or_map``, if the run has a square."""
    rows = model_or_map_frame(frames)
    return {"model_or_map": model_or_map_table(rows, verdict_frame(frames))} if len(rows) else {}


def missing_model_or_map(frames: Frames) -> Iterator[Missing]:
    """Yields the table as missing if the run has no square, otherwise the corners that some rows lack."""
    rows = model_or_map_frame(frames)
    if not len(rows):
        remedy = "It needs post-hoc methods on inherent heads (on_inherent) or a head that converts the black box."
        yield Missing("model_or_map", remedy)
        return
    for name, remedy in _REMEDIES.items():
        if share := rows[name].isna().mean():
            what = f"{CORNERS[name]} in {share:.0%} of the rows"
            yield Missing(f"model_or_map: {what}", remedy, below={"model_or_map": what})


def model_or_map_table(rows: pd.DataFrame, verdicts: pd.DataFrame) -> FrameTable:
    """Returns every square; the printed metrics are those of the verdicts."""
    reading = (
        "Gain of an inherent head's own map over a post-hoc map on the black box; total = model + map. Entries are "
        "means (groups weighted alike) with 95 % intervals. floor: if subtracted, scores are relative to random maps "
        "on the same network; if missing, they are raw. Corners: black-box and inherent weights, each with the "
        "post-hoc map and with own evidence (of the black box: its exact conversion). With all four corners, a part "
        f"is the mean over both orders of exchange; with three, there is only one order. {PRINTED}"
    )
    columns = {name: f"{name}_" for name in (*CORNERS, *EFFECTS)}
    shown = {name: prefix for name, prefix in columns.items() if rows[name].notna().any()}
    keys = ["dataset", "backbone", "metric", "head", "post_hoc", "floor"]
    table = frame_table(_CAPTION, printed(rows, verdicts), keys, shown, [])
    table.frame, table.reading = rows, reading
    return table


_BLACK_BOX = Look(BLACK, marker="x", width=1.5)
_PAIRS = {False: ("inherent_post_hoc", "inherent_own"), True: ("black_box_post_hoc", "black_box_own")}


def model_or_map(frames: Frames) -> Iterator[Drawing]:
    """Yields one figure per family and backbone, with the first post-hoc method that explains most models."""
    yield from by_backbone(model_or_map_frame(frames), lambda rows: _figures(frames, rows))


def _figures(frames: Frames, rows: pd.DataFrame) -> Iterator[Drawing]:
    fullest = rows.groupby("post_hoc", sort=False)["missing"].agg(lambda texts: (texts != "").mean())
    post_hoc = fullest.idxmin()
    for family, metric in main_metrics(frames).items():
        shown = rows[(rows["metric"] == title(metric)) & (rows["post_hoc"] == post_hoc)]
        if len(shown):
            yield _figure(frames, shown, family, str(post_hoc))


def _figure(frames: Frames, rows: pd.DataFrame, family: str, post_hoc: str) -> Drawing:
    datasets = list(dict.fromkeys(rows["dataset"]))
    metric = rows["metric"].iloc[0].replace("_", " ")
    figure, axes = panels(len(datasets), 1.9, "", metric, same_scale=False)
    heads = list(dict.fromkeys(rows["head"]))
    for axis, dataset in zip(axes, datasets, strict=True):
        part = rows[rows["dataset"] == dataset].to_dict("records")
        count = len(heads) + 1
        _line(axis, part[0], _BLACK_BOX, _PAIRS[True], shift=-0.06 * (count - 1) / 2)
        for row in part:
            place = heads.index(row["head"]) + 1
            _line(axis, row, head_look(frames.record, row["head"]), _PAIRS[False], 0.06 * (place - (count - 1) / 2))
        axis.set_xticks([0, 1], [post_hoc, "own evidence"])
        axis.set_xlim(-0.35, 1.35)
        axis.set_title(f"{figure_text(dataset)} (n = {max(row['n'] for row in part)})")
    looks = {"black box": _BLACK_BOX} | {head: head_look(frames.record, head) for head in heads}
    handles = [Line2D([], [], label=name, marker=look.marker, **look.line()) for name, look in looks.items()]
    legend_below(figure, {"": handles})
    caption = f"Scores in {metric} of {post_hoc} and of own evidence, on black-box and on inherent weights."
    reading = (
        "The distance between the lines is the model's part of the gain, and the slope along them is the map's part; "
        "bars are 95 % intervals. A black box shows own evidence only if its exact conversion was run."
    )
    return Drawing(f"model_or_map_{family}", figure, caption, reading)


def _line(axis: Axes, row: dict[Any, Any], look: Look, ends: tuple[str, str], shift: float) -> None:
    line = look.line() | {"linewidth": 1.1}
    places = [(at + shift, end) for at, end in enumerate(ends) if pd.notna(row[end])]
    axis.plot([x for x, _ in places], [row[end] for _, end in places], marker=look.marker, markersize=4, **line)
    for x, end in places:
        axis.plot([x, x], [row[f"{end}_low"], row[f"{end}_high"]], color=look.color, linewidth=0.9)
