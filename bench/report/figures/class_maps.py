"""Class maps: for data sets of more than two classes, one map per class and image on one scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.plain.names import EVERY_CLASS
from bench.report.figures.gallery import SCALE, Images, Maps, cells_of, geometry_of, load_images, overlays, short_name
from bench.report.figures.looks import Method, averaging_note, methods_in, of_family
from bench.report.figures.style import BLACK, Drawing
from bench.report.figures.tile_grid import NAMES, TileGrid, color_bars, draw_tiles, wrapped, write_rows
from bench.report.frames.compared import compared
from bench.report.frames.load import Frames, part_explainers
from bench.report.tables.notes import alignment_note
from bench.statistics.classification import softmax
from bench.statistics.intervals import Floats
from bench.store.folders import CellStore, file_name
from bench.store.maps import read_arrays
from bench.text.media import figure_text

_POST_HOC = 3  # methods, the first that the run lists; the others' maps are in the store
_ACROSS = 6  # tiles that fill the page, and more where there are more classes
_ABOVE, _LINE, _FOOTER = 0.14, 0.13, 0.3  # inches


@dataclass(frozen=True)
class ClassMaps:
    """Maps and probabilities of every class for the kept images, by one classifier.

    Attributes:
        images: in the order of their classes.
        maps: (C,h,w) per image, one raw map per class, and the geometry that draws them.
        probabilities: (N,C); nan for an image that is not a test image.
    """

    images: Images
    maps: Maps
    probabilities: Floats


def class_maps(frames: Frames) -> Iterator[Drawing]:
    """Draws one figure per data set of more than two classes and inherent or leading post-hoc method."""
    rows = compared(frames).methods
    for name in dict.fromkeys(frames.cells["dataset"]):
        images = load_images(frames, name)
        classes = frames.record.datasets[name].classes
        if images is None or len(classes) < 3 or frames.record.datasets[name].multilabel:
            continue
        methods = methods_in(frames, rows[rows["dataset"] == name])
        for method in of_family(methods, "inherent") + of_family(methods, "post-hoc")[:_POST_HOC]:
            found = load_class_maps(frames, name, method, images, len(classes))
            if found is not None:
                names = _row_names(found, name, classes)
                stem = f"class_maps_{file_name(name)}_{file_name(method.label.replace(' ', '_'))}"
                caption = f"{name}, {method.label}: raw maps of every class for {len(found.images.ids)} images."
                figure = _figure(found, names, classes, method)
                yield Drawing(stem, figure, caption, _reading(frames, method, found))


def load_class_maps(frames: Frames, dataset: str, method: Method, images: Images, classes: int) -> ClassMaps | None:
    """Loads the first seed that has maps of all kept images and classes; None if no seed has."""
    for cell in cells_of(frames, dataset, method.head):
        if method.explainer in part_explainers(frames.record, cell, EVERY_CLASS):
            part = cell.part(EVERY_CLASS)
            maps = [*(part.files.read(part.gallery_file(method.explainer), read_arrays) or {}).values()]
            if len(maps) == len(images.ids) * classes:
                order = np.argsort(images.labels, kind="stable")
                stacks = [np.stack(maps[at * classes : (at + 1) * classes]) for at in order]
                ordered = images.take(order)
                drawn = Maps(stacks, geometry_of(frames, cell, method))
                return ClassMaps(ordered, drawn, _probabilities(cell, ordered.ids, classes))
    return None


def _probabilities(cell: CellStore, ids: list[str], classes: int) -> Floats:
    predictions = cell.files.read(cell.predictions, pd.read_parquet)
    if predictions is None:
        return np.full((len(ids), classes), np.nan)
    logits = predictions.set_index("image")[[f"logit_{index}" for index in range(classes)]]
    return softmax(logits.reindex(ids).to_numpy(dtype=float))


def _reading(frames: Frames, method: Method, found: ClassMaps) -> str:
    known = np.isfinite(found.probabilities).any()
    above = f" Above each map: the probability of its class by {method.head}, the highest in bold." if known else ""
    return (
        f"Framed: the true class; outline: the annotated lesion.{above} The colours of a row share one scale, which "
        f"ends at the {100 * SCALE:g} % quantile of the row's absolute values: compare classes, not images. "
        f"{alignment_note(frames)} "
        f"{averaging_note(frames, [method], averaged=False)}"
    ).strip()


def _figure(found: ClassMaps, names: list[list[str]], classes: list[str], method: Method) -> Figure:
    """Draws images by class as rows; columns are the image and one map per class."""
    images, thin = found.images, found.images.thinning
    pairs = zip(found.maps.maps, images.images, strict=True)
    painted = [overlays(own, image, method.signed, found.maps.geometry, thin) for own, image in pairs]
    maps = np.stack(painted, axis=1)
    rows, height, width = images.tiles.shape[:3]
    grid = TileGrid(rows, height, width, across=max(_ACROSS, len(classes) + 1), above=_ABOVE)
    wide, tall = grid.size(len(classes) + 1)
    titles = [wrapped(method.label), "image", *(wrapped(figure_text(name)) for name in classes)]
    top = 0.1 + _ABOVE + _LINE * (1 + max(title.count("\n") for title in titles))
    figure = Figure(figsize=(NAMES + wide, top + tall + _FOOTER))
    axis = draw_tiles(figure, grid, images, [images.tiles, *maps], top)
    write_rows(axis, grid, names)
    _write_titles(axis, grid, titles)
    for row, (label, values) in enumerate(zip(images.labels, found.probabilities, strict=True)):
        _mark_row(axis, grid, row, int(label), values)
    color_bars(figure, {method.signed})
    return figure


def _row_names(found: ClassMaps, dataset: str, classes: list[str]) -> list[list[str]]:
    """Returns id and true class of every image and, for a test image, the predicted class."""
    names = []
    for name, label, values in zip(found.images.ids, found.images.labels, found.probabilities, strict=True):
        names.append([short_name(name, dataset, classes[label]), f"true: {figure_text(classes[label])}"])
        if np.isfinite(values).all():
            names[-1].append(f"pred.: {figure_text(classes[values.argmax()])}")
    return names


def _write_titles(axis: Axes, grid: TileGrid, titles: list[str]) -> None:
    """Writes the method above the names of the rows, and the titles of the columns."""
    y = -grid.gap / 2 - _ABOVE / grid.inch
    axis.text(-2 * grid.gap, y, titles[0], ha="right", va="bottom", fontweight="bold", linespacing=1.0)
    for column, title in enumerate(titles[1:]):
        x = grid.corner(0, column)[0] + grid.width / 2
        axis.text(x, y, title, ha="center", va="bottom", linespacing=1.0)


def _mark_row(axis: Axes, grid: TileGrid, row: int, label: int, probabilities: Floats) -> None:
    """Frames the map of the true class, and writes the probability above each map."""
    x, y = grid.corner(row, label + 1)
    axis.add_patch(
        Rectangle((x, y), grid.width, grid.height, fill=False, edgecolor=BLACK, linewidth=1.6, clip_on=False)
    )
    for column, value in enumerate(probabilities, start=1):
        if np.isfinite(value):
            x, y = grid.corner(row, column)
            weight = "bold" if value == probabilities.max() else "normal"
            axis.text(x + grid.width / 2, y - grid.gap / 2, f"{value:.2f}", ha="center", va="bottom", fontweight=weight)
