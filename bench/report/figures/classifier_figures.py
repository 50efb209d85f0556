"""Figures of the classifiers: training curves and test scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.looks import head_look
from bench.report.figures.style import GREY, WIDTH, Drawing, Look, legend_below
from bench.report.frames.load import Frames
from bench.report.tables.classification import classification_table
from bench.report.tables.table import TableData
from bench.text.media import figure_text

_HISTORY = {"val_auc": "validation AUC ↑", "val_loss": "validation loss ↓"}
_SCORES = {"auc": "test AUC ↑", "accuracy": "test accuracy ↑"}
_IN_A_ROW = 4
_BRIGHTNESS = Look(GREY, (0, (3, 1.5)))
_MAJORITY = Look(GREY, (0, (1, 1)))


def training_curves(frames: Frames) -> Iterator[Drawing]:
    """Draws validation AUC and loss against epoch, a line per head, with the chosen epoch marked."""
    if not len(frames.training):
        return
    names = list(dict.fromkeys(frames.training["dataset"]))
    columns = min(len(names), _IN_A_ROW)
    rows = 2 * -(-len(names) // columns)
    figure = Figure(figsize=(max(WIDTH * columns / _IN_A_ROW, 3.5), 1.6 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, name in enumerate(names):
        block, column = divmod(place, columns)
        _histories(grid[2 * block : 2 * block + 2, column].tolist(), frames, name)
    for axis in grid.ravel():
        if not axis.has_data():
            axis.remove()
    for block in range(0, rows, 2):
        for axis, label in zip(grid[block : block + 2, 0], _HISTORY.values(), strict=True):
            axis.set_ylabel(label)
    heads = [head for head in frames.record.heads if head in set(frames.training["head"])]
    legend_below(figure, {"head": [_handle(head_look(frames.record, head), head) for head in heads]})
    seeds = frames.training["seed"].nunique()
    average, marks = (f", mean over {seeds} seeds", ", one mark per seed") if seeds > 1 else ("", "")
    if frames.folds:
        average, marks = ", mean over seeds and folds", ", one mark per training"
    caption = "Validation AUC and cross-entropy after each epoch of training."
    reading = (
        f"Marked: the epoch with the best validation AUC, whose weights are used{marks}. Lines: each head{average}."
    )
    yield Drawing("training_curves", figure, caption, reading)


def _histories(axes: Sequence[Axes], frames: Frames, name: str) -> None:
    """Draws AUC above loss for one data set."""
    history = frames.training[frames.training["dataset"] == name]
    for axis, column in zip(axes, _HISTORY, strict=True):
        for head in frames.record.heads:
            mean = history[history["head"] == head].groupby("epoch")[column].mean()
            mean.index += 1
            look = head_look(frames.record, head)
            axis.plot(mean.index, mean, color=look.color, linewidth=1.2)
            best = mean.reindex(_best_epochs(frames, name, head)).dropna()
            axis.plot(best.index, best, look.marker, color=look.color, markersize=4)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes[0].set_title(figure_text(name))
    axes[1].set_xlabel("epoch")


def _best_epochs(frames: Frames, name: str, head: str) -> list[int]:
    """Returns the chosen epoch of each training, counted from 1 as on the axis."""
    cells = frames.cells[(frames.cells["dataset"] == name) & (frames.cells["head"] == head)]
    records = [record for cell in cells.itertuples() for record in frames.trainings(cell)]
    return [record.best_epoch + 1 for record in records if record.best_epoch is not None]


def accuracy_by_head(frames: Frames) -> Iterator[Drawing]:
    """Draws test AUC and accuracy of every head with intervals, and the scores of brightness and majority class."""
    if not len(frames.predictions):
        return
    table = classification_table(frames)
    names = list(dict.fromkeys(row["dataset"] for row in table.rows))
    heads = [head for head in frames.record.heads if any(row["head"] == head for row in table.rows)]
    band = 0.14 * len(heads) + 0.25
    figure = Figure(figsize=(WIDTH, band * len(names) + 1.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, score in zip(axes, _SCORES, strict=True):
        _forest(axis, frames, table, score, names, heads)
    counts = {row["dataset"]: row["auc"].n for row in table.rows}
    axes[0].set_yticks(range(len(names)), [f"{figure_text(name)}\n(n = {counts[name]})" for name in names])
    axes[0].invert_yaxis()
    looks = {head: head_look(frames.record, head) for head in heads}
    references = [_handle(_BRIGHTNESS, "brightness statistics alone"), _handle(_MAJORITY, "most frequent class")]
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="-", markersize=4, label=head)
        for head, look in looks.items()
    ]
    legend_below(figure, {"head": handles, "reference": references})
    caption = "Test AUC and accuracy by head."
    reading = (
        "Bars are 95 % bootstrap intervals over groups; higher is better. Dashed: AUC of a logistic regression on "
        "brightness statistics. Dotted: accuracy of always answering with the most frequent class."
    )
    yield Drawing("accuracy_by_head", figure, caption, reading)


def _forest(axis: Axes, frames: Frames, table: TableData, score: str, names: list[str], heads: list[str]) -> None:
    """Draws a group of points with intervals per data set."""
    step = 0.8 / max(len(heads), 2)
    for row in table.rows:
        estimate, look = row[score], head_look(frames.record, row["head"])
        y = names.index(row["dataset"]) + (heads.index(row["head"]) - (len(heads) - 1) / 2) * step
        axis.plot([estimate.low, estimate.high], [y, y], color=look.color, linewidth=1.2)
        axis.plot(
            estimate.mean,
            y,
            look.marker,
            color=look.color,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    for place, name in enumerate(names):
        reference, look = _reference(frames, name, score)
        axis.plot([reference, reference], [place - 0.45, place + 0.45], **look.line(), zorder=1)
        if place:
            axis.axhline(place - 0.5, color="#E6E6E6", linewidth=0.8)
    axis.set_xlabel(_SCORES[score])
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(right=1.005)


def _reference(frames: Frames, name: str, score: str) -> tuple[float, Look]:
    facts = frames.record.datasets[name]
    if score == "auc":
        value = facts.brightness_auc
        return (np.nan if value is None else value), _BRIGHTNESS
    counts = facts.images.get("test")
    return (max(counts) / sum(counts) if counts else np.nan), _MAJORITY


def _handle(look: Look, label: str) -> Line2D:
    return Line2D([], [], label=label, **look.line())
