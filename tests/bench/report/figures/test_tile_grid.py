"""Names next to the tiles of a gallery: they fit beside them, whatever their length."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.report.figures.gallery import Images, short_name
from bench.report.figures.style import paper_style
from bench.report.figures.tile_grid import NAMES, TileGrid, draw_tiles, fitting_lines, write_rows

LONG = "BREAST_ULTRASOUND_OF_THE_UNIVERSITY_HOSPITAL_COHORT_2019_2024_WWWWWWWW.png"


@pytest.mark.parametrize("name", ["a.png", "benign_025.png", "MMMM WWWW MMMM WWWW MMMM.png", LONG, "$x^2_{$.png"])
@pytest.mark.parametrize("columns", [2, 8])
def test_names_of_rows_are_inside_the_figure(name: str, columns: int) -> None:
    with paper_style():
        images = Images(np.zeros((2, 3, 9, 9)), np.zeros((2, 9, 9), bool), np.zeros((2, 9, 9), bool), np.zeros(2), [])
        grid = TileGrid(2, 9, 9, across=8)
        wide, tall = grid.size(columns)
        figure = Figure(figsize=(NAMES + wide, tall + 1))
        axis = draw_tiles(figure, grid, images, [np.zeros((2, 9, 9, 3))] * columns, top=0.5)
        write_rows(axis, grid, [[name, "p(malignant) = 0.33"], [name]])
        figure.draw_without_rendering()
        for text in axis.texts:
            assert text.get_window_extent().x0 >= 0
            assert text.get_window_extent().x1 <= axis.get_window_extent().x0


def test_of_a_very_long_name_the_end_is_shown() -> None:
    lines = fitting_lines("x" * 200 + "_0815.png", 1.0)
    assert len(lines) == 3
    assert lines[0].startswith("…")
    assert "".join(lines).endswith("_0815.png")
    assert fitting_lines("short", 1.0) == ["short"]


def test_the_class_is_not_said_twice() -> None:
    assert short_name("benign/a.png", "busi", "benign") == "a.png"
    assert short_name("benign/a.png", "busi", "malignant") == "benign/a.png"
    assert short_name("cxr-phantom-test-3", "cxr-phantom@size=64") == "test-3"
