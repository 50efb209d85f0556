"""Files of a figure: text that stays text, the pixels of images, and equal files for equal figures."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.subset import Options
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from bench.report.figures.style import DPI, legend_below, paper_style, save
from bench.store.manifest import Manifest


def drawn(files: Manifest, stem: str) -> bytes:
    """Saves a figure with text and a picture of 40×50 pixels."""
    with paper_style(), matplotlib.rc_context({"pdf.compression": 0}):
        figure = Figure(figsize=(3, 2), layout="constrained")
        axis = figure.subplots()
        axis.imshow(np.random.default_rng(0).random((40, 50, 3)))
        axis.set_title("a $title$ ↑")
        save(figure, files, stem)
    return (files.folder / f"{stem}.pdf").read_bytes()


def test_a_pdf_has_its_fonts_and_the_pixels_of_its_images(tmp_path: Path) -> None:
    tables = list(Options._drop_tables_default)
    text = drawn(Manifest(tmp_path), "one")
    assert b"/Type3" not in text
    assert text.count(b"/FontFile2") == 1
    assert b"/ToUnicode" in text
    assert re.search(rb"/Height 40\b", text)
    assert re.search(rb"/Width 50\b", text)
    assert Options._drop_tables_default == tables


def test_equal_figures_give_equal_files(tmp_path: Path) -> None:
    files = Manifest(tmp_path)
    assert drawn(files, "one") == drawn(files, "two")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert image.size == (3 * DPI, 2 * DPI)
        assert image.mode == "RGB"


@pytest.mark.parametrize("width", [3.5, 7.0])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "label", ["tte", "softcam-sparse@l1=0.0001@start=dense", "a name of sixty letters " + "x" * 36]
)
def test_legends_are_no_wider_than_their_figure(width: float, groups: int, label: str) -> None:
    with paper_style():
        figure = Figure(figsize=(width, 3), layout="constrained")
        figure.subplots()
        handles = [Line2D([], [], label=f"{number}{label}") for number in range(6)]
        legend_below(figure, {f"group {number}": handles[number::groups] for number in range(groups)})
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert len(legend.get_texts()) >= 6
        assert legend.get_texts()[-1].get_fontsize() >= 5
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width + 1


def test_legends_that_fit_keep_their_columns_and_letters() -> None:
    with paper_style():
        figure = Figure(figsize=(7, 3), layout="constrained")
        figure.subplots()
        legend_below(figure, {"": [Line2D([], [], label=name) for name in ("blackbox", "tte", "softcam-dense")]})
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert {text.get_fontsize() for text in legend.get_texts()} == {7}
        assert len({round(text.get_window_extent().y0) for text in legend.get_texts()}) == 1
