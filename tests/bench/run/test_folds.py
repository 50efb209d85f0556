"""Cross-validation from the plan to the report: a cell per fold in the store, one cell in the report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.cases.grids import read_ids
from bench.commands.export.command import export_cell
from bench.config import Config
from bench.registry import EXPLAINERS
from bench.report.build import build_report
from bench.report.cases.data import render_cases
from bench.report.frames.image_facts import logits_of
from bench.report.frames.load import Frames, load_frames
from bench.report.gaps import faults
from bench.report.tables.classification import classification_table
from bench.store.folders import RunStore, cell_name
from bench.store.records import CellKey
from tests.bench.commands.merge.merging import QUIET, merge
from tests.support.made import COUNTS, registered_squares, run_tiny, stopped_in_second_epoch, tiny_config

pytestmark = pytest.mark.usefixtures("squares")
ALL, HEADS = sum(COUNTS.values()), ["blackbox", "tte", "softcam-sparse"]


def folded(**run_section: Any) -> Config:
    """The tiny run with two folds."""
    config = tiny_config(**{"heads": HEADS, "studies": ["agreement"]} | run_section)
    return config.model_copy(update={"data": config.data.model_copy(update={"folds": 2})})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with folds: do not write to it."""
    folder = tmp_path_factory.mktemp("folds") / "run"
    with registered_squares():
        assert run_tiny(folder, folded()).problems == []
    return folder


@pytest.fixture(scope="module")
def frames(run: Path) -> Frames:
    return load_frames(run)


def test_the_plan_has_a_cell_per_fold_and_the_report_one(run: Path, frames: Frames) -> None:
    keys = RunStore(run).record.cells
    assert [str(key).rsplit(" · ", 1)[1] for key in keys] == ["fold 1", "fold 2"] * len(HEADS)
    assert (run / "cells/squares/compact-softcam-sparse-s0-f2/weights.safetensors").exists()
    assert frames.cells["head"].tolist() == HEADS
    assert frames.cells["status"].tolist() == ["ok"] * len(HEADS)
    assert frames.record.cells == [CellKey("squares", "compact", head, 0) for head in HEADS]
    assert frames.damaged == ()


def test_without_folds_names_stay_as_they_were() -> None:
    assert cell_name(CellKey("squares", "a-b", "own", 3)) == "a-b~own-s3"
    assert cell_name(CellKey("squares", "a-b", "own", 3, 12)) == "a-b~own-s3-f12"
    assert str(CellKey("squares", "a", "own", 3)) == "squares · a · own · seed 3"


def test_every_image_is_scored_once_by_the_classifier_of_its_own_fold(run: Path, frames: Frames) -> None:
    store = RunStore(run)
    for head in HEADS:
        mine = frames.predictions.where(head=[head]).rows()
        assert frames.predictions.where(head=[head]).count()[0] == ALL
        assert len(mine) == mine["image"].nunique() == ALL
        for fold in (1, 2):
            stored = pd.read_parquet(store.cell(CellKey("squares", "compact", head, 0, fold)).predictions)
            own = mine[mine["fold"] == fold]
            assert own["image"].tolist() == stored["image"].tolist()
            np.testing.assert_array_equal(own["logit_1"], stored["logit_1"])
    fold_of = frames.predictions.rows().drop_duplicates("image").set_index("image")["fold"]
    rows = frames.rows().query("explainer == 'gradcam' and metric == 'pixel_auroc'").astype({"image": str})
    assert rows.groupby("head", observed=True)["image"].nunique().loc["blackbox"] == 4
    for fold in (1, 2):
        stored = pd.read_parquet(store.cell(CellKey("squares", "compact", "blackbox", 0, fold)).scores_file("gradcam"))
        expected = stored.query("metric == 'pixel_auroc'").set_index("image")["value"]
        own = rows[(rows["image"].map(fold_of) == fold) & (rows["head"] == "blackbox")].set_index("image")["value"]
        pd.testing.assert_series_equal(own.sort_index(), expected.sort_index(), check_names=False)


def test_no_classifier_was_trained_on_a_group_that_it_is_tested_on(frames: Frames) -> None:
    """Black boxes of two folds differ, and heads share the images of a fold, whose groups are in no other."""
    (cell, *_) = frames.cells.itertuples()
    assert len({record.weights_sha256 for record in frames.trainings(cell)}) == 2
    rows = frames.predictions.rows()
    assert rows.groupby("group")["fold"].nunique().max() == 1
    assert rows.groupby("image")["fold"].nunique().max() == 1


def test_auc_is_the_mean_over_folds_weighted_by_pairs(frames: Frames) -> None:
    (row, *_) = classification_table(frames).rows
    mine = frames.predictions.where(head=[row["head"]]).rows()
    areas, pairs = [], []
    for _, part in mine.groupby("fold"):
        areas.append(roc_auc_score(part["label"], part["logit_1"] - part["logit_0"]))
        pairs.append(part["label"].sum() * (1 - part["label"]).sum())
    assert row["auc"].mean == pytest.approx(np.average(areas, weights=pairs), abs=1e-9)
    right = (mine["logit_1"] > mine["logit_0"]) == mine["label"]
    assert row["accuracy"].mean == pytest.approx(right.mean())
    assert row["auc"].n == ALL


