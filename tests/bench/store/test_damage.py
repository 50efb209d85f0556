"""Every kind of stored file, damaged in every way: a run makes it again and says so, a report names it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from bench.config import Config
from bench.contracts import Explainer
from bench.report.build import build_report
from bench.report.frames.load import load_frames
from bench.report.gaps import gaps
from bench.run.options import RunOptions
from bench.run.plan import make_plan
from bench.run.runner import Outcome, run
from bench.store.folders import RunStore
from bench.store.stored_files import collecting
from bench.studies.base import Study, Subject, register_study
from bench.training.tensor_files import digest_of, read_tensors
from tests.support.made import forgotten_afterwards, register_shapes, tiny_config


class Widths(Study):
    """Number of explained images, a study that costs nothing."""

    name, paper, per_explainer = "widths", "made up", False

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        return pd.DataFrame({"image": ["x"], "count": [len(subject.context.explained.indices)]})


#: Kind of file -> its path in the run folder.
CELL = "cells/shapes/compact-blackbox-s0"
KINDS = {
    "record of a cell": f"{CELL}/cell.json",
    "weights": f"{CELL}/weights.safetensors",
    "history": f"{CELL}/training.csv",
    "predictions": f"{CELL}/predictions.parquet",
    "logits": f"{CELL}/explained.parquet",
    "scores": f"{CELL}/scores/random.parquet",
    "gallery": f"{CELL}/gallery/random.npz",
    "cases": f"{CELL}/cases/random.npz",
    "maps": f"{CELL}/maps/random.npz",
    "drawing": f"{CELL}/maps/random.json",
    "study": f"{CELL}/studies/widths/cell.parquet",
    "scores of a part": f"{CELL}/own_class/scores/random.parquet",
    "record of a part": f"{CELL}/own_class/cell.json",
    "gallery of a part": f"{CELL}/every_class/gallery/random.npz",
    "images": "data/shapes.npz",
    "lesions": "data/shapes.parquet",
    "pictures": "data/shapes~cases.npz",
    "record of the run": "run.json",
}
#: Kinds that a report does not read.
UNREAD = {"weights", "maps", "drawing"}


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(bytes(content))


def delete(file: Path) -> None:
    file.unlink()


def become_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


WAYS = [empty, cut, flip, delete, become_folder]


def config() -> Config:
    chosen = tiny_config(
        datasets=["shapes"],
        heads=["blackbox"],
        explainers=["random"],
        metrics=["gini", "audc@zero"],
        studies=["widths"],
    )
    several = {"diseased": 6, "healthy": 3, "faithful": 3}  # enough for pairs of image and own class
    return chosen.model_copy(update={"explain": chosen.explain.model_copy(update=several)})


def run_here(out: Path, cache: Path) -> tuple[Outcome, str]:
    """Runs the config -> outcome, and everything that was printed."""
    text = io.StringIO()
    plan = make_plan(config(), cache)
    options = RunOptions(cache, out, torch.device("cpu"), save_maps=True, cache=cache, precision="float32")
    return run(config(), plan, options, Console(file=text, width=1000), []), text.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("whole")
    with forgotten_afterwards():
        register_shapes()
        register_study(Widths)
        outcome, _ = run_here(folder / "run", folder / "cache")
        assert outcome.problems == []
        yield folder


def content(folder: Path) -> dict[str, Any]:
    """Everything that a run stores, without times."""
    frames = load_frames(folder)
    assert frames.damaged == ()
    cell = frames.store.cell(frames.record.cells[0])
    weights = read_tensors(cell.weights)
    assert weights is not None
    return {
        "weights": digest_of(weights[0]),
        "scores": frames.rows().to_csv(),
        "own class": frames.own_class.rows().to_csv(),
        "predictions": frames.predictions.rows().to_csv(),
        "history": frames.training.drop(columns="seconds").to_csv(),
        "study": frames.studies["widths"].to_csv(),
        "maps": {name: values.tolist() for name, values in np.load(cell.maps_file("random")).items()},
        "gallery": {name: values.tolist() for name, values in np.load(cell.gallery_file("random")).items()},
        "images": {name: values.tolist() for name, values in np.load(frames.store.images_file("shapes")).items()},
        "record": cell.record.changed(seconds=None, inference=None, work=[]),  # they are timed
        "names": sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()),
    }


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[str, Any]:
    return content(whole / "run")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", WAYS)
def test_a_run_makes_a_damaged_file_again(
    whole: Path, expected: dict[str, Any], tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole / "run", folder)
    file = folder / KINDS[kind]
    damage(file)
    outcome, said = run_here(folder, whole / "cache")
    assert outcome.problems == []
    mended = [line for line in said.splitlines() if "is damaged" in line]
    is_new = kind == "record of the run" and damage in (delete, become_folder)  # as in a folder without a run
    assert [str(file) in line for line in mended] == ([] if is_new else [True])
    assert content(folder) == expected
    assert "is damaged" not in run_here(folder, whole / "cache")[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNREAD])
@pytest.mark.parametrize("damage", WAYS)
def test_a_report_names_a_damaged_file(whole: Path, tmp_path: Path, damage: Callable[[Path], None], kind: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole / "run", folder)
    file = folder / KINDS[kind]
    damage(file)
    if kind == "record of the run":
        with pytest.raises(Exception, match=r"run\.json") as caught:
            load_frames(folder)
        assert "\n" not in str(caught.value)
        return
    frames = load_frames(folder)
    (line,) = frames.damaged
    assert str(file) in line
    assert "\n" not in line
    assert line in gaps(frames)  # which the page, a table and the terminal show
    if kind == "scores":
        assert "explainer 'random'" in line
        assert not len(frames.rows())


@pytest.mark.parametrize("kind", ["scores", "gallery", "predictions", "images", "record of a cell"])
def test_the_command_report_says_so_and_fails(whole: Path, tmp_path: Path, kind: str, unsaved: None) -> None:
    folder, text = tmp_path / "run", io.StringIO()
    shutil.copytree(whole / "run", folder)
    flip(folder / KINDS[kind])
    assert build_report(folder, Console(file=text, width=1000))
    assert f"{folder / KINDS[kind]} is damaged" in text.getvalue()
    assert f"{KINDS[kind]} is damaged" in (folder / "tables" / "gaps.csv").read_text()
    assert (folder / "report.html").stat().st_size


def test_weights_that_become_others_take_their_scores_with_them(whole: Path, tmp_path: Path) -> None:
    """Rows of lost weights must not be joined with those of other weights, whose settings are the same."""
    folder = tmp_path / "run"
    shutil.copytree(whole / "run", folder)
    cell = RunStore(folder).cell(RunStore(folder).record.cells[0])
    cell.weights.unlink()
    cell.note(weights_sha256="of weights from another machine")
    before = cell.scores_file("random").stat().st_mtime_ns
    run_here(folder, whole / "cache")
    assert cell.scores_file("random").stat().st_mtime_ns > before
    kept = tmp_path / "kept"
    shutil.copytree(whole / "run", kept)
    (kept / KINDS["weights"]).unlink()
    before = (kept / KINDS["scores"]).stat().st_mtime_ns
    run_here(kept, whole / "cache")
    assert (kept / KINDS["scores"]).stat().st_mtime_ns == before


def test_files_in_the_place_of_folders_are_one_line(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole / "run", folder)
    shutil.rmtree(folder / CELL / "scores")
    (folder / CELL / "scores").write_text("mine")
    outcome, _ = run_here(folder, whole / "cache")
    assert len(outcome.problems) == 1
    assert f"{folder / CELL / 'scores'} is a file in the place of a folder; move it away" in outcome.problems[0]
    assert (folder / CELL / "scores").read_text() == "mine"


def test_a_folder_with_content_is_not_removed(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole / "run", folder)
    become_folder(folder / KINDS["scores"])
    (folder / KINDS["scores"] / "notes.txt").write_text("mine")
    outcome, _ = run_here(folder, whole / "cache")
    assert f"{folder / KINDS['scores']} is a folder in the place of a file; move it away" in outcome.problems[0]
    assert (folder / KINDS["scores"] / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["weights", "scores", "predictions", "gallery"])
def test_a_link_out_of_the_folder_is_not_read(whole: Path, tmp_path: Path, kind: str) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(whole / "run", folder)
    shutil.move(folder / KINDS[kind], outside)
    (folder / KINDS[kind]).symlink_to(outside)
    before = outside.read_bytes()
    with collecting() as met:
        cell = RunStore(folder).cell(RunStore(folder).record.cells[0])
        assert cell.files.read(folder / KINDS[kind], lambda file: file.read_bytes()) is None
    assert "link" in met[folder / KINDS[kind]]
    run_here(folder, whole / "cache")
    assert outside.read_bytes() == before
