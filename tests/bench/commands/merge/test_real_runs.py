"""One tiny run split by heads over two folders: merged, its tables are those of one run with both heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands.export.command import export_cell
from bench.report.build import build_report
from bench.report.frames.load import load_frames
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.bench.commands.merge.merging import QUIET, contents, merge
from tests.support.made import run_tiny, tiny_config

HEADS = ("blackbox", "softcam-sparse")
#: Tables that hold times, or what to do in the folders of the runs.
DIFFERENT = {"cost.csv", "gaps.csv"}


@pytest.mark.usefixtures("squares")
def test_merged_tables_are_those_of_one_run(tmp_path: Path) -> None:
    for name, heads in {"a": HEADS[:1], "b": HEADS[1:], "both": HEADS}.items():
        config = tiny_config(datasets=["shapes"], heads=list(heads), metrics=["audc@zero", "pixel_auroc", "gini"])
        outcome = run_tiny(tmp_path / name, config)
        assert outcome.problems == []
    before = {name: contents(tmp_path / name) for name in "ab"}
    assert merge(tmp_path, "a", "b", report=True) == []
    assert {name: contents(tmp_path / name) for name in "ab"} == before
    assert build_report(tmp_path / "both", QUIET) == []
    merged, both = (
        {file.name: file.read_text("utf-8") for file in (tmp_path / name / "tables").glob("*.csv")}
        for name in ("merged", "both")
    )
    assert merged.keys() == both.keys()
    assert {name for name in merged if merged[name] != both[name]} <= DIFFERENT
    frames, expected = load_frames(tmp_path / "merged"), load_frames(tmp_path / "both")
    assert frames.rows().equals(expected.rows())
    assert frames.own_class.rows().equals(expected.own_class.rows())
    assert len(frames.own_class)
    assert set(frames.record.datasets["shapes"].digests) == {"train", "val", "test", "explain"}
    assert frames.record.datasets == expected.record.datasets
    _compare_files(tmp_path)
    cell = RunStore(tmp_path / "merged").cell(CellKey("shapes", "compact", "softcam-sparse", 0))
    (line, *_) = export_cell(cell.folder, tmp_path / "export", onnx=False)
    assert line.startswith("shapes · compact · softcam-sparse")
    _damage(cell.folder.relative_to(tmp_path / "merged"), tmp_path)


def _compare_files(folder: Path) -> None:
    """Every file of a cell is there, except what a run needs to go on."""
    merged, both = (
        {file.relative_to(folder / name).as_posix() for file in (folder / name / "cells").rglob("*") if file.is_file()}
        for name in ("merged", "both")
    )
    assert merged == both


def _damage(cell: Path, folder: Path) -> None:
    """Every damaged file with a digest is left out and named, and copied once it is good again."""
    files = ["scores/random.parquet", "gallery/gradcam.npz", "weights.safetensors", "own_class/scores/softcam.parquet"]
    good = {name: (folder / "b" / cell / name).read_bytes() for name in files}
    for name, content in good.items():
        (folder / "b" / cell / name).unlink()  # the merged run shares it
        (folder / "b" / cell / name).write_bytes(content[: len(content) // 2])
    left = merge(folder, "a", "b")
    assert sorted(line.split(f"{cell}/")[1].split(" is")[0] for line in left) == sorted(files)
    assert not any((folder / "merged" / cell / name).exists() for name in files[1:])
    frames = load_frames(folder / "merged")  # the scores of the earlier merge are still there, and do not count
    explained = frames.explained[frames.explained["head"] == HEADS[1]]
    assert set(explained["explainer"]) == {"softcam", "gradcam", "mask_oracle"}
    for name, content in good.items():
        (folder / "b" / cell / name).write_bytes(content)
    assert merge(folder, "a", "b") == []
    assert {name: (folder / "merged" / cell / name).read_bytes() for name in files} == good
