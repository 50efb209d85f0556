"""Rows that tables and figures compare: each inherent map on its own head, all others on the black box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pandas as pd

from bench.report.frames.load import Frames
from bench.report.frames.stored.reader import ABOUT
from bench.report.frames.stored.scores import Scores
from bench.store.scores import SCORE_COLUMNS

#: Rule that scores a patch, as a variant names it ("" = the default) -> words.
RULE_WORDS = {
    "": "mean of the positive part over the patch",
    "max": "maximum in the patch",
    "point": "one value at the centre of the patch",
    "sum": "sum of the signed values in the patch",
    "resize": "map resized to one cell per patch, as in the authors' code",
}


def compared_rows(frames: Frames, metric: str | None = None) -> pd.DataFrame:
    """Returns rows of the methods that the main tables compare, of one metric or of all; without rows, the columns."""
    rows = compared(frames).rows(None if metric is None else [metric])
    return rows if len(rows.columns) else pd.DataFrame(columns=[*SCORE_COLUMNS, *ABOUT])


def compared_curves(frames: Frames, metric: str, variant: str) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yields the methods that the main tables compare, and the steps of their curves.

    Yields:
        The names, and rows image, group, step, value and seed of all its seeds; no method without the curve.
    """
    cells_of: dict[tuple[str, ...], list[Any]] = {}
    for cell in compared(frames).methods.itertuples():
        names = (cell.dataset, cell.backbone, cell.head, cell.explainer, cell.family)
        cells_of.setdefault(tuple(map(str, names)), []).append(cell)
    for method, cells in cells_of.items():
        rows = pd.concat([frames.curve(cell, metric, variant) for cell in cells])
        if len(rows):
            yield method, rows
        del rows  # before the next ones are read


def topk_variants(frames: Frames) -> list[str]:
    """Returns the requested variants of the top-k precision, in their order; the default if none is recorded."""
    return [facts.variant for facts in frames.record.metrics if facts.name == "topk_precision"] or [""]


def no_positive_evidence(scores: pd.DataFrame) -> pd.DataFrame:
    """Turns rows of the share of positive cells into 1 if no cell of the map is positive, otherwise 0."""
    rows = scores[scores["metric"] == "positive_ratio"]
    return rows.assign(metric="no_positive_evidence", value=(rows["value"] == 0).where(rows["value"].notna()) * 1.0)


BLACK_BOX = "black box"


@lru_cache(maxsize=8)
def compared(frames: Frames) -> Scores:
    """Returns the comparison of the paper: inherent maps of their own models, the others on the black box.

    Post-hoc methods and controls come from the black box of each data set, or from the first head if it was not
    trained.
    """
    return compared_of(frames, frames.source)


def compared_of(frames: Frames, scores: Scores) -> Scores:
    """Returns the scores that belong to that comparison."""
    black_boxes = _reference_heads(frames, scores.methods)
    files, derived = (only_compared(frames, rows, black_boxes) for rows in (scores.files, scores.derived))
    return replace(scores, files=files, derived=derived)


Places = dict[tuple[str, str], str]


def only_compared(frames: Frames, rows: pd.DataFrame, heads: Places | None = None) -> pd.DataFrame:
    """Returns the rows of that comparison.

    Args:
        frames: the run.
        rows: with the columns of ``CELL``, explainer and family.
        heads: data set and backbone -> the head that other than inherent maps explain; by default, that of the rows.
            A place without scores has none.
    """
    if not len(rows):
        return rows
    heads = _reference_heads(frames, rows) if heads is None else heads
    reference = [heads.get(place) for place in zip(rows["dataset"], rows["backbone"], strict=True)]
    return rows[(rows["family"] == "inherent") | (rows["head"].astype(object) == pd.Series(reference, rows.index))]


def _reference_heads(frames: Frames, rows: pd.DataFrame) -> Places:
    """Returns data set and backbone -> the first head with rows, black boxes before others."""
    heads = list(frames.record.heads)
    preferred = sorted(heads, key=lambda name: frames.record.heads[name].family != BLACK_BOX)  # stable
    found: Places = {}
    known = rows[["dataset", "backbone", "head"]].drop_duplicates() if len(rows) else rows
    for dataset, backbone, head in known.itertuples(index=False, name=None):
        best = found.get((dataset, backbone), head)
        found[dataset, backbone] = min(best, head, key=preferred.index)
    return found


def row_order(frames: Frames) -> Callable[[tuple[Any, ...]], tuple[int, ...]]:
    """Returns the order of rows: data sets as planned; inherent, post-hoc, control; heads as planned."""
    families = ("inherent", "post-hoc", "control")
    datasets = list(frames.record.datasets)
    explainers, heads = frames.record.explainers, list(frames.record.heads)
    backbones = list(dict.fromkeys(frames.cells["backbone"]))

    def place(key: tuple[Any, ...]) -> tuple[int, ...]:
        dataset, backbone, explainer, head = key
        family = families.index(explainers[explainer].family)
        position = list(explainers).index(explainer)
        return datasets.index(dataset), backbones.index(backbone), family, heads.index(head), position

    return place
