"""Style of all figures: sizes for a paper's text width, colour-blind safe, PDF text that stays text."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogFormatter
from PIL import Image

from bench.store.folders import file_name
from bench.store.manifest import Manifest

WIDTH = 7.0  # inches, the text width of a two-column paper
FONT = 7.5  # points, at that width; nothing is smaller than 7
DPI = 200
#: Letters of legends, in points; the smaller ones only where long names do not fit otherwise.
_LEGEND_SIZES = (7, 6, 5)
BLACK, GREY, LIGHT = "#000000", "#666666", "#C4C4C4"
#: Okabe and Ito's strong hues for the inherent heads; Tol's muted ones, always dashed, for post-hoc methods.
STRONG = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#332288", "#8C564B")
MUTED = ("#E69F00", "#56B4E9", "#882255", "#999933", "#44AA99")

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INK = "0.15"
#: Seaborn's styles "whitegrid" and "paper", as far as they matter here, and what a paper needs; to import seaborn takes
#: longer than to draw several figures.
_RC = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.8,
    "patch.edgecolor": "white",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    "xtick.minor.size": 3.2,
    "xtick.minor.width": 0.8,
    "ytick.minor.size": 3.2,
    "ytick.minor.width": 0.8,
    "legend.title_fontsize": 9.6,
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "axes.titlesize": FONT + 0.5,
    "axes.labelsize": FONT,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": _LEGEND_SIZES[0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "black",
    "xtick.bottom": True,
    "ytick.left": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 3.8,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "text.parse_math": False,  # a dollar sign in the name of a class or file is a dollar sign
}


@dataclass(frozen=True)
class Look:
    """Look of a method or a head, the same in every figure."""

    color: str
    dash: str | tuple[int, tuple[float, ...]] = "-"
    marker: str = "o"
    width: float = 1.2

    def line(self) -> dict[str, Any]:
        """Keywords of ``Axes.plot`` for a curve."""
        return {"color": self.color, "linestyle": self.dash, "linewidth": self.width}


class Caption(NamedTuple):
    """Texts below a figure: one sentence, and how to read it with the facts of the run."""

    text: str
    reading: str


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        stem: of its files.
        figure: as matplotlib has it.
        caption: one sentence.
        reading: how to read the figure, and the facts of the run that this takes.
    """

    stem: str
    figure: Figure
    caption: str
    reading: str = ""


def of_backbone(drawing: Drawing, backbone: str) -> Drawing:
    """Returns the drawing with the backbone in its stem and caption."""
    return replace(drawing, stem=f"{drawing.stem}_{file_name(backbone)}", caption=f"{backbone}. {drawing.caption}")


def by_backbone(rows: pd.DataFrame, draw: Callable[[pd.DataFrame], Iterable[Drawing]]) -> Iterator[Drawing]:
    """Draws the rows of each backbone; stems and captions name it only where there are several."""
    backbones = list(rows["backbone"].unique()) if len(rows) else []
    for backbone in backbones:
        for drawing in draw(rows[rows["backbone"] == backbone]):
            yield of_backbone(drawing, backbone) if len(backbones) > 1 else drawing


