"""The table of sparsity, what it says of a penalty that does nothing, and the figure of the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.report.figures.style import paper_style
from bench.report.frames.load import load_frames
from bench.report.sweeps.sparsity import penalty_search, sparsity
from bench.report.tables.table import TableData
from bench.store.cell_facts import PenaltySearch, SearchStep
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.study_store import PLAIN, head, make_grid


def searched(within: bool = True) -> PenaltySearch:
    steps = [
        SearchStep(weights={"l1": 0.1}, auc=0.95, balanced_accuracy=0.9, near_zero=0.3, within=within),
        SearchStep(weights={"l1": 0.3}, auc=0.8, balanced_accuracy=0.7, near_zero=0.6, within=False),
    ]
    reference = SearchStep(weights={}, auc=0.96, balanced_accuracy=0.91, near_zero=0.1)
    about: dict[str, Any] = {"parameters": ["l1"], "twin": "dense", "margin": 0.02, "epochs": 1, "chosen": 0}
    return PenaltySearch(**about, reference=reference, steps=steps, reason="the next one is too large")


def run_with(folder: Path, share: float, search: PenaltySearch | None) -> TableData:
    dense, sparse = head("dense", pooling="avg"), head("sparse", l1=0.1, pooling="avg")
    store = make_grid(folder, {"plain": PLAIN, "dense": dense, "sparse": sparse})
    for name, value in {"dense": 0.1, "sparse": share}.items():
        store.cell(CellKey("first", "small", name, 0)).note(near_zero=value)
    cell(store).note(penalty_search=search)
    return sparsity(load_frames(folder))


def cell(store: RunStore) -> Any:
    return store.cell(CellKey("first", "small", "sparse", 0))


def test_shares_are_relative_to_dense(tmp_path: Path) -> None:
    table = run_with(tmp_path, 0.3, searched())
    dense, sparse = table.rows
    assert "times_dense" not in dense
    assert sparse["times_dense"].mean == pytest.approx(3)
    assert (sparse["lambda"], sparse["searched"]) == ("l1 0.1", "yes")
    assert sparse["validation_auc"].mean == 0.95
    assert sparse["dense_auc"].mean == 0.96
    assert table.notes == []


def test_a_penalty_that_does_nothing_is_said_with_the_reason(tmp_path: Path) -> None:
    (note,) = run_with(tmp_path, 0.19, searched()).notes
    assert "19.0% of its evidence is near zero, 1.90 times the 10.0% of the dense head" in note
    assert note.endswith("Search: the next one is too large.")


def test_a_search_that_fails_is_said(tmp_path: Path) -> None:
    (note,) = run_with(tmp_path, 0.3, searched(within=False)).notes
    assert note.endswith("Search: the next one is too large.")
    assert "not sparse" not in note


def test_runs_without_a_penalty_have_no_table(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": head("dense", pooling="avg")})
    store.cell(CellKey("first", "small", "dense", 0)).note(near_zero=0.1)
    assert sparsity(load_frames(tmp_path)).rows == []


def test_the_search_is_drawn_with_its_choice(tmp_path: Path) -> None:
    run_with(tmp_path, 0.3, searched())
    with paper_style():
        (drawing,) = penalty_search(load_frames(tmp_path))
    (axis,) = drawing.figure.axes
    curves = [line for line in axis.lines if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [0.1, 0.3]]
    assert [list(line.get_ydata()) for line in curves] == [[0.95, 0.8], [0.9, 0.7], [0.3, 0.6]]
    assert {text.get_text() for text in axis.texts} == {"l1 = 0.1"}


def test_nothing_is_drawn_without_a_search(tmp_path: Path) -> None:
    run_with(tmp_path, 0.3, None)
    assert list(penalty_search(load_frames(tmp_path))) == []
