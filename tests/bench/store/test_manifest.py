"""What a run wrote is all that a run removes or replaces: nothing of a user's is lost, whatever ``--out`` names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.contracts import UserError
from bench.store.folders import CellStore
from bench.store.manifest import NAME, Manifest
from bench.store.run_folder import check_run_folder
from tests.support.files import ROOT, contents, put, write
from tests.support.report_store import make_run

SMALL = {"datasets": ("first",), "explainers": ("post_a", "evidence")}


# --- The notes -------------------------------------------------------------------------------------------------------


def test_own_file_is_replaced_and_any_other_is_not(tmp_path: Path) -> None:
    files = Manifest(tmp_path)
    write(files, "a/b.txt")
    write(Manifest(tmp_path).inside("a"), "b.txt", "newer")
    assert (tmp_path / "a/b.txt").read_text() == "newer"
    (tmp_path / "a/b.txt").write_text("edited")
    (tmp_path / "foreign.txt").write_text("mine")
    for name, why in (("a/b.txt", "was changed since"), ("foreign.txt", "was not written by")):
        with pytest.raises(UserError, match=f"{name} {why} .*; rename it or choose another --out"):
            write(Manifest(tmp_path), name)
    assert (tmp_path / "a/b.txt").read_text() == "edited"
    assert (tmp_path / "foreign.txt").read_text() == "mine"


def test_lenient_notes_keep_the_file_and_name_it(tmp_path: Path) -> None:
    (tmp_path / "foreign.txt").write_text("mine")
    files = Manifest(tmp_path, lenient=True)
    write(files, "foreign.txt")
    write(files, "other.txt")
    assert files.kept == {"foreign.txt": "was not written by this benchmark"}
    assert files.written == {"other.txt"}
    assert (tmp_path / "foreign.txt").read_text() == "mine"


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Neither one in the place of a file nor one in the place of a folder, even if the content behind it is ours."""
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    files = Manifest(folder)
    for name in ("a/one.txt", "two.txt"):
        write(files, name)
    (folder / "a").rename(elsewhere)
    (folder / "a").symlink_to(elsewhere)
    (folder / "two.txt").rename(elsewhere / "two.txt")
    (folder / "two.txt").symlink_to(elsewhere / "two.txt")
    before = contents(elsewhere)
    for name in ("a/one.txt", "a/new.txt", "two.txt"):
        with pytest.raises(UserError, match="is a link and is not overwritten"):
            write(Manifest(folder), name)
        Manifest(folder).remove(name)
    Manifest(folder).tidy("a")
    assert contents(elsewhere) == before
    (tmp_path / "linked").symlink_to(folder)
    write(Manifest(tmp_path / "linked"), "new.txt")  # the folder itself may be one
    assert (folder / "new.txt").exists()


def test_linked_notes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="is a link; remove it"):
        write(Manifest(tmp_path), "a.txt")
    assert (tmp_path / "precious").read_text() == "mine"


def test_tidy_removes_only_stale_files_of_ours(tmp_path: Path) -> None:
    for name in ("tables/deep/old.csv", "tables/edited.csv", "tables/new.csv", "top.csv"):
        write(Manifest(tmp_path), name)
    (tmp_path / "tables/edited.csv").write_text("mine")
    (tmp_path / "tables/foreign.csv").write_text("mine")
    (tmp_path / "tables/empty").mkdir()
    files = Manifest(tmp_path)
    write(files, "tables/new.csv")
    assert files.tidy("tables") == ["tables/edited.csv", "tables/foreign.csv"]
    left = {path.name for path in (tmp_path / "tables").iterdir()}
    assert left == {"edited.csv", "foreign.csv", "new.csv", "empty"}
    assert (tmp_path / "top.csv").exists()


