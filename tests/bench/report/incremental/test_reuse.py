"""Parts of a report that are kept: declared inputs are the real ones, and what is kept equals what is made anew."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bench.files import file_digest, replacing
from bench.report.build import build_report
from bench.report.contents import STUDY, TOPICS, Topic, part_of
from bench.report.failures import Failures
from bench.report.frames.load import load_frames
from bench.report.incremental.inputs import KINDS, input_digests
from bench.report.incremental.stored import read_part, write_part
from bench.store.manifest import Manifest
from bench.store.scores import write_scores
from bench.text.transcript import Transcript
from tests.support.recorded import recorded
from tests.support.report_store import make_run, rows
from tests.support.study_store import PLAIN, head, make_grid

QUIET = Console(quiet=True)


def write_one(folder: Path) -> None:
    make_run(folder, ("first",))


def write_grid(folder: Path) -> None:
    heads = {"plain": PLAIN, "dense": head("own", l1=0.0, l2=0.0, pooling="avg")}
    heads |= {"weak": head("own", l1=1e-4, l2=0.0, pooling="avg"), "max": head("own", l1=0.0, l2=0.0, pooling="max")}
    make_grid(folder, heads, {"first": {"grid": (4, 4)}, "first@size=32": {"base": "first", "size": 32}, "second": {}})


@pytest.mark.parametrize("write", [write_one, write_grid])
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_topics_declare_everything_that_they_read(
    topic: Topic, write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    frames, kinds = recorded(load_frames(tmp_path), monkeypatch)
    part_of(frames, topic)
    for draw in topic.figures:
        list(draw(frames))
    assert kinds() <= set(topic.reads)
    assert all(kind in KINDS or kind.startswith(STUDY) for kind in topic.reads)


def stamps(folder: Path) -> dict[str, int]:
    """File below ``figures`` and ``.report`` -> when it was written."""
    found = [file for name in ("figures", ".report") for file in (folder / name).iterdir()]
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in found}


def contents(folder: Path) -> dict[str, str]:
    """File of numbers -> digest."""
    return {file.name: file_digest(file) for file in (folder / "tables").rglob("*.*")}


def test_a_second_report_makes_nothing_and_prints_the_same(tmp_path: Path) -> None:
    make_run(tmp_path, ("first",), explainers=("post_a", "evidence"))
    texts = []
    for _ in range(2):
        console = Console(record=True, width=200, file=io.StringIO())
        assert build_report(tmp_path, console, only_if_stale=True, verbose=True) == []
        lines = [line for line in console.export_text().splitlines() if "report" not in line.split()[:3]]
        texts.append((lines, stamps(tmp_path)))
    assert texts[0] == texts[1]
    assert "Classification" in texts[0][0][0]
    assert "first" in texts[0][0]


def test_training_curves_alone_are_drawn_again(tmp_path: Path) -> None:
    store = make_run(tmp_path, ("first",), explainers=("post_a", "evidence"))
    build_report(tmp_path, QUIET, only_if_stale=True)
    before = stamps(tmp_path)
    training = store.cell(store.record.cells[0]).training
    pd.read_csv(training).assign(val_loss=0.1).to_csv(training, index=False)
    build_report(tmp_path, QUIET, only_if_stale=True)
    changed = {name for name, stamp in stamps(tmp_path).items() if stamp != before[name]}
    figures = {name for name in changed if name.startswith("figures/")}
    assert figures == {"figures/training_curves.png", "figures/training_curves.pdf"}
    assert ".report/verdicts.json" not in changed
    assert ".report/scores.json" not in changed


def test_scores_of_an_explainer_leave_what_does_not_show_it(tmp_path: Path) -> None:
    store = make_run(tmp_path, ("first",), explainers=("post_a", "evidence"))
    build_report(tmp_path, QUIET, only_if_stale=True)
    before = stamps(tmp_path)
    cell = store.cell(store.record.cells[0])
    file = cell.scores_file("post_a")
    write_scores(replacing(file), [pd.read_parquet(file)[::-1]], fingerprint="x")
    study = cell.study_file("sanity", "post_a")
    study.parent.mkdir(parents=True)
    study.write_bytes(b"")
    build_report(tmp_path, QUIET, only_if_stale=True)
    after = stamps(tmp_path)
    changed = {name.removeprefix(".report/") for name in before if after[name] != before[name]}
    assert {"scores.json", "verdicts.json", "sanity.json", "figures/topk_precision.png"} <= changed
    kept = {f"{topic.name}.json" for topic in TOPICS if "scores" not in topic.reads}
    assert kept == {"classification.json", "classifiers.json", "sparsity.json", "metric_soundness.json"}
    assert not changed & (kept | {"figures/training_curves.png"})


def test_changed_scores_change_the_tables_as_a_whole_report_does(tmp_path: Path) -> None:
    store = make_run(tmp_path / "one", ("first",), explainers=("post_a", "evidence"))
    build_report(tmp_path / "one", QUIET, only_if_stale=True)
    before = contents(tmp_path / "one")
    file = store.cell(store.record.cells[0]).scores_file("post_a")
    parts = [pd.read_parquet(file), rows("audc", pd.DataFrame([[0.1], [0.7], [0.2], [0.3]]).to_numpy(), "zero", False)]
    parts[0] = parts[0][(parts[0]["metric"] != "audc")]
    write_scores(replacing(file), [pd.concat(parts)], fingerprint="x")
    build_report(tmp_path / "one", QUIET, only_if_stale=True)
    again = contents(tmp_path / "one")
    assert again != before
    build_report(tmp_path / "one", QUIET)
    assert contents(tmp_path / "one") == again


def test_one_more_explainer_is_shown_and_leaves_what_does_not_show_it(tmp_path: Path) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    make_run(run, ("first",), explainers=("post_a", "evidence"))
    build_report(run, QUIET, only_if_stale=True)
    before = stamps(run)
    make_run(more, ("first",), explainers=("post_a", "post_b", "evidence"))
    for file in [one for one in more.rglob("*") if one.is_file()]:
        place = run / file.relative_to(more)
        if not place.exists() or place.read_bytes() != file.read_bytes():  # as a run, which leaves the rest alone
            shutil.copyfile(file, place)
    build_report(run, QUIET, only_if_stale=True)
    after = stamps(run)
    assert "post_b" in (run / "tables/cost.csv").read_text()
    kept = {name for name in before if after[name] == before[name]}
    assert {".report/classification.json", "figures/training_curves.png", "figures/training_curves.pdf"} <= kept
    assert not kept & {".report/scores.json", ".report/verdicts.json", "figures/topk_precision.png"}
    added = contents(run)
    build_report(run, QUIET)
    assert contents(run) == added


def test_a_deleted_figure_is_drawn_again_and_other_figures_are_kept(tmp_path: Path) -> None:
    make_run(tmp_path, ("first",), explainers=("post_a", "evidence"))
    build_report(tmp_path, QUIET, only_if_stale=True)
    before = stamps(tmp_path)
    (tmp_path / "figures/training_curves.png").unlink()
    build_report(tmp_path, QUIET, only_if_stale=True)
    after = stamps(tmp_path)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {
        "figures/training_curves.png",
        "figures/training_curves.pdf",
    }


def test_all_figures_are_drawn_on_request_and_removed_afterwards(tmp_path: Path) -> None:
    make_run(tmp_path, ("first",))
    figures = tmp_path / "figures"
    build_report(tmp_path, QUIET)
    shown = {file.name for file in figures.iterdir()}
    build_report(tmp_path, QUIET, only_if_stale=True, figures="all")
    assert {"insertion_curves.png", "accuracy_by_head.pdf"} <= {file.name for file in figures.iterdir()} - shown
    build_report(tmp_path, QUIET, only_if_stale=True)
    assert {file.name for file in figures.iterdir()} == shown


def test_no_figures_on_request(tmp_path: Path) -> None:
    make_run(tmp_path, ("first",))
    build_report(tmp_path, QUIET, figures="none")
    assert not [*tmp_path.glob("figures/*")]
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "tables/cost.csv").exists()
    build_report(tmp_path, QUIET, only_if_stale=True)
    assert (tmp_path / "figures/deletion_curves.pdf").exists()


def test_stored_tables_are_the_tables(tmp_path: Path) -> None:
    make_run(tmp_path, ("first",))
    frames, files = load_frames(tmp_path), Manifest(tmp_path)
    for topic in TOPICS:
        made = part_of(frames, topic, Failures(are_raised=True))
        write_part(files, topic.name, "key", made)
        found = read_part(tmp_path, topic.name, "key")
        assert found is not None
        assert found.missing == made.missing
        assert set(found.tables) == set(made.tables)
        for name, table in made.tables.items():
            pd.testing.assert_frame_equal(found.tables[name].numbers(), table.numbers(), check_dtype=False, rtol=0)
            assert (found.tables[name].columns, found.tables[name].notes) == (table.columns, table.notes)
        assert read_part(tmp_path, topic.name, "another key") is None


def test_inputs_of_two_runs_differ_in_what_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "a", ("first",))
    before = input_digests(load_frames(tmp_path / "a"), KINDS)
    (tmp_path / "a/cells/first/small-own-s0/training.csv").write_text("epoch,val_auc,val_loss\n0,0.5,0.5\n")
    after = input_digests(load_frames(tmp_path / "a"), KINDS)
    assert {kind for kind in KINDS if before[kind] != after[kind]} == {"training"}


def test_transcript_leaves_out_what_was_said() -> None:
    kept = Transcript()
    kept.print("first")
    kept.print("second", style="yellow")
    console = Console(record=True, width=80, file=io.StringIO())
    Transcript(kept.entries).replay(console, ["first"])
    assert console.export_text().split() == ["second"]
