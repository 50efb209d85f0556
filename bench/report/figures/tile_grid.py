"""Image tiles in rows and columns, with lesion outlines and colour bars, of which the galleries consist."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import matplotlib
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from bench.report.figures.gallery import SCALE, SIGNED, UNSIGNED, Images
from bench.report.figures.style import BLACK, FONT, GREY, WIDTH
from bench.statistics.intervals import Floats

#: Colours and line widths, the lowest first.
Layers = tuple[tuple[str, float], ...]
NAMES = 1.06  # inches left of the tiles
_MARGIN = 0.04  # inches left of the names
_WIDEST = 24  # letters of a line that are tried first
_ON_IMAGE = "#F0E442"
_TAG = "#009E73"


@dataclass(frozen=True)
class TileGrid:
    """Tiles of ``height`` × ``width`` pixels with gaps between them; corners are in pixels from the top left.

    Attributes:
        across: tiles side by side that fill the page; fewer are no larger.
        above: room for a line of text above every row, in inches.
    """

    rows: int
    height: int
    width: int
    across: int
    above: float = 0.0

    @property
    def gap(self) -> int:
        """Between neighbours, in pixels."""
        return max(1, round(0.05 * self.width))

    @property
    def inch(self) -> float:
        """Inches per pixel."""
        return (WIDTH - NAMES) / self.across / (self.width + self.gap)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Returns x and y of a tile's top left corner."""
        line = round(self.above / self.inch)
        return column * (self.width + self.gap), row * (self.height + self.gap + line)

    def canvas(self, stacks: list[Floats]) -> NDArray[np.uint8]:
        """Joins stacks (N,H,W,3), one per column, into one white picture, which is drawn fast."""
        right, bottom = self.corner(self.rows, len(stacks))
        canvas = np.full((bottom, right, 3), 255, dtype=np.uint8)
        for column, stack in enumerate(stacks):
            for row, tile in enumerate(stack):
                x, y = self.corner(row, column)
                canvas[y : y + self.height, x : x + self.width] = np.rint(tile * 255)
        return canvas

    def size(self, columns: int) -> tuple[float, float]:
        """Returns width and height of that many columns, in inches."""
        right, bottom = self.corner(self.rows, columns)
        return right * self.inch, bottom * self.inch


def draw_tiles(figure: Figure, grid: TileGrid, images: Images, stacks: list[Floats], top: float) -> Axes:
    """Draws images and their maps, with the outlines of the lesions, in axes whose units are pixels of the grid.

    Args:
        figure: to draw in.
        grid: places of the tiles.
        images: with masks and tags.
        stacks: (N,H',W',3) per column, the images themselves first.
        top: inches from the figure's upper edge to the tiles.
    """
    width, height = figure.get_size_inches()
    wide, tall = grid.size(len(stacks))
    axis = figure.add_axes((NAMES / width, (height - top - tall) / height, wide / width, tall / height))
    right, bottom = grid.corner(grid.rows, len(stacks))
    axis.set(xlim=(0, right), ylim=(bottom, 0))
    axis.set_axis_off()
    axis.imshow(grid.canvas(stacks), extent=(*axis.get_xlim(), *axis.get_ylim()), aspect="auto")
    _outline(axis, grid, images.masks, len(stacks), ((BLACK, 1.4), (_ON_IMAGE, 0.7)), ((BLACK, 0.6),))
    _outline(axis, grid, images.tags, len(stacks), ((BLACK, 1.6), (_TAG, 0.9)), ((_TAG, 0.9),))
    return axis


def _outline(
    axis: Axes, grid: TileGrid, masks: NDArray[np.bool_], columns: int, on_image: Layers, on_maps: Layers
) -> None:
    """Outlines masks (N,H,W) on every tile: with a dark rim on the image, plain on the maps."""
    scale = grid.width / masks.shape[2]
    for column in range(columns):
        lines = [
            outline * scale + grid.corner(row, column) for row, mask in enumerate(masks) for outline in outlines(mask)
        ]
        layers = on_maps if column else on_image
        for color, width in layers:
            axis.add_collection(LineCollection(lines, colors=color, linewidths=width), autolim=False)


def outlines(mask: NDArray[np.bool_]) -> list[Floats]:
    """Traces a mask (H,W): closed outlines (n,2) of x and y in pixels, 0 at the left and top edge of the image."""
    padded = np.pad(mask.astype(float), 1)
    return [np.asarray(line) - 0.5 for line in contour_generator(z=padded).lines(0.5)]


def write_rows(axis: Axes, grid: TileGrid, names: list[list[str]]) -> None:
    """Writes the name of each row, in lines left of it that fit there."""
    room = NAMES - 2 * grid.gap * grid.inch - _MARGIN
    for row, lines in enumerate(names):
        text = "\n".join(part for line in lines for part in fitting_lines(line, room))
        y = grid.corner(row, 0)[1] + grid.height / 2
        axis.text(-2 * grid.gap, y, text, ha="right", va="center")


def fitting_lines(text: str, room: float, most: int = 3) -> list[str]:
    """Wraps text into at most ``most`` lines no wider than ``room`` inches; of longer text the end is shown."""
    for width in range(_WIDEST, 5, -1):
        lines = textwrap.wrap(text, width)
        if all(_inches(line) <= room for line in lines):
            break
    if len(lines) <= most:
        return lines
    return textwrap.wrap(f"…{text[1 - width * most :]}", width)[:most]


def _inches(text: str) -> float:
    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=FONT), ismath=False)[0]) / 72


def wrapped(name: str, width: int = 12) -> str:
    """Wraps a name after about ``width`` characters, at hyphens and underscores, inside a word if need be."""
    parts = name.replace("_", "_ ").replace("-", "- ").split()
    is_long = any(len(part) > width + 2 for part in parts)
    return textwrap.fill(" ".join(parts), width, break_long_words=is_long).replace("_ ", "_").replace("- ", "-")


def color_bars(figure: Figure, kinds: set[bool]) -> None:
    """Draws colour bars of signed and of unsigned maps below the tiles."""
    width, height = figure.get_size_inches()
    scale = f" (q: {100 * SCALE:g} % quantile of |values|)"
    bars = {
        True: (SIGNED, ("−q", "0", "+q"), f"signed maps{scale}"),
        False: (UNSIGNED, ("0", "", "q"), f"unsigned maps{'' if True in kinds else scale}"),
    }
    for place, kind in enumerate(sorted(kinds, reverse=True)):
        colors, ticks, title = bars[kind]
        left = NAMES + place * 3.6
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
