"""Page of samples with their masks, on which a person can see whether images and masks fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.commands.check_data.reading import SHOWN, Reading
from bench.contracts import DatasetInfo, Sample
from bench.files import Place
from bench.report.figures.style import BLACK, GREY, paper_style
from bench.report.figures.tile_grid import outlines

LESION, FIELD = "#F0E442", "#56B4E9"
_TILE, _GAP, _LABELS, _CLASSES, _HEADER, _FOOTER = 1.5, 0.10, 0.34, 1.15, 0.58, 0.42  # inches
_BETWEEN_SPLITS = 0.25
_PER_LINE = 3
_LONGEST_ID = 27
_DPI = 200
_TINT = 0.3


def write_page(info: DatasetInfo, reading: Reading, size: int, place: Place) -> None:
    """Writes a PNG with samples of each class (rows) and split (columns): six each, or three with over three classes.

    Args:
        info: the data set.
        reading: result of reading it.
        size: side of the images in pixels.
        place: place of the PNG file.
    """
    classes = next((split.classes for split in reading.splits.values()), info.classes)
    block = _PER_LINE * (_TILE + _GAP) + _BETWEEN_SPLITS
    lines = SHOWN // _PER_LINE if len(classes) <= 3 else 1
    row = lines * (_TILE + _LABELS) + _GAP
    with paper_style():
        figure = Figure(figsize=(_CLASSES + len(reading.splits) * block, _HEADER + len(classes) * row + _FOOTER))
        _write_frame(figure, info, size)
        for column, (name, split) in enumerate(reading.splits.items()):
            left = _CLASSES + column * block
            _write(figure, left, _HEADER, f"{name}: {len(split.ids):,} images", weight="bold", size=9)
            for label in range(len(classes)):
                _draw_samples(figure, split.shown[label][: lines * _PER_LINE], left, _HEADER + label * row)
        for label, title in enumerate(classes):
            name = "\n".join(textwrap.wrap(title, 14))
            _write(figure, 0.1, _HEADER + label * row + _LABELS + _TILE / 2, name, weight="bold", size=9, va="center")
        with place as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)


def _write(figure: Figure, left: float, top: float, text: str, **font: Any) -> None:
    """Writes text at a position in inches from the upper left corner of the page."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **({"va": "bottom", "ha": "left"} | font))


def _write_frame(figure: Figure, info: DatasetInfo, size: int) -> None:
    """Writes title, caption and legend."""
    height = float(figure.get_size_inches()[1])
    _write(figure, 0.1, 0.30, info.name, weight="bold", size=11)
    about = (
        f"Samples of each class and split at {size}×{size} pixels, images with lesions first, otherwise at random. "
        "Check that the tinted areas are the lesions and that the classes are right."
    )
    _write(figure, 0.1, height - 0.08, about, color=GREY)
    handles = [
        Line2D([], [], color=LESION, linewidth=2, label="annotated lesion"),
        Line2D([], [], color=FIELD, linewidth=2, label="field of view"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=2, borderaxespad=0.6)


def _draw_samples(figure: Figure, samples: Sequence[Sample], left: float, top: float) -> None:
    """Draws samples in lines of ``_PER_LINE`` from a position in inches; each below its id and its annotation."""
    if not samples:
        _write(figure, left, top + _LABELS + _TILE / 2, "no usable image", color=GREY, va="center")
    width, height = figure.get_size_inches()
    for place, sample in enumerate(samples):
        x = left + place % _PER_LINE * (_TILE + _GAP)
        y = top + place // _PER_LINE * (_TILE + _LABELS) + _LABELS
        axis = figure.add_axes((x / width, 1 - (y + _TILE) / height, _TILE / width, _TILE / height))
        _draw_sample(axis, sample)
        _write(figure, x, y - 0.04, f"{shortened(sample.id)}\n{_annotation(sample)}", size=6.5, linespacing=1.1)


def _draw_sample(axis: Axes, sample: Sample) -> None:
    axis.imshow(sample.image.permute(1, 2, 0).numpy(), interpolation="antialiased", extent=_extent(sample))
    for region, color in ((sample.fov, FIELD), (sample.mask, LESION)):
        if region is not None:
            lines = outlines(region.numpy())
            if region is sample.mask:
                axis.imshow(_tint(region.numpy()), interpolation="nearest", extent=_extent(sample))
            for line_color, width in ((BLACK, 2.0), (color, 1.0)):
                axis.add_collection(LineCollection(lines, colors=line_color, linewidths=width), autolim=False)
    axis.set_axis_off()


def _tint(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Colours a region (H,W) -> (H,W,4), so that a mask with lesion and background swapped is seen at once."""
    tint = np.zeros((*region.shape, 4))
    tint[region] = to_rgba(LESION, _TINT)
    return tint


def _extent(sample: Sample) -> tuple[float, float, float, float]:
    """Returns the extent in the pixel coordinates of ``outlines``: 0 at the left and top edge."""
    height, width = sample.image.shape[1:]
    return 0, width, height, 0


def _annotation(sample: Sample) -> str:
    if sample.mask is None:
        return "not annotated"
    covered = 100 * float(np.mean(sample.mask.numpy()))
    return f"lesion: {covered:.2g} % of the image" if covered else "annotated: no lesion"


def shortened(id_: str) -> str:
    """Shortens a long id to its end, because its beginning is often a folder."""
    return id_ if len(id_) <= _LONGEST_ID else "…" + id_[1 - _LONGEST_ID :]
