"""Sparsity of the evidence of each head, and the search that chose the weight of its penalty.

A comparison of a sparse with a dense head says something about sparsity only if the evidence is sparser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bench.report.figures.panels import handle, strong_look
from bench.report.figures.style import BLACK, GREY, Drawing, Look, legend_below, log_axis, panels
from bench.report.frames.load import Frames
from bench.report.frames.settings import PENALTIES
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate
from bench.store.cell_facts import PenaltySearch
from bench.store.records import CellRecord
from bench.text.media import figure_text

SPARSER = 2.0  # times the dense head's share: below, a head with a penalty is not called sparse
_SCORES = {"auc": "validation AUC", "balanced_accuracy": "validation balanced accuracy", "near_zero": "near-zero share"}
_FOLDS = "With cross-validation, near zero is a mean over folds; λ and its search are of the fold with the median λ."
_COLUMNS = ("near_zero", "times_dense", "validation_auc", "validation_balanced_accuracy", "dense_auc", "dense_balanced")


def sparsity(frames: Frames) -> TableData:
    """Computes the share of near-zero evidence of every head with evidence, with its λ and the search for it."""
    caption = "Share of the class evidence that is near zero, by head."
    reading = (
        "Near zero: absolute evidence below 1 % of the largest of the image, over all classes and cells; mean over the "
        "test images. Times dense: relative to the head of the same method and seed without a penalty. λ marked as "
        "searched was chosen on the validation images without any mask: the largest whose AUC and balanced accuracy "
        "are at most the margin below the dense head's, which are in the last two columns."
    )
    if frames.folds:
        reading += f" {_FOLDS}"
    keys = ["dataset", "backbone", "head", "seed", "lambda", "searched"]
    table = TableData(caption, keys, [Column(name, None, ranked=False) for name in _COLUMNS], reading=reading)
    cells = _finished(frames)
    for cell in cells:
        record: CellRecord = cell.record
        if record.near_zero is None or frames.record.heads[cell.head].converts:
            continue
        dense = _dense_share(frames, cells, cell)
        table.rows.append(_row(cell, record, dense))
        table.competes.append(False)
        if (note := _note(cell, record, dense)) is not None:
            table.notes.append(note)
    if not any(_penalties(cell.record) for cell in cells):
        table.rows.clear()
        table.competes.clear()
    return table


def penalty_search(frames: Frames) -> Iterator[Drawing]:
    """Draws validation AUC, balanced accuracy and near-zero share against the λ of each search."""
    found = [(cell, cell.record.penalty_search) for cell in _finished(frames) if cell.record.penalty_search]
    if not found:
        return
    figure, axes = panels(len(found), 1.9, "λ (first searched parameter)", "share")
    looks = {name: strong_look(place) for place, name in enumerate(_SCORES)}
    for axis, (cell, search) in zip(axes, found, strict=True):
        _curve(axis, search, looks)
        axis.set_title(f"{figure_text(cell.dataset)} · {cell.head} · seed {cell.seed}", fontsize=8)
    legend_below(figure, {"score": [handle(looks[name], text) for name, text in _SCORES.items()]})
    caption = "Search for the weight λ of a penalty, on the validation images and without masks."
    reading = (
        "Horizontal dots: the dense head. Vertical dots: the chosen λ, the largest whose AUC and balanced accuracy "
        "are at most the margin below the dense head's. Each λ continues the training from the one before it."
        f"{f' {_FOLDS}' if frames.folds else ''}"
    )
    yield Drawing("penalty_search", figure, caption, reading)


def _curve(axis: Axes, search: PenaltySearch, looks: dict[str, Look]) -> None:
    name = search.parameters[0]
    weights = [step.weights[name] for step in search.steps]
    for score, look in looks.items():
        axis.plot(
            weights, [getattr(step, score) for step in search.steps], marker=look.marker, markersize=3, **look.line()
        )
        axis.axhline(getattr(search.reference, score), color=look.color, linewidth=0.8, linestyle=(0, (1, 1.5)))
    axis.axvline(weights[search.chosen], color=BLACK, linewidth=0.9, linestyle=(0, (1, 1.5)))
    place = (weights[search.chosen], 0.5)  # between the scores and the share
    axis.annotate(f"{name} = {place[0]:g}", place, (4, 0), textcoords="offset points", color=GREY, fontsize=7)
    log_axis(axis)
    axis.set_ylim(0, 1.02)


def _row(cell: Any, record: CellRecord, dense: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"dataset": cell.dataset, "backbone": cell.backbone, "head": cell.head, "seed": cell.seed}
    penalties = _penalties(record)
    row["lambda"] = ", ".join(f"{name} {value:g}" for name, value in penalties.items()) or "0"
    row["searched"] = "yes" if record.penalty_search else ""
    values = {"near_zero": record.near_zero, "times_dense": _times(record, dense) if penalties else None}
    if search := record.penalty_search:
        chosen, reference = search.steps[search.chosen], search.reference
        values |= {"validation_auc": chosen.auc, "validation_balanced_accuracy": chosen.balanced_accuracy}
        values |= {"dense_auc": reference.auc, "dense_balanced": reference.balanced_accuracy}
    return row | {name: Estimate(value, np.nan, np.nan, 0) for name, value in values.items() if value is not None}


def _note(cell: Any, record: CellRecord, dense: float | None) -> str | None:
    """Returns a sentence about a head with a penalty that is not sparse, or whose search failed; None otherwise."""
    place = f"{figure_text(cell.dataset)} · {cell.backbone} · {cell.head} · seed {cell.seed}"
    times, search = _times(record, dense), record.penalty_search
    why = f" Search: {search.reason}." if search else ""
    if _penalties(record) and times is not None and times < SPARSER:
        return (
            f"{place}: not sparse. {record.near_zero:.1%} of its evidence is near zero, {times:.2f} times the "
            f"{dense:.1%} of the dense head (less than {SPARSER:g} times), so a comparison with the dense head says "
            f"little about sparsity.{why}"
        )
    if search and not search.steps[search.chosen].within:
        return f"{place}:{why}"
    return None


def _times(record: CellRecord, dense: float | None) -> float | None:
    return record.near_zero / dense if record.near_zero is not None and dense else None


def _penalties(record: CellRecord) -> dict[str, float]:
    parameters = record.parameters or {}
    return {name: parameters[name] for name in PENALTIES if parameters.get(name)}


def _finished(frames: Frames) -> list[Any]:
    """Returns the finished cells, with the columns of ``frames.cells`` as attributes."""
    return list(frames.cells[frames.cells["status"] == "ok"].itertuples())


def _dense_share(frames: Frames, cells: list[Any], cell: Any) -> float | None:
    """Returns the near-zero share of the head without a penalty of the same method, seed and pooling; None for none."""
    heads, pooling = frames.record.heads, (cell.record.parameters or {}).get("pooling")
    for other in cells:
        same_place = (other.dataset, other.backbone, other.seed) == (cell.dataset, cell.backbone, cell.seed)
        same_method = heads[other.head].paper == heads[cell.head].paper and not heads[other.head].converts
        same_pooling = (other.record.parameters or {}).get("pooling") == pooling
        own = other.record.parameters
        has_none = own is not None and not _penalties(other.record) and not own.get("start")
        if same_place and same_method and same_pooling and has_none:
            share: float | None = other.record.near_zero
            return share
    return None