def test_curves_cases_and_pictures_join_the_folds(run: Path, frames: Frames) -> None:
    (cell, *_) = frames.explained.query("explainer == 'gradcam'").itertuples()
    assert frames.curve(cell, "deletion_curve", "zero")["image"].nunique() == 2
    explained = logits_of(frames, cell)
    assert len(explained) == explained["image"].nunique() == 6
    grids = frames.cell(cell).cases("gradcam")
    assert grids is not None
    assert set(grids.ids) == set(explained["image"])
    own = [read_ids(store.cases_file("gradcam")) for store in frames.cell(cell).folds]
    assert not own[0] & own[1]
    (shown,) = render_cases(frames)["sets"]
    assert set(shown["ids"]) == set(explained["image"])
    assert all(-1 not in head["targets"] for head in shown["heads"])
    with np.load(run / "data/squares.npz") as kept, np.load(frames.cell(cell).first.gallery_file("gradcam")) as maps:
        assert set(kept["ids"].tolist()) <= own[0]
        assert len(maps.files) == len(kept["ids"]) == 2


def test_the_report_says_what_was_done(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    assert build_report(out, QUIET) == []
    text = (out / "tables/classification.md").read_text("utf-8")
    assert "folds of squares: 2" in text
    assert "weighted by pairs" in text
    assert "each image is scored by the classifier that was not trained on its fold" in text
    assert (out / "figures/gallery_squares.png").exists()
    assert pd.read_parquet(out / "scores.parquet").groupby("explainer")["image"].nunique().max() == 6


def test_a_second_run_computes_nothing_and_a_stopped_one_goes_on(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with stopped_in_second_epoch(), pytest.raises(KeyboardInterrupt):
        run_tiny(out, folded())
    assert run_tiny(out, folded()).computed
    assert not run_tiny(out, folded()).computed
    ours, theirs = load_frames(out), load_frames(run)
    pd.testing.assert_frame_equal(ours.rows(), theirs.rows())
    pd.testing.assert_frame_equal(ours.predictions.rows(), theirs.predictions.rows())


def test_a_run_without_folds_keeps_the_cells_of_one_with_folds(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    plain = tiny_config(heads=["blackbox"], explainers=["random"])
    run_tiny(out, plain)
    assert load_frames(out).folds == {}
    assert "fold" not in load_frames(out).predictions.rows()
    assert not run_tiny(out, folded()).computed


def test_an_explainer_that_fails_in_one_fold_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = EXPLAINERS["random"].explain_batch, []

    def fail_first(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return real(*arguments)

    monkeypatch.setattr(EXPLAINERS["random"], "explain_batch", fail_first)
    config = folded(heads=["blackbox"], explainers=["gradcam", "random"], studies=[])
    assert len(run_tiny(tmp_path / "run", config).problems) == 1
    frames = load_frames(tmp_path / "run")
    assert set(frames.explained["explainer"]) == {"gradcam"}
    assert [line for line in faults(frames) if "explainer 'random' failed: fold 1: RuntimeError: out of luck" in line]


def test_a_cell_without_all_its_folds_is_not_shown(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    RunStore(out).cell(CellKey("squares", "compact", "tte", 0, 2)).note(status="failed", reason="no memory")
    frames = load_frames(out)
    assert frames.cells["status"].tolist() == ["ok", "failed", "ok"]
    assert set(frames.predictions.rows()["head"]) == {"blackbox", "softcam-sparse"}
    assert "squares · compact · tte · seed 0 failed: fold 2: no memory" in faults(frames)


def test_runs_with_folds_are_merged(run: Path, tmp_path: Path) -> None:
    for name, head in (("a", "blackbox"), ("b", "softcam-sparse")):
        assert run_tiny(tmp_path / name, folded(heads=[head])).problems == []
    assert merge(tmp_path, "a", "b") == []
    merged, both = load_frames(tmp_path / "merged"), load_frames(run)
    assert merged.cells["head"].tolist() == ["blackbox", "softcam-sparse"]
    for name in ("blackbox", "softcam-sparse"):
        ours, theirs = (one.predictions.where(head=[name]).rows() for one in (merged, both))
        pd.testing.assert_frame_equal(ours, theirs, check_categorical=False)
    assert merged.record.origin(CellKey("squares", "compact", "softcam-sparse", 0)).config["run"]["heads"] == [
        "softcam-sparse"
    ]


def test_the_classifier_of_a_fold_is_exported(run: Path, tmp_path: Path) -> None:
    (line, *_) = export_cell(run / "cells/squares/compact-softcam-sparse-s0-f2", tmp_path / "out", onnx=False)
    assert line.startswith("squares · compact · softcam-sparse · seed 0 · fold 2")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "0, fold 2" in card
    assert "Cross-validation with 2 folds" in card


def test_a_study_has_the_rows_of_all_folds(run: Path, frames: Frames) -> None:
    rows = frames.studies["agreement"].query("head == 'blackbox' and explainer == 'gradcam'")
    assert len(rows)
    parts = [
        pd.read_parquet(
            RunStore(run).cell(CellKey("squares", "compact", "blackbox", 0, fold)).study_file("agreement", "gradcam")
        )
        for fold in (1, 2)
    ]
    assert len(rows) == sum(map(len, parts))
