"""The file of all scores, and what of it the report keeps in memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.files import replacing
from bench.report.frames.compared import compared_curves
from bench.report.frames.load import CELL, Frames, load_frames, write_long_frame
from bench.store.records import ExplainerOutcome
from tests.support.report_store import make_run

ORDER = [*CELL, "explainer", "metric", "variant", "image", "step"]


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    make_run(tmp_path, seeds=(0, 1))
    return load_frames(tmp_path)


def written(frames: Frames, derived: pd.DataFrame, file: Path) -> pd.DataFrame:
    write_long_frame(frames, derived, replacing(file))
    return pd.read_parquet(file).sort_values(ORDER, ignore_index=True)


def stored(frames: Frames) -> pd.DataFrame:
    parts = []
    for row in frames.explained.itertuples(index=False):
        parts.append(pd.read_parquet(frames.cell(row).first.scores_file(str(row.explainer))).assign(**row._asdict()))
    rows = pd.concat(parts)
    return rows[rows["image"] != ""].sort_values(ORDER, ignore_index=True)


def test_it_holds_every_score_and_every_step(frames: Frames, tmp_path: Path) -> None:
    everything = stored(frames)
    assert len(frames.explained) == 2 * 2 * (3 + 4)
    assert set(everything["step"]) == {-1, 0, 1, 2, 3}
    pd.testing.assert_frame_equal(written(frames, frames.rows()[:0], tmp_path / "all.parquet"), everything)


def test_the_report_keeps_what_has_no_step(frames: Frames) -> None:
    everything = stored(frames)
    kept = frames.rows().sort_values(ORDER, ignore_index=True).astype(everything.dtypes)
    pd.testing.assert_frame_equal(kept, everything[everything["step"] == -1].reset_index(drop=True))


def test_a_curve_is_that_of_every_seed(frames: Frames) -> None:
    everything = stored(frames)
    everything = everything[(everything["metric"] == "deletion_curve") & (everything["variant"] == "zero")]
    found = dict(compared_curves(frames, "deletion_curve", "zero"))
    assert len(found) == 2 * 4  # the inherent maps of "own", the others on "plain"
    for (dataset, backbone, head, explainer, family), rows in found.items():
        named = {"dataset": dataset, "backbone": backbone, "head": head, "explainer": explainer, "family": family}
        theirs = everything[(everything[list(named)] == list(named.values())).all(axis=1)]
        pd.testing.assert_frame_equal(
            rows.astype({"image": str, "group": str}).sort_values(["image", "seed", "step"], ignore_index=True),
            theirs[rows.columns].sort_values(["image", "seed", "step"], ignore_index=True),
        )
    assert not list(compared_curves(frames, "deletion_curve", "noise"))


def test_derived_rows_are_added(frames: Frames, tmp_path: Path) -> None:
    derived = frames.rows()[:3].assign(metric="derived")
    found = written(frames, derived, tmp_path / "all.parquet")
    assert len(found) == len(stored(frames)) + 3
    assert (found["metric"] == "derived").sum() == 3


def test_an_explainer_that_failed_since_leaves_no_row(frames: Frames, tmp_path: Path) -> None:
    for cell in frames.cells.itertuples():
        frames.cell(cell).first.note_explainer("post_a", ExplainerOutcome(status="failed", reason="broken"))
    again = load_frames(tmp_path)
    assert "post_a" in set(frames.explained["explainer"])
    assert "post_a" not in set(written(again, again.rows()[:0], tmp_path / "all.parquet")["explainer"])
    assert "post_a" not in {names[3] for names, _ in compared_curves(again, "deletion_curve", "zero")}


def test_a_run_without_a_score_has_an_empty_frame(tmp_path: Path) -> None:
    make_run(tmp_path, explainers=())
    frames = load_frames(tmp_path)
    assert written(frames, frames.rows(), tmp_path / "all.parquet").empty
    assert not list(compared_curves(frames, "deletion_curve", "zero"))
