"""Names as parts of paths: validated when they are registered, and again when a run folder is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from bench.errors import UserError
from bench.files import json_digest, replacing
from bench.models.initial_weights import read_initial_weights
from bench.registry import METRICS, Registry, metric
from bench.report.build import build_report
from bench.specs import is_plain_name
from bench.store.folders import CellStore, RunStore, file_name
from bench.store.manifest import Manifest
from bench.store.maps import MapsWriter, write_drawing
from bench.store.records import CellKey
from tests.support.report_store import make_run

USABLE = ["a", "grad-cam++", "softcam@l1=1e-4", "a_b.c", "mask oracle", "é", "..a", "a" * 100, "@", "x..y"]
UNUSABLE = [
    "",
    ".",
    "..",
    "a/b",
    "../a",
    "a\\b",
    " a",
    "a ",
    "a\nb",
    "a\0b",
    "a:b",
    "$a",
    "a|b",
    "a" * 101,
    "é" * 51,
    "*",
]


@pytest.mark.parametrize("name", USABLE)
def test_usable_names_are_registered_and_stored_as_they_are(name: str) -> None:
    registry = Registry[int]("thing")
    registry.add(name, 1)
    assert registry[name] == 1
    assert file_name(name) == name


@pytest.mark.parametrize("name", UNUSABLE)
def test_other_names_are_refused_and_stored_under_a_digest(name: str) -> None:
    with pytest.raises(UserError, match=r"thing name .* is not usable: take letters, digits") as said:
        Registry[int]("thing").add(name, 1)
    assert "\n" not in str(said.value)
    stored = file_name(name)
    assert is_plain_name(stored)
    assert stored not in (name, file_name(name + "x"))


@pytest.mark.usefixtures("clean_registries")
@pytest.mark.parametrize("family", ["../../x", "a/b", ".."])
def test_a_family_of_metrics_is_a_name_too(family: str) -> None:
    with pytest.raises(UserError, match=r"metric 'mine': family .* is not usable"):
        metric("mine", family, ("maps",), True, (0, 1), "")(lambda maps: maps)
    assert "mine" not in METRICS


@pytest.mark.parametrize("name", ["..", "../../../x", "/tmp/x", "a/../../b", "."])
def test_every_file_of_a_cell_lies_in_it(tmp_path: Path, name: str) -> None:
    run = RunStore(tmp_path / "run")
    cell = run.cell(CellKey(name, name, name, 0))
    assert cell.folder.resolve().parent.parent == (tmp_path / "run/cells").resolve()
    files = (cell.scores_file(name), cell.gallery_file(name), cell.maps_file(name), cell.piece_file(name, 0))
    for file in (*files, cell.study_file(name, name), run.images_file(name), run.lesions_file(name)):
        assert file.resolve().is_relative_to((tmp_path / "run").resolve())
    for file in files:
        assert file.resolve().parent.is_relative_to(cell.folder.resolve())
    assert cell.piece_file(name, 0).parent.resolve() != cell.folder.resolve()


def forge(folder: Path, **values: Any) -> None:
    """Changes run.json as somebody would who knows how it is checked."""
    record = json.loads((folder / "run.json").read_text()) | values
    record.pop("sha256", None)
    (folder / "run.json").write_text(json.dumps(record | {"sha256": json_digest(record)}))


@pytest.mark.parametrize("family", ["../../escaped", "/tmp/escaped-by-a-report", "a/../../../escaped"])
def test_a_report_on_a_folder_that_somebody_sent_stays_in_it(tmp_path: Path, unsaved: None, family: str) -> None:
    folder = tmp_path / "deep" / "run"
    make_run(folder, datasets=("first",))
    record = json.loads((folder / "run.json").read_text())
    forge(folder, metrics=[one | {"family": family} for one in record["metrics"]])
    build_report(folder, Console(quiet=True))
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(folder) and path.is_file()]
    assert outside == []
    assert not list(Path("/tmp").glob("escaped-by-a-report*"))


@pytest.mark.parametrize("part", ["cells", "cells/first", "cells/first/small-plain-s0"])
def test_a_link_out_of_the_run_folder_is_not_followed(tmp_path: Path, part: str) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside"
    make_run(folder, datasets=("first",))
    (folder / part).rename(outside)
    (folder / part).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(UserError, match="leads out of"):
        build_report(folder, Console(quiet=True))
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x"])
def test_a_manifest_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of"), Manifest(tmp_path, lenient=True).replacing(name):
        pass


def test_records_without_facts_about_their_names_are_damaged(tmp_path: Path) -> None:
    for number, change in enumerate(({"explainers": {}}, {"heads": {}}, {"datasets": {}}, {"explained_by": {}})):
        folder = tmp_path / str(number)
        make_run(folder, datasets=("first",))
        forge(folder, **change)
        with pytest.raises(UserError, match=r"run.json .*no facts about"):
            _ = RunStore(folder).record


def test_maps_of_ids_that_fall_together_are_all_kept(tmp_path: Path) -> None:
    ids = ["a/b", "a_b", "A_b", "a\\b", "../c", "plain"]
    with MapsWriter(tmp_path / "maps.npz") as writer:
        writer.add(ids, [np.full((2, 2), number) for number in range(len(ids))])
    write_drawing(replacing(tmp_path / "maps.json"), writer.members, "pixels", None)
    members = json.loads((tmp_path / "maps.json").read_text())["members"]
    with np.load(tmp_path / "maps.npz") as stored:
        assert len({name.lower() for name in stored.files}) == len(ids)
        assert [stored[members.get(name, name)][0, 0] for name in ids] == list(range(len(ids)))
        assert not any("/" in name or "\\" in name for name in stored.files)
    assert "plain" not in members


def test_initial_weights_that_are_no_file_or_hold_themselves_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path / "pipe.pt", tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError, match=r"it is not a file; give a .safetensors or .pt file"):
            read_initial_weights(path)
    endless: dict[str, Any] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    with pytest.raises(UserError, match="holds no weights by name"):
        read_initial_weights(tmp_path / "endless.pt")
    torch.save({"model": {"state_dict": {"a": torch.ones(1)}}}, tmp_path / "wrapped.pt")
    assert list(read_initial_weights(tmp_path / "wrapped.pt").tensors) == ["a"]


def test_a_record_that_is_a_pipe_is_damaged(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cell.json")
    with pytest.raises(UserError, match=r"cell.json is damaged \(it is not a file\)"):
        CellStore(tmp_path).read_record()
