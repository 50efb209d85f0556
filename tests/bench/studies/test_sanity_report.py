"""The sanity study on its way from a run to the table and the figure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from bench.config import Config
from bench.report.build import build_report
from bench.report.frames.load import load_frames
from bench.report.gaps import note_missing
from bench.report.studies.sanity import _judged, agreement, missing_sanity, randomisation, sanity_tables
from bench.store.folders import CellKey, RunStore
from tests.support.made import registered_squares, run_tiny, tiny_config
from tests.support.report_store import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two seeds of a black box and its conversion, with every study of sanity."""
    run = tmp_path_factory.mktemp("sanity") / "run"
    with registered_squares():
        assert run_tiny(run, config()).problems == []
        yield run


def config(**section: Any) -> Config:
    settings = tiny_config(
        **{
            "heads": ["blackbox", "tte"],
            "explainers": ["softcam", "gradcam", "inputxgradient", "random", "edges"],
            "on_inherent": [],
            "seeds": [0, 1],
            "studies": ["sanity", "agreement", "random_labels"],
        }
        | section
    )
    small = {"images": 4}
    return settings.model_copy(update={"studies": {"sanity": small, "agreement": small, "random_labels": small}})


def row_of(folder: Path, explainer: str) -> dict[str, Any]:
    (row,) = [row for row in sanity_tables(load_frames(folder))["sanity"].rows if row["explainer"] == explainer]
    return row


def test_edges_are_reported_as_failing_and_noise_is_not(folder: Path) -> None:
    table = sanity_tables(load_frames(folder))["sanity"]
    edges, random = row_of(folder, "edges"), row_of(folder, "random")
    assert (edges["randomisation"], random["randomisation"]) == ("not judged", "not judged")  # four images
    judged = [_judged(replace(row["correlation, all fresh"], n=5), draws=2) for row in (edges, random)]
    assert judged == ["fails", "passes"]
    assert _judged(replace(edges["correlation, all fresh"], n=5), draws=1) == "not judged"
    for name in ("correlation, head fresh", "correlation, all fresh", "correlation, random labels"):
        assert edges[name].mean == pytest.approx(1)
        assert abs(random[name].mean) < 0.6
    for name in ("seeds: correlation", "seeds: IoU of top"):
        assert edges[name].mean == pytest.approx(1)
    assert edges["class sensitivity"].mean == pytest.approx(0, abs=1e-9)
    assert not any("hardly depend" in note for note in table.notes)
    (lacking,) = missing_sanity(load_frames(folder))
    assert lacking.what == "agreement between backbones (sanity)"
    assert lacking.below == {"sanity": "agreement between backbones"}


def test_a_row_is_the_mean_over_seeds_then_images(folder: Path) -> None:
    rows = load_frames(folder).studies["sanity"]
    rows = rows[(rows["explainer"] == "inputxgradient") & (rows["fresh"] == "all")]
    assert len(rows) == 8
    expected = rows.groupby("image")["value"].mean().mean()
    found = row_of(folder, "inputxgradient")["correlation, all fresh"]
    assert (found.mean, found.n) == (pytest.approx(expected), 4)


def test_conversion_has_no_twin_but_all_other_checks(folder: Path) -> None:
    record = RunStore(folder).cell(CellKey("squares", "compact", "tte", 0)).record.studies
    assert record["random_labels"][""].reason == "its classifier is converted, not trained"
    row = row_of(folder, "softcam")
    assert "correlation, random labels" not in row
    assert np.isfinite(row["max sensitivity"].mean)


def test_scores_and_weights_are_those_of_a_run_without_studies(folder: Path, tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", config(studies=[], seeds=[0]))
    key = CellKey("squares", "compact", "blackbox", 0)
    ours, plain = (RunStore(run).cell(key) for run in (folder, tmp_path / "run"))
    weights, expected = load_file(ours.weights), load_file(plain.weights)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    columns = ["image", "metric", "variant", "step", "value"]
    for name in ("gradcam", "random"):
        tables = [pd.read_parquet(one.scores_file(name))[columns] for one in (ours, plain)]
        tables = [table[table["image"] != ""].reset_index(drop=True) for table in tables]
        pd.testing.assert_frame_equal(*tables)


def test_figure_draws_every_stage(folder: Path) -> None:
    (drawing,) = randomisation(load_frames(folder))
    axis = drawing.figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["head", "+ 1/3", "+ 2/3", "all"]
    lines = [line.get_ydata() for line in axis.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == 5
    assert any(np.allclose(line, 1) for line in lines)


def test_old_run_says_what_is_missing_and_how_to_add_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    console = Console(file=io.StringIO(), width=100)
    build_report(tmp_path / "run", console, verbose=True)
    assert not (tmp_path / "run" / "tables" / "sanity.csv").exists()
    said = " ".join(console.file.getvalue().split())
    studies = "--studies counterfactual,fair_resolution,sanity,agreement,implementations,soundness"
    missing = "counterfactual, fair_resolution, sanity, implementations, metric_soundness"
    assert f"Not computed: {missing}. Re-run the same command with {studies} to add it" in said
    assert "can be added" in (tmp_path / "run" / "tables" / "gaps.csv").read_text()
    assert list(randomisation(load_frames(tmp_path / "run"))) == []


def test_table_says_which_study_is_missing(folder: Path) -> None:
    frames = load_frames(folder)
    without = replace(frames, studies={name: rows for name, rows in frames.studies.items() if name != "random_labels"})
    tables = sanity_tables(without)
    note_missing(without, tables, missing_sanity(without))
    (note,) = [note for note in tables["sanity"].notes if "the model trained on permuted labels" in note]
    assert note.startswith("Not computed: ")
    assert "Re-run the same command with --studies sanity,agreement,random_labels" in note


def test_agreement_by_hand() -> None:
    ramp = np.arange(20.0)
    facts = {"dataset": "d", "head": "h", "explainer": "e", "group": "g", "image": "i", "target": 1, "seed": 0}
    rows = pd.DataFrame(
        [
            facts | {"backbone": "a", "map": ramp},
            facts | {"backbone": "b", "map": -ramp},
            facts | {"backbone": "c", "map": ramp**2},
            facts | {"backbone": "c", "map": ramp, "target": 2},
        ]
    )
    found = agreement(rows, "backbone").set_index(["backbone", "backbone_other"])
    assert len(found) == 6  # each pair both ways; another class is no pair
    assert found.loc[("a", "c"), "correlation"] == pytest.approx(1)
    assert found.loc[("a", "b"), "correlation"] == pytest.approx(-1)
    assert found.loc[("a", "b"), "overlap"] == 0
    assert found.loc[("c", "a"), "overlap"] == 1
    assert len(agreement(rows, "seed")) == 0
