"""Folders of a merge: damaged files, links, names of others, and where runs may be merged to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.report.frames.load import load_frames
from bench.report.gaps import gaps
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.bench.commands.merge.merging import (
    contents,
    first_cell,
    merge,
    one_run,
    rewrite,
    two_runs,
)
from tests.support.report_store import make_run


def test_damaged_scores_are_left_out_and_named(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    cell = first_cell(one, "plain")
    rewrite(cell, "noise", lambda scores: scores)  # with its digest
    content = bytearray(cell.scores_file("noise").read_bytes())
    content[len(content) // 3] ^= 1
    cell.scores_file("noise").write_bytes(bytes(content))
    cell.scores_file("post_b").unlink()
    left = merge(tmp_path, "a", "b")
    assert sorted(line.split("scores/")[1] for line in left) == [
        "noise.parquet is damaged (it was changed since it was written) and was left out; repeat the command of a and "
        "merge again",
        "post_b.parquet is damaged (it is missing or does not belong to the record of its cell) and was left out; "
        "repeat the command of a and merge again",
    ]
    frames = load_frames(tmp_path / "merged")
    assert set(left) <= set(frames.record.problems)
    assert frames.damaged == ()
    assert set(frames.explained.loc[frames.explained["head"] == "plain", "explainer"]) == {"post_a"}
    why = "its results in a are damaged; repeat the command of a and merge again"
    assert f"first · small · plain · seed 0: explainer 'noise' failed: {why}" in gaps(frames)
    assert not (tmp_path / "merged" / "cells/first/small-plain-s0/scores/noise.parquet").exists()


def test_damage_of_one_run_is_made_good_by_another(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path)
    one.images_file("first").write_bytes(b"")
    left = merge(tmp_path, "a", "b")
    assert len(left) == 1
    assert "a/data/first.npz is damaged" in left[0]
    assert (tmp_path / "merged/data/first.npz").read_bytes() == other.images_file("first").read_bytes()


def test_a_cell_whose_record_is_damaged_has_failed(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    (first_cell(one, "plain").folder / "cell.json").write_text("{")
    (left,) = merge(tmp_path, "a", "b")
    assert "small-plain-s0/cell.json is damaged" in left
    frames = load_frames(tmp_path / "merged")
    assert list(frames.cells["status"]) == ["failed", "ok"]


def test_a_damaged_record_of_a_run_is_one_line(tmp_path: Path) -> None:
    two_runs(tmp_path)
    (tmp_path / "b/run.json").write_text("{")
    with pytest.raises(UserError, match=r"b/run.json is damaged .*; repeat the command that wrote it"):
        merge(tmp_path, "a", "b")
    assert not (tmp_path / "merged").exists()


def test_links_do_not_lead_out_of_a_run(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    secret = tmp_path / "secret.parquet"
    file = first_cell(one, "plain").scores_file("noise")
    file.rename(secret)
    file.symlink_to(secret)
    (left,) = merge(tmp_path, "a", "b")
    assert "noise.parquet is damaged (it is a link or reached through one)" in left
    assert not (tmp_path / "merged/cells/first/small-plain-s0/scores/noise.parquet").exists()
    outside = tmp_path / "outside"
    first_cell(one, "plain").folder.rename(outside)
    (tmp_path / "a/cells/first/small-plain-s0").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of"):
        merge(tmp_path, "a", "b")


def test_links_do_not_lead_out_of_the_merge(tmp_path: Path) -> None:
    two_runs(tmp_path)
    merge(tmp_path, "a", "b")
    outside = tmp_path / "outside"
    (tmp_path / "merged/cells/first").rename(outside)
    (tmp_path / "merged/cells/first").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(UserError, match="leads out of"):
        merge(tmp_path, "a", "b")
    assert contents(outside) == before


@pytest.mark.parametrize("name", ["../../outside", "folder:/a <b>", "a|b", "x" * 300, "=cmd", "%s_{}", "שלום"])
def test_names_of_others_stay_names(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner" / "runs"
    make_run(inner / "a", datasets=(name,), heads=("plain",))
    make_run(inner / "b", datasets=(name,), heads=("own",))
    before = contents(tmp_path)
    assert merge(inner, "a", "b") == []
    added = contents(tmp_path).keys() - before.keys()
    assert all(file.startswith(("inner/runs/merged/", "inner/runs/a/", "inner/runs/b/")) for file in added)
    assert load_frames(inner / "merged").rows()["dataset"].unique().tolist() == [name]


def test_names_of_runs_are_shown_as_text(tmp_path: Path) -> None:
    one_run(tmp_path / "<b>a|_%", heads=("plain",), explainers=("noise",))
    one_run(tmp_path / "=cmd", heads=("own",), explainers=("evidence",))
    assert merge(tmp_path, "<b>a|_%", "=cmd", report=True) == []
    page = (tmp_path / "merged/report.html").read_text("utf-8")
    assert "<b>a|_%" not in page
    assert "Merge of the runs &lt;b&gt;a|_%, =cmd." in page
    one_run(tmp_path / "a\x1b[2J", heads=("plain",))
    with pytest.raises(UserError, match="hidden characters; rename its folder"):
        merge(tmp_path, "=cmd", "a\x1b[2J", out="other")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one_run(tmp_path / "mine/quick", heads=("plain",))
    one_run(tmp_path / "yours/quick", heads=("own",))
    assert merge(tmp_path, "mine/quick", "yours/quick") == []
    names = [run.name for run in RunStore(tmp_path / "merged").record.merged]
    assert names == [str(tmp_path / "mine/quick"), str(tmp_path / "yours/quick")]


@pytest.mark.parametrize(
    ("names", "out", "said"),
    [
        (["a"], "merged", "at least two runs"),
        (["a", "a"], "merged", "is named twice"),
        (["a", "b", "b/../a"], "merged", "is named twice"),
        (["a", "b"], "a", "holds a run that was not merged from others"),
        (["a", "b"], "c", "holds a run that was not merged from others"),
        (["a", "b"], "a/inside", "share a folder"),
        (["a", "b"], "foreign", "is not a run folder and not empty"),
        (["a", "b"], "foreign/file", "is a file"),
        (["a", "nowhere"], "merged", "nowhere holds no run"),
        (["a", "foreign"], "merged", "foreign holds no run"),
    ],
)
def test_folders_that_cannot_be_used_are_one_line(tmp_path: Path, names: list[str], out: str, said: str) -> None:
    two_runs(tmp_path)
    one_run(tmp_path / "c", heads=("own",), seeds=(1,))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/file").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        merge(tmp_path, *names, out=out)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_merge_that_lost_its_record_is_not_taken_for_one(tmp_path: Path) -> None:
    two_runs(tmp_path)
    merge(tmp_path, "a", "b")
    (tmp_path / "merged/run.json").unlink()
    with pytest.raises(UserError, match="holds a run that was not merged from others"):
        merge(tmp_path, "a", "b")


def test_a_run_that_works_is_waited_for(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    with one.lock(), pytest.raises(UserError, match=r"a run or report is working in .*a; wait for it"):
        merge(tmp_path, "a", "b")
    assert merge(tmp_path, "a", "b") == []
    with RunStore(tmp_path / "merged").lock(), pytest.raises(UserError, match=r"working in .*merged; wait"):
        merge(tmp_path, "a", "b")


def test_a_record_with_hidden_names_is_refused(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    merge(tmp_path, "a", "b")
    record = RunStore(tmp_path / "merged").record
    with pytest.raises(ValueError, match="hidden characters"):
        record.changed(merged=[record.merged[0].changed(name="a\u202eb")])
    key = CellKey("first", "small", "plain", 0)
    assert record.origin(key) == record.merged[0]
    assert one.record.origin(key) == one.record
