"""The gallery figure of a data set: image with mask outline, then one column a method."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.report.frames import Frames
from bench.report.gallery import SCALE, SIGNED, UNSIGNED, Images, load_images, row_names, tiles
from bench.report.methods import Method, averaging_note, compared_rows, methods_in
from bench.report.style import BLACK, GREY, WIDTH, Drawing
from bench.store import file_name

Floats = NDArray[np.float64]
_COLUMNS = 7  # methods side by side, beside the image: as many as fit with legible names
_NAMES, _HEADER, _FOOTER = 1.06, 0.36, 0.42  # inches
_LEAST_WIDTH = 6.6  # of the colour bars
_ON_IMAGE = "#F0E442"
_FONTS: dict[str, dict[str, Any]] = {"inherent": {"fontweight": "bold"}, "control": {"fontstyle": "italic"}}


@dataclass(frozen=True)
class _Grid:
    """Tiles of ``height`` × ``width`` pixels with gaps between them; corners are in pixels from the top left."""

    rows: int
    height: int
    width: int

    @property
    def gap(self) -> int:
        return max(1, round(0.05 * self.width))

    @property
    def inch(self) -> float:
        """Inches a pixel, such that the image and ``_COLUMNS`` maps fill the page."""
        return (WIDTH - _NAMES) / (_COLUMNS + 1) / (self.width + self.gap)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """X and y of a tile's top left corner."""
        return column * (self.width + self.gap), row * (self.height + self.gap)

    def canvas(self, stacks: list[Floats]) -> NDArray[np.uint8]:
        """Stacks (N,H,W,3), one a column -> one white picture of all tiles: a single picture is drawn fast."""
        right, bottom = self.corner(self.rows, len(stacks))
        canvas = np.full((bottom, right, 3), 255, dtype=np.uint8)
        for column, stack in enumerate(stacks):
            for row, tile in enumerate(stack):
                x, y = self.corner(row, column)
                canvas[y : y + self.height, x : x + self.width] = np.rint(tile * 255)
        return canvas


def galleries(frames: Frames) -> Iterator[Drawing]:
    """One gallery a data set of which images were kept."""
    rows = compared_rows(frames)
    for name in dict.fromkeys(frames.cells["dataset"]):
        about = rows[rows["dataset"] == name]
        images = load_images(frames, name)
        shown = tiles(frames, name, images, methods_in(frames, about)) if images else {}
        if images and shown:
            methods = list(shown)
            head = next((method.head for method in methods if method.family != "inherent"), methods[0].head)
            targets = about[about["head"] == head].drop_duplicates("image").set_index("image")["target"]
            names = row_names(frames, name, images, head, targets)
            caption = f"{name}: {_caption(head, names)} {averaging_note(frames, methods, averaged=False)}"
            yield Drawing(f"gallery_{file_name(name)}", _gallery(images, shown, names), caption.strip())


def _caption(head: str, names: list[list[str]]) -> str:
    probability = f"; p: its probability by {head}" if any(len(lines) > 2 for lines in names) else ""
    return (
        f"raw maps of {len(names)} images, upsampled bicubically over the image; outline: the annotated lesion. "
        f"Colours end at the {100 * SCALE:g} % quantile of each map's own absolute values: they must not be compared "
        "across maps. Maps are made for the true class of a diseased image and for the likeliest disease class of a "
        f"healthy one{probability}."
    )


