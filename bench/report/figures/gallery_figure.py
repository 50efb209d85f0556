"""Gallery of a data set: image with mask outline, then one column per method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.gallery import SCALE, Images, load_images, row_names, tiles
from bench.report.figures.looks import Method, averaging_note, methods_in
from bench.report.figures.style import BLACK, Drawing
from bench.report.figures.tile_grid import NAMES, TileGrid, color_bars, draw_tiles, wrapped, write_rows
from bench.report.frames.compared import compared
from bench.report.frames.load import Frames
from bench.report.tables.notes import alignment_note, masks_note
from bench.statistics.intervals import Floats
from bench.store.folders import file_name

_COLUMNS = 7  # methods next to the image: as many as fit with legible names
_HEADER, _FOOTER = 0.36, 0.42  # inches
_LEAST_WIDTH = 6.6  # of the colour bars
_FONTS: dict[str, dict[str, Any]] = {"inherent": {"fontweight": "bold"}, "control": {"fontstyle": "italic"}}


def galleries(frames: Frames, most: int | None = None) -> Iterator[Drawing]:
    """Draws one gallery per data set of which images were kept, with at most ``most`` of them."""
    scores = compared(frames)
    for name in dict.fromkeys(frames.cells["dataset"]):
        about = scores.where(dataset=[name])
        images = load_images(frames, name)
        shown = tiles(frames, name, images, methods_in(frames, about.methods)) if images else {}
        if images and shown:
            methods = list(shown)
            head = next((method.head for method in methods if method.family != "inherent"), methods[0].head)
            targets = about.where(head=[head]).targets(images.ids)
            names = row_names(frames, name, images, head, targets)[:most]
            images = images.take(np.arange(len(names)))
            shown = {method: stack[:most] for method, stack in shown.items()}
            outlined = " The green outline is the planted tag." if images.tags.any() else ""
            about_maps = [alignment_note(frames), masks_note(frames, [name])]
            notes = [*about_maps, averaging_note(frames, methods, averaged=False)]
            caption = f"{name}: raw maps of {len(names)} images, over the image."
            reading = " ".join([f"{_reading(head, names)}{outlined}", *filter(None, notes)])
            yield Drawing(f"gallery_{file_name(name)}", _gallery(images, shown, names), caption, reading)


def _reading(head: str, names: list[list[str]]) -> str:
    probability = f"; p: its probability by {head}" if any(len(lines) > 2 for lines in names) else ""
    return (
        "Maps are upsampled bicubically; outline: the mask. Colours end at the "
        f"{100 * SCALE:g} % quantile of each map's own absolute values, so they must not be compared across maps. "
        "Diseased images are explained for their true class, healthy ones for the likeliest disease"
        f"{probability}."
    )


def _gallery(images: Images, shown: dict[Method, Floats], names: list[list[str]]) -> Figure:
    """Draws blocks of at most ``_COLUMNS`` methods, each next to the images."""
    methods = list(shown)
    blocks = np.array_split(np.array(methods, dtype=object), -(-len(methods) // _COLUMNS))
    rows, height, width = images.tiles.shape[:3]
    grid = TileGrid(rows, height, width, across=_COLUMNS + 1)
    wide, tall = grid.size(len(blocks[0]) + 1)
    figure = Figure(figsize=(max(NAMES + wide, _LEAST_WIDTH), len(blocks) * (_HEADER + tall) + _FOOTER))
    for index, block in enumerate(blocks):
        stacks = [images.tiles, *(shown[method] for method in block)]
        axis = draw_tiles(figure, grid, images, stacks, top=index * (_HEADER + tall) + _HEADER)
        write_rows(axis, grid, names)
        _write_methods(axis, grid, list(block))
    color_bars(figure, {method.signed for method in methods})
    return figure


def _write_methods(axis: Axes, grid: TileGrid, methods: list[Method]) -> None:
    above: dict[str, Any] = {"ha": "center", "va": "bottom", "linespacing": 1.0}
    axis.text(grid.width / 2, -grid.gap, "image", **above)
    for column, method in enumerate(methods, start=1):
        x = grid.corner(0, column)[0] + grid.width / 2
        axis.text(x, -grid.gap, wrapped(method.label), **above, **_FONTS.get(method.family, {}), color=_color(method))


def _color(method: Method) -> str:
    return method.look.color if method.family == "inherent" else BLACK
