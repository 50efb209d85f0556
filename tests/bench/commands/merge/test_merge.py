"""Merging of stored runs: the union of their results, whatever stops it on the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.merge import copying
from bench.errors import UserError
from bench.report.build import build_report
from bench.report.frames.load import load_frames
from bench.report.gaps import Missing, gaps
from bench.store.cell_facts import LesionReliance
from bench.store.folders import RunStore
from bench.store.records import CellKey, MetricFacts, StudyOutcome
from tests.bench.commands.merge.merging import (
    QUIET,
    change,
    change_cells,
    contents,
    first_cell,
    merge,
    one_run,
    rewrite,
    two_runs,
)
from tests.support.report_store import MACHINE, rows


def tables(run: Path) -> dict[str, str]:
    """Returns the tables without the sentence that names the merged runs, for which CSV may need quotes."""
    texts = {file.name: file.read_text("utf-8") for file in (run / "tables").glob("*.csv")}
    where = " This is done in the runs that were merged (a, b); then merge again."
    return texts | {"gaps.csv": texts["gaps.csv"].replace(where, "").replace('"', "")}


def test_two_heads_in_two_runs_are_one_run_with_both(tmp_path: Path) -> None:
    two_runs(tmp_path)
    both = one_run(tmp_path / "both", heads=("plain", "own"))
    assert merge(tmp_path, "a", "b", report=True) == []
    assert build_report(tmp_path / "both", QUIET) == []
    record, expected = RunStore(tmp_path / "merged").record, both.record
    same = ("cells", "explained_by", "datasets", "explainers", "heads", "metrics", "problems", "absent", "packages")
    assert {name: getattr(record, name) for name in same} == {name: getattr(expected, name) for name in same}
    assert [run.name for run in record.merged] == ["a", "b"]
    assert tables(tmp_path / "merged") == tables(tmp_path / "both")
    assert load_frames(tmp_path / "merged").rows().equals(load_frames(tmp_path / "both").rows())


def test_a_cell_says_which_run_did_not_compute_what_others_did(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path, explainers=("evidence", "noise"))
    other = one_run(tmp_path / "c", heads=("plain",), seeds=(1,), explainers=("noise", "post_b"))
    gini = MetricFacts(name="gini", family="complexity", higher_is_better=None)
    change(one, studies={"sanity": {}}, metrics=[*one.record.metrics, gini])
    assert merge(tmp_path, "a", "b", "c", report=True) == []
    frames = load_frames(tmp_path / "merged")
    assert frames.damaged == ()
    outcomes = frames.cell(CellKey("first", "small", "plain", 1)).record.explainers
    assert (outcomes["post_a"].status, outcomes["post_a"].reason) == ("skipped", "not part of c")
    assert outcomes["noise"].status == outcomes["post_b"].status == "ok"
    assert "post_a" not in frames.cell(CellKey("first", "small", "own", 0)).record.explainers, "its head never had it"
    studies = frames.cell(CellKey("first", "small", "own", 0)).record.studies
    assert studies == {"sanity": {"": StudyOutcome(status="skipped", reason="not part of b")}}
    assert "first: not part of b: complexity skipped (gini)" in gaps(frames)
    assert "first: not part of a: complexity skipped (gini)" not in gaps(frames)
    assert "post_a: not part of c (first · small · plain · seed 1)" in (tmp_path / "merged/report.html").read_text()
    assert other.record.explained_by == {"plain": ["noise", "post_b"]}
    again = Missing("agreement", studies=("agreement",)).message(frames)
    assert "with --studies sanity,agreement to add it" in again
    assert again.endswith("This is done in the runs that were merged (a, b, c); then merge again.")
    assert "merge" not in Missing("agreement", studies=("agreement",)).message(load_frames(tmp_path / "a"))


def test_results_of_earlier_plans_do_not_come_back(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path, heads=("plain",), seeds=(1,))
    change(one, explained_by={"plain": ["noise"]})
    assert merge(tmp_path, "a", "b") == []
    found = load_frames(tmp_path / "merged").explained
    assert set(found.loc[found["seed"] == 0, "explainer"]) == {"noise"}
    assert set(found.loc[found["seed"] == 1, "explainer"]) == {"noise", "post_a", "post_b"}


def test_explainers_of_one_cell_are_joined(tmp_path: Path) -> None:
    one = one_run(tmp_path / "a", heads=("plain",), explainers=("post_a", "noise"))
    other = one_run(tmp_path / "b", heads=("plain",), explainers=("post_a", "post_b"))
    for run in (one, other):
        change_cells(run, weights_sha256="same")
        change(run, studies={"counting": {}})
        cell = first_cell(run, "plain")
        with cell.files.writing(cell.study_file("counting", "post_a")) as temporary:
            pd.DataFrame({"count": [3]}).to_parquet(temporary)
    codes = '{"audc@donor": "1"}'
    extra = rows("deletion_curve", np.full((4, 1), 0.5), "donor")
    rewrite(first_cell(other, "plain"), "post_a", lambda scores: pd.concat([scores, extra]), metrics=codes)
    assert merge(tmp_path, "a", "b") == []
    merged = RunStore(tmp_path / "merged")
    found = load_frames(merged.folder).explained["explainer"]
    assert list(found) == ["post_a", "noise", "post_b"]
    cell, before = first_cell(merged, "plain"), first_cell(one, "plain")
    joined, first = (pd.read_parquet(store.scores_file("post_a")) for store in (cell, before))
    assert joined.iloc[: len(first)].equals(first)
    assert set(joined.iloc[len(first) :]["variant"]) == {"donor"}
    assert cell.metadata(cell.scores_file("post_a"))["metrics"] == codes
    again = contents(merged.folder / "cells")
    assert merge(tmp_path, "a", "b") == []
    assert contents(merged.folder / "cells") == again


def test_an_unfinished_cell_gives_way_to_a_finished_one(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path, heads=("plain",))
    change_cells(one, status="failed", reason="no memory")
    change(other, config={"training": {"epochs": 5}})
    change_cells(other, lesion_reliance=LesionReliance(true_positives=5, called_healthy=0.5))
    assert merge(tmp_path, "a", "b") == []
    cell = first_cell(RunStore(tmp_path / "merged"), "plain").record
    assert (cell.status, cell.reason) == ("ok", "")
    assert cell.lesion_reliance is not None
    key = CellKey("first", "small", "plain", 0)
    assert RunStore(tmp_path / "merged").record.origin(key).config["training"] == {"epochs": 5}


def test_a_cell_that_failed_everywhere_has_failed(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path)
    change_cells(other, status="failed", reason="no memory")
    assert merge(tmp_path, "a", "b") == []
    assert "first · small · own · seed 0 failed: no memory" in gaps(load_frames(tmp_path / "merged"))
    assert one.record.finished


def test_the_runs_are_not_changed_and_share_their_files(tmp_path: Path) -> None:
    two_runs(tmp_path)
    before = {name: contents(tmp_path / name) for name in "ab"}
    merge(tmp_path, "a", "b")
    assert {name: contents(tmp_path / name) for name in "ab"} == before
    name = "cells/first/small-plain-s0/scores/noise.parquet"
    assert os.path.samefile(tmp_path / "a" / name, tmp_path / "merged" / name)


def test_files_are_copied_where_links_are_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError("another file system")

    two_runs(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    assert merge(tmp_path, "a", "b") == []
    name = "cells/first/small-plain-s0/scores/noise.parquet"
    assert not os.path.samefile(tmp_path / "a" / name, tmp_path / "merged" / name)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_an_interrupted_merge_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    two_runs(tmp_path)
    merge(tmp_path, "a", "b", out="whole")
    real, calls = copying._copy, []

    def stop(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(copying, "_copy", stop)
        with pytest.raises(KeyboardInterrupt):
            merge(tmp_path, "a", "b")
    unfinished = load_frames(tmp_path / "merged")
    assert not unfinished.record.finished
    assert unfinished.damaged == ()
    assert set(unfinished.cells["status"]) <= {"ok", "training", "absent"}
    assert merge(tmp_path, "a", "b") == []
    whole, resumed = (contents(tmp_path / name) for name in ("whole", "merged"))
    assert {name: digest for name, (digest, _) in resumed.items() if name.startswith(("cells", "data"))} == {
        name: digest for name, (digest, _) in whole.items() if name.startswith(("cells", "data"))
    }


def test_a_repeated_merge_takes_over_what_a_run_has_added(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    merge(tmp_path, "a", "b")
    rewrite(first_cell(one, "plain"), "noise", lambda scores: scores.assign(value=0.25))
    assert merge(tmp_path, "a", "b") == []
    frames = load_frames(tmp_path / "merged")
    noise = frames.rows()[(frames.rows()["explainer"] == "noise") & (frames.rows()["head"] == "plain")]
    assert set(noise["value"]) == {0.25}
    assert one_run(tmp_path / "c", heads=("other",)).record.cells
    assert merge(tmp_path, "a", "c") == []
    assert set(load_frames(tmp_path / "merged").cells["head"]) == {"plain", "other"}


def test_merges_can_be_merged(tmp_path: Path) -> None:
    two_runs(tmp_path)
    one_run(tmp_path / "c", datasets=("second",), heads=("own",), explainers=("evidence",))
    assert merge(tmp_path, "a", "b", "c", out="flat") == []
    assert merge(tmp_path, "a", "b", out="inner") == []
    assert merge(tmp_path, "inner", "c", out="nested") == []
    flat, nested = (RunStore(tmp_path / name).record for name in ("flat", "nested"))
    assert flat.merged == nested.merged
    assert flat.cells == nested.cells
    frames = [load_frames(tmp_path / name) for name in ("flat", "nested")]
    assert frames[0].rows().equals(frames[1].rows())
    assert (
        frames[0]
        .cells["record"]
        .map(lambda one: one.changed(plan=""))
        .equals(frames[1].cells["record"].map(lambda one: one.changed(plan="")))
    )


def test_page_and_costs_name_the_machines(tmp_path: Path) -> None:
    _, other = two_runs(tmp_path)
    change(other, machine=MACHINE.changed(cpu="a slide rule", threads=2))
    merge(tmp_path, "a", "b", report=True)
    said = "Seconds of different runs must not be compared, because the machines differ: a on an abacus, 1 thread; b on"
    assert f"{said} a slide rule, 2 threads." in (tmp_path / "merged/tables/cost.md").read_text("utf-8")
    page = (tmp_path / "merged/report.html").read_text("utf-8")
    assert "b: device cpu, gpu none, cpu a slide rule" in page
    assert "a (1 classifiers, 2026-01-01T00:00:00+00:00 to 2026-01-01T00:01:00+00:00); b (1 classifiers" in page


def test_no_run_writes_to_a_merge(tmp_path: Path) -> None:
    two_runs(tmp_path)
    merge(tmp_path, "a", "b")
    before = contents(tmp_path / "merged")
    arguments = ["--config", "smoke", "--out", str(tmp_path / "merged")]
    done = CliRunner().invoke(app, arguments, obj=run_benchmark.register)
    assert isinstance(done.exception, UserError)
    assert "merged holds merged runs; repeat the command in the folder of one of them" in str(done.exception)
    assert contents(tmp_path / "merged") == before


def test_the_command_ends_with_exit_code_0_1_or_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = two_runs(tmp_path)
    monkeypatch.setattr("bench.commands.merge.command.build_report", lambda *arguments, **options: [])
    runs = [str(tmp_path / name) for name in "ab"]

    def call() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["merge", *runs, "--out", str(tmp_path / "merged")], obj=run_benchmark.register)
        return done.exit_code, " ".join(done.output.split())

    assert call()[0] == 0
    first_cell(one, "plain").scores_file("noise").unlink()
    code, output = call()
    assert code == 1
    assert "noise.parquet is damaged" in output
    monkeypatch.setattr("sys.argv", ["run_benchmark.py", "merge", runs[0], runs[0], "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit) as left:
        run_benchmark.main()
    assert left.value.code == 2