@contextmanager
def paper_style() -> Iterator[None]:
    """Sets the style of a ``with`` block; the user's own matplotlib settings neither matter nor change.

    No text is parsed as mathematics. A letter that the font lacks is drawn as a box, without a warning.
    """
    with matplotlib.style.context(["default", _RC]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def log_axis(axis: Axes) -> None:
    """Makes the horizontal axis logarithmic, with plain numbers instead of matplotlib's mathematics."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(LogFormatter())
    axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def power_of_ten(exponent: int) -> str:
    """Returns 10 with a raised exponent, in plain letters."""
    return "10" + str(exponent).translate(_RAISED)


def number_marker(number: int | str) -> Path:
    """Returns the outline of a number, centred, as a marker of a line."""
    outline = TextPath((0, 0), str(number), size=10)
    box = outline.get_extents()
    return Path(np.asarray(outline.vertices) - np.add(box.min, box.max) / 2, outline.codes)


def panels(count: int, height: float, x: str, y: str, same_scale: bool = True) -> tuple[Figure, list[Axes]]:
    """Returns a figure with one panel per data set, up to three in a row (four in two rows), on shared axes.

    Args:
        count: panels, at least 1.
        height: of a panel, in inches; the legend below comes on top.
        x: label of the horizontal axes.
        y: label of the vertical axes.
        same_scale: share the vertical axis too.
    """
    columns = count if count <= 3 else 2 if count == 4 else 3
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 6.0, rows * height + 1.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=same_scale).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    for axis in axes[max(count - columns, 0) : count]:  # the lowest panel of each column
        axis.set_xlabel(x)
        axis.xaxis.set_tick_params(labelbottom=True)
    for axis in axes[:count:columns]:
        axis.set_ylabel(y)
    return figure, axes[:count]


def legend_below(figure: Figure, groups: Mapping[str, Sequence[Any]]) -> None:
    """Adds one legend under the panels with a titled column per group; labels come from the handles.

    Args:
        figure: with a constrained layout.
        groups: title -> handles. An empty group is left out; a long one takes two columns. A single one needs no title.
    """
    titled = {title: list(handles) for title, handles in groups.items() if handles}
    if len(titled) == 1:
        (handles,) = titled.values()
        longest = max(len(handle.get_label()) for handle in handles)
        most = min(len(handles), 5 if longest < 20 else 3)
        _fitting_legend(figure, [(handles, count) for count in range(most, 0, -1)])
        return
    columns: list[list[Any]] = []
    for title, handles in titled.items():
        half = len(handles) if len(handles) <= 7 else -(-len(handles) // 2)
        columns.append([_text(title), *handles[:half]])
        columns += [[_text(""), *handles[half:]]] if handles[half:] else []
    rows = max(map(len, columns), default=0)
    filled = [handle for column in columns for handle in column + [_text("")] * (rows - len(column))]
    stacked = [handle for title, handles in titled.items() for handle in (_text(title), *handles)]
    legend = _fitting_legend(figure, [(filled, max(len(columns), 1)), (stacked, 1)], columnspacing=1.6)
    for text in legend.get_texts():
        if text.get_text() in titled:
            text.set_fontweight("bold")


def _fitting_legend(figure: Figure, layouts: Sequence[tuple[Sequence[Any], int]], **options: Any) -> Legend:
    """Adds a legend below the panels in the first layout, and the largest letters, in which it fits the figure.

    Args:
        figure: with a constrained layout.
        layouts: handles and number of columns; the last one is taken if none fits.
        options: of ``Figure.legend``.
    """
    choices = [(handles, count, size) for size in _LEGEND_SIZES for handles, count in layouts]
    for handles, count, size in choices:
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=count, fontsize=size, **options)
        if legend.get_window_extent().width <= figure.bbox.width or (handles, count, size) == choices[-1]:
            break
        legend.remove()
    return legend


def _text(text: str) -> Line2D:
    """Returns a legend entry without a symbol."""
    return Line2D([], [], linestyle="none", label=text)


def save(figure: Figure, files: Manifest, stem: str) -> None:
    """Writes ``stem.png`` and ``stem.pdf``; equal figures give equal files.

    Each is drawn once, and the layout of the first is that of the second. ``Figure.savefig`` draws twice per file.
    """
    for suffix, write in (("png", write_png), ("pdf", write_pdf)):
        with files.replacing(f"{stem}.{suffix}") as temporary:
            write(figure, temporary)


def write_png(figure: Figure, target: FilePath) -> None:
    """Lays out a figure and draws its pixels."""
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.save(target, "PNG", dpi=(DPI, DPI), compress_level=3)  # twice as fast as 6


def write_pdf(figure: Figure, target: FilePath) -> None:
    """Draws a figure that is laid out; images keep their own pixels.

    Fonts are embedded without the tables that shape text, because shaped text is stored, and these tables take most
    of the time.
    """
    from fontTools.subset import Options  # not at the top: a report without figures needs neither
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    canvas: Any = FigureCanvasPdf(figure)
    for image in figure.findobj(AxesImage):
        image.set_interpolation("none")
    tables = Options._drop_tables_default
    Options._drop_tables_default = [*tables, "GSUB", "GPOS", "GDEF"]
    try:
        canvas.print_pdf(target, metadata={"CreationDate": None})
    finally:
        Options._drop_tables_default = tables
