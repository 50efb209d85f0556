"""Files of a figure: text that stays text, the pixels of images, and equal files for equal figures."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.subset import Options
from matplotlib.figure import Figure
from PIL import Image

from bench.report.figures.style import DPI, paper_style, save
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
