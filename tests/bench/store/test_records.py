"""Records: what is written is read again, and a file that is damaged or of another version is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.export.command import export_cell
from bench.contracts import OWN_CLASS, UserError
from bench.files import json_digest
from bench.report.frames.load import load_frames
from bench.report.gaps import gaps
from bench.store.cell_facts import LesionReliance
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellRecord, ExplainerOutcome, StudyOutcome
from bench.store.run_folder import check_run_folder
from tests.support.made import registered_squares, run_tiny, tiny_config
from tests.support.report_store import make_run
from tests.support.study_store import PLAIN, head, make_grid

EARLIER = (
    r"run.json was written by an earlier version of this benchmark \(record format 1, this version reads 2\); "
    "choose another --out or keep that version to read it"
)
LATER = r"run.json was written by a later version .* \(record format 3, this version reads 2\); choose another --out"
quiet = Console(quiet=True)


def edit(file: Path, **values: Any) -> None:
    """Replace entries of a JSON file, as a version without digests wrote it; None removes one."""
    changed = json.loads(file.read_text()) | {"sha256": None} | values
    file.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    record = store.record
    store.write_record(record)
    assert store.record == record
    cell = CellStore(tmp_path / "cell")
    assert cell.record == CellRecord()
    cell.note(lesion_reliance=LesionReliance(true_positives=0, called_healthy=np.nan), evidence_grid=(3, 4))
    cell.note_explainer("a", ExplainerOutcome(status="ok", fingerprint="x", bad_maps=["i"], problems={"m": "why"}))
    cell.note_study("s", {"": StudyOutcome(status="skipped", reason="none")})
    cell.note_study("s", {"a": StudyOutcome(status="ok", fingerprint="y")})
    read = cell.record
    assert read.lesion_reliance is not None
    assert np.isnan(read.lesion_reliance.called_healthy)
    assert read.evidence_grid == (3, 4)
    assert read.explainers["a"].problems == {"m": "why"}
    assert {of: outcome.status for of, outcome in read.studies["s"].items()} == {"": "skipped", "a": "ok"}
    assert json.loads((tmp_path / "cell" / "cell.json").read_text())["format"] == 2


def test_a_misspelt_fact_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="weight_from"):
        CellStore(tmp_path).note(weight_from="somewhere")
    assert not (tmp_path / "cell.json").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format": None}, EARLIER),
        ({"format": None, "probes": {}, "studies": None}, EARLIER),
        ({"format": 3, "more": 1}, LATER),
    ],
)
def test_another_version_is_one_line_and_loses_nothing(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    make_run(tmp_path / "run", datasets=("first",))
    edit(tmp_path / "run" / "run.json", **values)
    before = contents(tmp_path / "run")
    cell = next((tmp_path / "run").glob("cells/*/*"))
    for ask in (
        lambda: check_run_folder(tmp_path / "run"),
        lambda: load_frames(tmp_path / "run"),
        lambda: export_cell(cell, None, onnx=False),
    ):
        with pytest.raises(UserError, match=said) as caught:
            ask()
        assert "\n" not in str(caught.value)
    for command in (["--config", "smoke", "--out", str(tmp_path / "run")], ["report", str(tmp_path / "run")]):
        done = CliRunner().invoke(app, command, obj=run_benchmark.register)
        assert isinstance(done.exception, UserError)
        assert "writing to" not in done.output
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"plan": None}, r"run.json is damaged \(plan: Field required\); repeat the command that wrote it"),
        ({"more": 1}, r"run.json is damaged \(more: Extra inputs are not permitted\); repeat the command"),
        ({"plan": "x", "sha256": "0"}, r"run.json is damaged \(it was changed since it was written\); repeat"),
    ],
)
def test_a_damaged_record_of_the_run_is_one_line(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    make_run(tmp_path, datasets=("first",))
    edit(tmp_path / "run.json", **values)
    cell = next(tmp_path.glob("cells/*/*"))
    for ask in (lambda: load_frames(tmp_path), lambda: export_cell(cell, None, onnx=False)):
        with pytest.raises(UserError, match=said) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert check_run_folder(tmp_path) in said.replace("\\", "")


def test_a_record_with_more_facts_is_of_another_version(tmp_path: Path) -> None:
    """Its digest is right, so nothing damaged it, and a run must not write over it."""
    make_run(tmp_path, datasets=("first",))
    values = json.loads((tmp_path / "run.json").read_text()) | {"more": 1}
    del values["sha256"]
    (tmp_path / "run.json").write_text(json.dumps(values | {"sha256": json_digest(values)}))
    with pytest.raises(UserError, match=r"run.json was written by another version \(more: Extra inputs"):
        check_run_folder(tmp_path)


def test_cells_of_another_version_are_not_taken_over(tmp_path: Path) -> None:
    make_run(tmp_path, datasets=("first",))
    (tmp_path / "run.json").unlink()
    check_run_folder(tmp_path)
    edit(next(tmp_path.glob("cells/*/*/cell.json")), format=None)
    with pytest.raises(UserError, match=r"cell.json was written by an earlier version .*record format 1"):
        check_run_folder(tmp_path)


@pytest.mark.parametrize(
    "text", ["", '{"format": 2, "status"', "[]", '{"format": 2, "status": "fine"}', '{"format": 1}']
)
@pytest.mark.parametrize("part", ["", OWN_CLASS])
def test_a_damaged_cell_has_failed_in_the_report(tmp_path: Path, text: str, part: str) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "own": head("own")})
    bad, good = store.record.cells
    file = store.cell(bad).folder / part / "cell.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    frames = load_frames(tmp_path)
    assert frames.cells["status"].tolist() == ["failed", "ok"]
    assert set(frames.rows()["head"]) == {good.head}
    (line,) = [line for line in gaps(frames) if line.startswith(f"{bad} failed: ")]
    assert str(file) in line
    assert "\n" not in line


def test_a_cell_of_another_version_fails_alone_and_is_left_as_it_is(tmp_path: Path) -> None:
    config = tiny_config(explainers=["random"], heads=["blackbox", "softcam-sparse"], metrics=["gini"])
    with registered_squares():
        assert run_tiny(tmp_path, config).problems == []
        bad, good = (RunStore(tmp_path).cell(key) for key in RunStore(tmp_path).record.cells)
        edit(bad.folder / "cell.json", format=1)
        before = contents(bad.folder)
        (problem,) = run_tiny(tmp_path, config).problems
        assert f"{bad.folder / 'cell.json'} was written by an earlier version" in problem
        assert contents(bad.folder) == before
        assert good.record.status == "ok"
        (bad.folder / "cell.json").unlink()
        assert run_tiny(tmp_path, config).problems == []
    assert bad.record.status == "ok"