def test_notes_name_nothing_outside_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".victim.tmp").write_text("mine")
    folder = tmp_path / "run"
    (folder / "tables").mkdir(parents=True)
    (folder / NAME).write_text(json.dumps({"file": "tables/../../.victim.tmp", "sha256": ""}))
    Manifest(folder).tidy("tables")
    assert (tmp_path / ".victim.tmp").exists()


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    write(Manifest(tmp_path), "a.txt")
    with (tmp_path / NAME).open("a") as notes:
        notes.write('\n{"file": "b.txt", "sha')
    write(Manifest(tmp_path), "c.txt")
    assert Manifest(tmp_path).is_ours("a.txt")
    assert Manifest(tmp_path).is_ours("c.txt")


def test_compact_notes_still_know_every_file(tmp_path: Path) -> None:
    for text in ("first", "second"):
        files = Manifest(tmp_path)
        for name in ("a.txt", "b.txt"):
            write(files, name, text)
    (tmp_path / "b.txt").unlink()
    files.compact()
    notes = [json.loads(line) for line in (tmp_path / NAME).read_text().split("\n") if line]
    assert [note["file"] for note in notes] == ["a.txt"]
    assert Manifest(tmp_path).is_ours("a.txt")


@pytest.mark.parametrize("moment", ["in the block", "before the rename"])
def test_killed_process_leaves_files_that_are_recognised(tmp_path: Path, moment: str) -> None:
    write(Manifest(tmp_path), "tables/a.txt", "old")
    kill = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    script = f"""import os
from pathlib import Path
from bench.store.manifest import Manifest
if {moment == "before the rename"}:
    Path.replace = lambda *arguments: {kill}
with Manifest(Path({str(tmp_path)!r})).replacing("tables/a.txt") as temporary:
    temporary.write_text("new")
    if {moment == "in the block"}:
        {kill}
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "tables").glob(".a.txt.*.tmp"))) == 1
    assert (tmp_path / "tables/a.txt").read_text() == "old"
    assert Manifest(tmp_path).is_ours("tables/a.txt")
    files = Manifest(tmp_path)
    write(files, "tables/a.txt", "newer")
    files.tidy("tables")
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["a.txt"]


# --- The folder of a run ---------------------------------------------------------------------------------------------


def test_folder_of_a_researcher_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("figures/one.png", "tables/deep/two.tex", "paper.tex"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["--config", "smoke", "--out", "."], obj=run_benchmark.register)
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "--out . is not a run folder and not empty; use --out new-name"
    assert contents(tmp_path) == before


CELL = '{"format": 2, "status": "ok"}'


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, ""),
        (lambda folder: folder.mkdir(), ""),
        (lambda folder: folder.write_text(""), "is a file; name a folder that is new, empty or holds a run"),
        (lambda folder: make_run(folder, **SMALL), ""),
        (lambda folder: put(folder, {"lock": "", ".run.json.12.tmp": "{"}), ""),
        (lambda folder: put(folder, {"lock": "mine"}), "is not a run folder and not empty; use --out .*run/new-name"),
        (lambda folder: put(folder, {"reference/run.json": "{}"}), "is not a run folder and not empty"),
        (lambda folder: put(folder, {"run.json": '{"cells": 3}'}), "holds a run.json that no run wrote"),
        (lambda folder: put(folder, {"run.json": "[1]"}), "holds a run.json that no run wrote"),
        (lambda folder: put(folder, {"run.json": "{", "cells/a/b/cell.json": CELL}), ""),
        (lambda folder: put(folder, {"cells/a/b/cell.json": CELL}), ""),
    ],
)
def test_out_is_new_empty_or_a_run_folder(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "run")
    (tmp_path / "linked").symlink_to(tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "linked"):
        if said:
            with pytest.raises(UserError, match=said.replace("run/", "(run|linked)/")):
                check_run_folder(folder)
        else:
            check_run_folder(folder)


def test_results_set_aside_are_of_this_cell(tmp_path: Path) -> None:
    cell = CellStore(tmp_path / "cell")
    cell.activate("one")
    put(tmp_path / "cell.one", {"notes.txt": "mine"})
    with pytest.raises(UserError, match=r"cell.one is in the way and does not belong to this cell; move it"):
        cell.activate("two")
    assert (tmp_path / "cell.one/notes.txt").read_text() == "mine"


# --- The report ------------------------------------------------------------------------------------------------------


# --- The other commands ----------------------------------------------------------------------------------------------
