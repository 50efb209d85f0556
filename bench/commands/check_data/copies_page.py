"""Picture of the copies in a data set, on which a person can see whether two images show the same picture."""

from __future__ import annotations

from matplotlib.figure import Figure

from bench.commands.check_data.page import shortened
from bench.commands.check_data.reading import Reading
from bench.files import Place
from bench.report.figures.style import GREY, paper_style

_PER_LINE = 4
_TILE, _GAP, _LABEL, _HEADER = 1.3, 0.3, 0.36, 0.6  # inches
_DPI = 150


def write_copies_page(reading: Reading, place: Place) -> None:
    """Writes a PNG with the first pairs of copies, each pair side by side as small grey pictures.

    Args:
        reading: result of reading a data set that has copies.
        place: place of the PNG file.
    """
    lines = -(-len(reading.pairs) // _PER_LINE)
    width, height = _PER_LINE * (2 * _TILE + _GAP) + _GAP, _HEADER + lines * (_TILE + _LABEL)
    with paper_style():
        figure = Figure(figsize=(width, height))
        title = f"{len(reading.copies)} images with a copy; the first {len(reading.pairs)} pairs, not turned"
        figure.text(_GAP / width, 1 - 0.3 / height, title, size=9, color=GREY, va="bottom")
        for number, pair in enumerate(reading.pairs):
            left = _GAP + number % _PER_LINE * (2 * _TILE + _GAP)
            top = _HEADER + number // _PER_LINE * (_TILE + _LABEL)
            for side, (name, thumb) in enumerate(pair):
                x, y = left + side * _TILE, 1 - (top + _TILE) / height
                axis = figure.add_axes((x / width, y, 0.97 * _TILE / width, _TILE / height))
                axis.imshow(thumb, cmap="gray", vmin=0, vmax=255)
                axis.set_axis_off()
                label = 1 - (top + _TILE + 0.06 + 0.11 * side) / height
                figure.text(left / width, label, shortened(name), size=6, va="top")
        with place as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)
