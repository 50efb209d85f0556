"""Failure signatures: each fires where its sign is there, keeps still where it is not, and gives the right advice."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.report.build import build_report
from bench.report.failure_modes import effective_area, signatures
from bench.report.frames.load import load_frames
from bench.report.tables.main import all_tables
from bench.report.tables.paper import paper_tables
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.study_store import IMAGES, PLAIN, head, make_grid, set_accuracy, set_scores

SPARSE = head("sparse", l1=1e-4, pooling="avg")


def quiet_run(folder: Path, own: dict[str, Any] = SPARSE, **facts: Any) -> RunStore:
    """A run without any sign of failure."""
    store = make_grid(folder, {"plain": PLAIN, "own": own}, {"first": {"grid": [8, 8]} | facts})
    for name in ("plain", "own"):
        set_accuracy(store.cell(CellKey("first", "small", name, 0)), 0)
    set_scores(store.cell(OWN), "evidence", "positive_ratio", 0.4)
    set_scores(store.cell(OWN), "evidence", "entropy", 0.8)
    return store


OWN = CellKey("first", "small", "own", 0)


def texts(folder: Path) -> list[str]:
    return [str(sign) for sign in signatures(load_frames(folder))]


def test_a_sound_run_shows_no_sign(tmp_path: Path) -> None:
    quiet_run(tmp_path)
    assert texts(tmp_path) == []


@pytest.mark.parametrize(("wrong", "fires"), [(2, False), (3, True)])  # of 48: 0.042 and 0.0625
def test_accuracy_drop(wrong: int, fires: bool, tmp_path: Path) -> None:
    set_accuracy(quiet_run(tmp_path).cell(OWN), wrong)
    found = texts(tmp_path)
    assert len(found) == fires
    if fires:
        assert found[0].startswith("first · small · own: accuracy 0.062 below that of plain (more than 0.05)")
        assert "lower l1 (0.0001)" in found[0]


@pytest.mark.parametrize(
    ("own", "advice"),
    [
        (head("dense", pooling="avg"), "it has no penalty to change"),
        (head("both", l1=1e-4, l2=2e-4), "lower l1 (0.0001) and l2 (0.0002)"),
        (SPARSE | {"parameters": None}, "lower the weight of its penalty"),
    ],
)
def test_advice_follows_the_parameters(own: dict[str, Any], advice: str, tmp_path: Path) -> None:
    set_accuracy(quiet_run(tmp_path, own).cell(OWN), 10)
    assert advice in texts(tmp_path)[0]


def test_no_advice_on_penalties_where_a_shortcut_is_planted(tmp_path: Path) -> None:
    name = "first@shortcut=tag:0.9"
    store = make_grid(tmp_path, {"plain": PLAIN, "own": SPARSE}, {"first": {}, name: {}})
    for dataset in ("first", name):
        set_accuracy(store.cell(CellKey(dataset, "small", "plain", 0)), 0)
        set_accuracy(store.cell(CellKey(dataset, "small", "own", 0)), 10)
    clean, planted = (line for line in texts(tmp_path) if "accuracy" in line)
    assert "lower l1" in clean
    assert planted.endswith("a shortcut is planted here, which may cost accuracy and evidence: see shortcut_use")


def test_accuracy_is_compared_by_the_mean_over_common_seeds(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "own": SPARSE}, seeds=(0, 1))
    for name, wrong in {"plain": (0, 4), "own": (4, 4)}.items():
        for seed in (0, 1):
            set_accuracy(store.cell(CellKey("first", "small", name, seed)), wrong[seed])
    assert not any("accuracy" in text for text in texts(tmp_path))  # 4 of 48 once, nothing once: 0.042


@pytest.mark.parametrize(("without", "fires"), [(IMAGES // 2, False), (IMAGES // 2 + 1, True)])
def test_evidence_that_is_nowhere_positive(without: int, fires: bool, tmp_path: Path) -> None:
    values = np.full(IMAGES, 0.4)
    values[:without] = 0
    set_scores(quiet_run(tmp_path).cell(OWN), "evidence", "positive_ratio", values)
    found = texts(tmp_path)
    assert len(found) == fires
    if fires:
        assert "no positive evidence on 54% of the diseased images" in found[0]
        assert "lower l1" in found[0]


@pytest.mark.parametrize(("share", "fires"), [(0.45, False), (0.55, True)])
def test_diffuse_evidence(share: float, fires: bool, tmp_path: Path) -> None:
    """An even map over this share of the 64×64 pixels has the entropy log(share·64²)."""
    entropy = math.log(share * 64**2) / math.log(64**2)
    set_scores(quiet_run(tmp_path).cell(OWN), "evidence", "entropy", entropy)
    found = texts(tmp_path)
    assert len(found) == fires
    if fires:
        assert "even map over 55% of the image" in found[0]
        assert "raise l1 (0.0001)" in found[0]
    assert effective_area(pd.Series([entropy, 1.0]), 64).tolist() == pytest.approx([share, 1])


def test_entropy_is_over_the_explained_image_and_not_over_a_training_image(tmp_path: Path) -> None:
    """Over 45 % of a mosaic of 64×64 pixels; read as over 32×32 it would be 51 %."""
    store = quiet_run(tmp_path, size=32, side={"train": 32, "explain": 64})
    set_scores(store.cell(OWN), "evidence", "entropy", math.log(0.45 * 64**2) / math.log(64**2))
    assert texts(tmp_path) == []


@pytest.mark.parametrize(("grid", "fires"), [([8, 8], False), ([8, 7], True), (None, False)])
def test_coarse_grid(grid: list[int] | None, fires: bool, tmp_path: Path) -> None:
    quiet_run(tmp_path, grid=grid)
    found = texts(tmp_path)
    assert len(found) == fires
    if fires:
        assert "evidence grid 8×7 (below 8×8)" in found[0]


def test_coarse_grid_concerns_every_table_of_localisation(tmp_path: Path) -> None:
    quiet_run(tmp_path, grid=[4, 4])
    frames = load_frames(tmp_path)
    (sign,) = signatures(frames)
    tables = all_tables(frames)
    tables |= paper_tables(frames)
    concerned = {name for name, table in tables.items() if sign.concerns(table)}
    assert {"localisation", "paper/activation", "paper/topk_precision"} <= concerned
    assert not {"classification", "faithfulness", "paper/consistency"} & concerned


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which are most of a report's time."""
    monkeypatch.setattr("bench.report.two_processes.draw_figures", lambda frames, files, topics, failures: {})


@pytest.mark.usefixtures("undrawn")
def test_signs_are_printed_and_stand_below_the_tables_they_concern(tmp_path: Path) -> None:
    set_accuracy(quiet_run(tmp_path).cell(OWN), 10)
    (sign,) = texts(tmp_path)
    stream = io.StringIO()
    build_report(tmp_path, Console(file=stream, width=300), verbose=True)
    assert sign in stream.getvalue()
    tables = tmp_path / "tables"
    for name in ("classification", "paper/classification"):
        assert f"- {sign}" in (tables / f"{name}.md").read_text()
        assert "accuracy 0.208 below" in (tables / f"{name}.tex").read_text()
    assert sign not in (tables / "localisation.md").read_text()
    assert sign in (tmp_path / "report.html").read_text()
