"""Figures of an evaluation, as in the report of a run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from bench.errors import UserError
from bench.report.figures.curve_figures import deletion_curves, insertion_curves, topk_precision
from bench.report.figures.gallery_figure import galleries
from bench.report.figures.style import Drawing, paper_style
from bench.report.frames.load import Frames


@dataclass(frozen=True)
class Picture:
    """A figure of the report, which a notebook shows.

    Attributes:
        figure: as matplotlib has it.
        caption: one sentence, and how to read the figure.
    """

    figure: Figure
    caption: str

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.figure.savefig(content, format="png", dpi=110)
        return content.getvalue()

    def save(self, path: str | Path) -> None:
        """Writes the figure; the suffix of the path chooses the format."""
        self.figure.savefig(path)


class Plots:
    """Figures of an evaluation, as in the report of a run.

    Args:
        frames: the evaluation.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def topk(self) -> Picture:
        """Draws the share of the k most activated patches that hit a lesion."""
        return self._only(topk_precision(self._frames), "it needs masks and the metric topk_precision")

    def deletion(self) -> Picture:
        """Draws the probability while the most important patches are filled."""
        return self._only(deletion_curves(self._frames), "it needs the metric audc")

    def insertion(self) -> Picture:
        """Draws the probability while the most important patches are revealed."""
        return self._only(insertion_curves(self._frames), "it needs the metric auic")

    def gallery(self, images: int | None = None) -> Picture:
        """Draws maps over images: the first few of the kept ones (``explain={"gallery": 8}``), or all of these."""
        return self._only(galleries(self._frames, images), 'it needs kept images: explain={"gallery": 8}')

    def _only(self, drawings: Iterator[Drawing], remedy: str) -> Picture:
        with paper_style():
            drawing = next(drawings, None)
        if drawing is None:
            raise UserError(f"there is nothing to draw: {remedy}")
        return Picture(drawing.figure, f"{drawing.caption} {drawing.reading}".strip())