def _gallery(images: Images, shown: dict[Method, Floats], names: list[list[str]]) -> Figure:
    """Blocks of at most ``_COLUMNS`` methods, each beside the images."""
    methods = list(shown)
    blocks = np.array_split(np.array(methods, dtype=object), -(-len(methods) // _COLUMNS))
    grid = _Grid(*images.tiles.shape[:3])
    tall = _HEADER + grid.corner(grid.rows, 0)[1] * grid.inch
    wide = _NAMES + grid.corner(0, len(blocks[0]) + 1)[0] * grid.inch
    figure = Figure(figsize=(max(wide, _LEAST_WIDTH), len(blocks) * tall + _FOOTER))
    for index, block in enumerate(blocks):
        stacks = [images.tiles, *(shown[method] for method in block)]
        axis = _block_axis(figure, grid, len(stacks), top=index * tall + _HEADER)
        axis.imshow(grid.canvas(stacks), extent=(*axis.get_xlim(), *axis.get_ylim()), aspect="auto")
        _outline(axis, grid, images, len(stacks))
        _write_names(axis, grid, names, list(block))
    _color_bars(figure, {method.signed for method in methods})
    return figure


def _block_axis(figure: Figure, grid: _Grid, columns: int, top: float) -> Axes:
    """Axes in the pixels of the grid, ``top`` inches below the figure's upper edge."""
    width, height = figure.get_size_inches()
    right, bottom = grid.corner(grid.rows, columns)
    box = _NAMES, height - top - bottom * grid.inch, right * grid.inch, bottom * grid.inch
    axis = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
    axis.set(xlim=(0, right), ylim=(bottom, 0))
    axis.set_axis_off()
    return axis


def _outline(axis: Axes, grid: _Grid, images: Images, columns: int) -> None:
    """The lesions' outlines on every tile: light with a dark rim on the image, plain dark on the maps."""
    scale = grid.width / images.masks.shape[2]
    for column in range(columns):
        lines = [
            outline * scale + grid.corner(row, column)
            for row, mask in enumerate(images.masks)
            for outline in outlines(mask)
        ]
        layers = ((BLACK, 0.6),) if column else ((BLACK, 1.4), (_ON_IMAGE, 0.7))
        for color, width in layers:
            axis.add_collection(LineCollection(lines, colors=color, linewidths=width), autolim=False)


def outlines(mask: NDArray[np.bool_]) -> list[Floats]:
    """Mask (H,W) -> closed outlines (n,2) of x and y in pixels, 0 at the left and top edge of the image."""
    padded = np.pad(mask.astype(float), 1)
    return [np.asarray(line) - 0.5 for line in contour_generator(z=padded).lines(0.5)]


def _write_names(axis: Axes, grid: _Grid, names: list[list[str]], methods: list[Method]) -> None:
    for row, lines in enumerate(names):
        text = "\n".join(part for line in lines for part in textwrap.wrap(line, 17)[:3])
        y = grid.corner(row, 0)[1] + grid.height / 2
        axis.text(-2 * grid.gap, y, text, ha="right", va="center")
    above: dict[str, Any] = {"ha": "center", "va": "bottom", "linespacing": 1.0}
    axis.text(grid.width / 2, -grid.gap, "image", **above)
    for column, method in enumerate(methods, start=1):
        x = grid.corner(0, column)[0] + grid.width / 2
        axis.text(x, -grid.gap, wrapped(method.label), **above, **_FONTS.get(method.family, {}), color=_color(method))


def wrapped(name: str, width: int = 12) -> str:
    """A name in lines of about ``width`` characters, broken after hyphens and underscores, inside a word if need be."""
    parts = name.replace("_", "_ ").replace("-", "- ").split()
    is_long = any(len(part) > width + 2 for part in parts)
    return textwrap.fill(" ".join(parts), width, break_long_words=is_long).replace("_ ", "_").replace("- ", "-")


def _color(method: Method) -> str:
    return method.look.color if method.family == "inherent" else BLACK


def _color_bars(figure: Figure, kinds: set[bool]) -> None:
    """What the colours of signed and of unsigned maps mean, below the tiles."""
    width, height = figure.get_size_inches()
    bars = {
        True: (SIGNED, ("−q", "0", "+q"), f"signed maps (q: {100 * SCALE:g} % quantile of |values|)"),
        False: (UNSIGNED, ("0", "", "q"), "unsigned maps"),
    }
    for place, kind in enumerate(sorted(kinds, reverse=True)):
        colors, ticks, title = bars[kind]
        left = _NAMES + place * 3.6
        axis = figure.add_axes((left / width, 0.22 / height, 1.0 / width, 0.08 / height))
        axis.imshow(
            matplotlib.colormaps[colors](np.linspace(0, 1, 128))[None, :, :3], aspect="auto", extent=(0, 1, 0, 1)
        )
        axis.set_xticks([0, 0.5, 1], ticks)
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.tick_params(length=0, pad=1.5)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.4)
        axis.text(1.08, 0.5, title, va="center", fontsize=7)
