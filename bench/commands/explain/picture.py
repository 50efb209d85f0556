"""Picture of one image next to all its maps."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from bench.commands.explain.maps import Explained
from bench.report.figures.gallery import overlay
from bench.report.figures.style import GREY, paper_style
from bench.report.figures.tile_grid import color_bars, wrapped
from bench.text.media import figure_text, visible

_COLUMNS = 6
_TILE, _GAP, _TITLE, _HEADER, _FOOTER = 1.45, 0.12, 0.34, 0.5, 0.5  # inches
_LEAST_WIDTH = 8.4  # of two colour bars
_LONGEST = 90  # letters of the file name
_FONTS: dict[str, dict[str, Any]] = {"inherent": {"fontweight": "bold"}, "control": {"fontstyle": "italic"}}


def picture(explained: Explained) -> Figure:
    """Draws the image and its maps, in rows; each map is coloured by its own scale."""
    tiles = len(explained.maps) + 1
    columns = min(_COLUMNS, tiles)
    rows = -(-tiles // columns)
    width = max(columns * (_TILE + _GAP) + _GAP, _LEAST_WIDTH)
    height = _HEADER + rows * (_TITLE + _TILE + _GAP) + _FOOTER
    with paper_style():
        figure = Figure(figsize=(width, height))
        title, *about = explained.title
        figure.text(_GAP / width, 1 - 0.1 / height, _ending(visible(title)), va="top", fontsize=9, fontweight="bold")
        line = "   ".join(map(figure_text, about))
        figure.text(_GAP / width, 1 - 0.3 / height, line, va="top", fontsize=8, color=GREY)
        for place in range(tiles):
            left = _GAP + place % columns * (_TILE + _GAP)
            top = _HEADER + place // columns * (_TITLE + _TILE + _GAP) + _TITLE
            axis = figure.add_axes((left / width, 1 - (top + _TILE) / height, _TILE / width, _TILE / height))
            axis.set_axis_off()
            if place == 0:
                axis.imshow(explained.image.transpose(1, 2, 0))
                axis.set_title("image", fontsize=8, pad=3)
                continue
            one = explained.maps[place - 1]
            axis.imshow(overlay(one.values, explained.image, one.signed, one.geometry))
            axis.set_title(wrapped(one.name, 18), fontsize=8, pad=3, **_FONTS.get(one.family, {}))
        color_bars(figure, {one.signed for one in explained.maps})
    return figure


def _ending(name: str) -> str:
    """Returns a name that fits above the tiles: of a long one its end, because names of series begin alike."""
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]
