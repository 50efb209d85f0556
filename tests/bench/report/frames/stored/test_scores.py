"""Scores on disk: rows of a metric are those of the files, in small runs, which are kept, and in large ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.report.frames.load import Frames, load_frames
from bench.report.frames.stored import reader
from bench.report.frames.stored.reader import ABOUT
from bench.report.frames.stored.scores import Scores
from bench.store.scores import SCORE_COLUMNS
from tests.support.report_store import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("run")
    make_run(found, ("first", "second"))
    return found


def literal(frames: Frames) -> pd.DataFrame:
    """Every score without steps, file by file."""
    parts = []
    for row in frames.explained.itertuples():
        rows = pd.read_parquet(frames.cell(row).first.scores_file(str(row.explainer)))
        about = {name: getattr(row, name) for name in ABOUT}
        parts.append(rows[(rows["step"] == -1) & (rows["image"] != "")].assign(**about))
    return pd.concat(parts, ignore_index=True)


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as text and numbers, which categories compare with."""
    return rows[[*SCORE_COLUMNS, *ABOUT]].astype(object).reset_index(drop=True)


@pytest.mark.parametrize("kept", [2_000_000, 0])
def test_rows_are_those_of_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(reader, "KEPT_ROWS", kept)
    monkeypatch.setattr(reader, "TEXT_ROWS", 3)
    frames = load_frames(folder)
    everything = literal(frames)
    pd.testing.assert_frame_equal(plain(frames.rows()), plain(everything))
    for metrics in (["gini"], ["activation_precision", "gini"], ["absent"]):
        expected = everything[everything["metric"].isin(metrics)]
        pd.testing.assert_frame_equal(plain(frames.rows(metrics)), plain(expected))
    part = frames.source.where(dataset=["second"], family=["post-hoc"]).rows(["gini"])
    inside = (everything["dataset"] == "second") & (everything["family"] == "post-hoc")
    pd.testing.assert_frame_equal(plain(part), plain(everything[inside & (everything["metric"] == "gini")]))


@pytest.mark.parametrize("kept", [2_000_000, 0])
def test_curves_are_those_of_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(reader, "KEPT_ROWS", kept)
    monkeypatch.setattr(reader, "TEXT_ROWS", 3)
    frames, columns = load_frames(folder), ["image", "group", "step", "value"]
    for row in frames.explained.itertuples():
        stored = pd.read_parquet(frames.cell(row).first.scores_file(str(row.explainer)))
        steps = stored[(stored["metric"] == "deletion_curve") & (stored["variant"] == "zero") & (stored["step"] >= 0)]
        assert len(steps) == 4 * 4
        found = frames.curve(row, "deletion_curve", "zero").reset_index(drop=True)
        pd.testing.assert_frame_equal(
            found[columns].astype(object), steps[columns].astype(object).reset_index(drop=True)
        )
        assert (found["seed"] == row.seed).all()
        image = steps["image"].iloc[-1]
        some = frames.curve(row, "deletion_curve", "zero", [image])
        assert (
            some.loc[some["image"] == image, "value"].tolist() == steps.loc[steps["image"] == image, "value"].tolist()
        )
        assert len(some) == (4 if kept == 0 else 4 * 4)
    assert len(frames.curve(row, "deletion_curve", "absent")) == 0


def test_batches_are_whole_methods(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = load_frames(folder)
    source = frames.source.with_derived(frames.rows(["gini"]).assign(metric="derived"))
    assert source.batches() == [source]
    one = len(frames.rows(["gini"])) // len(frames.explained)
    for kept, methods in ((1, 1), (3 * one, 3)):
        monkeypatch.setattr(reader, "KEPT_ROWS", kept)
        parts = source.batches()
        assert max(len(part.methods) for part in parts) == methods
        assert pd.concat([part.methods for part in parts], ignore_index=True).equals(source.methods)
        derived = pd.concat([part.rows(["derived"]) for part in parts])
        assert sorted(derived["value"]) == sorted(source.rows(["derived"])["value"])


def test_derived_rows_join_those_of_files(folder: Path) -> None:
    frames = load_frames(folder)
    derived = frames.rows(["gini"]).assign(metric="derived")
    both = frames.source.with_derived(derived)
    assert len(both.rows()) == len(frames.rows()) + len(derived)
    assert set(both.rows(["derived"])["value"]) == set(derived["value"])
    assert both.metrics == sorted({*frames.source.metrics, "derived"})


def test_rows_in_memory_are_scores(folder: Path) -> None:
    everything = load_frames(folder).rows()
    pd.testing.assert_frame_equal(plain(Scores.of(everything).rows()), plain(everything))
    assert len(Scores.of(everything[:0]).rows()) == 0
