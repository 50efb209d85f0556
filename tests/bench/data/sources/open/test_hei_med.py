"""HEI-MED: maps in their place, persons in one split, and faults."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts import MissingData, UserError
from bench.data.checks import BadFiles
from bench.data.readers.images import BadFile
from bench.data.sources.open.hei_med import read_map
from bench.registry import DATASETS
from tests.support.datasets.fundus import load
from tests.support.datasets.repositories import lesion_hei, make_hei, write_map

pytestmark = pytest.mark.usefixtures("one_drawing")
IMAGE = torch.zeros(3, 40, 60, dtype=torch.uint8)


@pytest.fixture
def hei(tmp_path: Path) -> Path:
    make_hei(tmp_path / "hei-med")
    return tmp_path


def test_a_map_is_read_row_by_row(tmp_path: Path) -> None:
    write_map(tmp_path / "a.map.gz", lesion_hei())
    assert np.array_equal(read_map(tmp_path / "a.map.gz", IMAGE).numpy(), lesion_hei() > 0)


@pytest.mark.parametrize("mark", [-43, -42])
def test_columns_come_before_rows(tmp_path: Path, mark: int) -> None:
    numbers = [mark, 3, 2, 0, 0, 5, 0, 0, 0]  # three columns, two rows: the lesion is the last pixel of the first row
    (tmp_path / "a.map.gz").write_bytes(gzip.compress(np.array(numbers, dtype="<i4").tobytes()))
    lesion = read_map(tmp_path / "a.map.gz", IMAGE[:, :2, :3])
    assert lesion.tolist() == [[False, False, True], [False, False, False]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "cannot be read as a compressed map"),
        (gzip.compress(bytes(5000))[:-9], "cannot be read as a compressed map"),
        (gzip.compress(bytes(4)), "holds 1 numbers"),
        (gzip.compress(np.array([-43, 60, 40, 1], dtype="<i4").tobytes()), "holds 4 numbers"),
        (
            gzip.compress(np.array([-43, 40, 60, *[0] * 2400], dtype="<i4").tobytes()),
            "is 40×60, its image 60×40 pixels",
        ),
    ],
    ids=["no gzip", "cut off", "one number", "no pixels", "transposed"],  # a compressed file holds the time
)
def test_damaged_maps_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.map.gz").write_bytes(content)
    with pytest.raises(BadFile, match=reason):
        read_map(tmp_path / "a.map.gz", IMAGE)


def test_every_photograph_is_in_one_split_with_the_class_of_its_list_of_lesions(hei: Path) -> None:
    splits = load(hei, "fundus-hei", size=36)
    assert sorted(id_ for split in splits.values() for id_ in split.ids) == [f"({number:08})" for number in range(36)]
    for split in splits.values():
        for id_, label, has, mask in zip(split.ids, split.labels, split.has_mask, split.masks, strict=True):
            assert (label, has) == (int(id_[1:-1]) % 2, True)  # a photograph without a lesion was looked at too
            truth = np.zeros((36, 36), dtype=bool)  # the disc of radius 18 around (20, 30) begins at (2, 12)
            truth[8:12, 8:16] = label
            assert np.array_equal(mask, truth)


def test_photographs_of_one_person_are_one_group(hei: Path) -> None:
    groups = {id_: group for split in ("train", "val", "test") for id_, group in built(hei, split).groups.items()}
    shared = {id_: group for id_, group in groups.items() if id_ != group}
    assert shared == {"(00000003)": "(00000002)", "(00000005)": "(00000004)"}
    for seed in range(5):
        for pair in (("(00000002)", "(00000003)"), ("(00000004)", "(00000005)")):
            holding = [split for split in ("train", "val", "test") if set(pair) & set(built(hei, split, seed).groups)]
            assert len(holding) == 1


def built(root: Path, split: str, seed: int = 0) -> Any:
    return DATASETS["fundus-hei"].builder(root, split, seed=seed)


def test_without_facts_about_a_person_a_photograph_is_a_group_of_its_own(hei: Path) -> None:
    (hei / "hei-med/DMED/(00000003).meta").unlink()
    (hei / "hei-med/DMED/(00000005).meta").write_text("~PatientGender~F\n~PatientRace~UNKNOWN\n")
    groups = {id_: group for split in ("train", "val", "test") for id_, group in built(hei, split).groups.items()}
    assert all(id_ == group for id_, group in groups.items())


def test_faults_are_named(hei: Path) -> None:
    folder = hei / "hei-med/DMED"
    (folder / "(00000010).map.gz").unlink()
    (folder / "(00000011).GND").write_text("Exudate 1\n")
    write_map(folder / "(00000013).map.gz", np.zeros((40, 60), dtype=np.int32))
    write_map(folder / "(00000014).map.gz", lesion_hei())
    with pytest.raises(BadFiles) as caught:
        load(hei, "fundus-hei", size=36)
    for part in (
        "4 bad files",
        "(00000010).jpg (has no (00000010).map.gz, so that its lesions are unknown)",
        "(00000011).GND (begins with 'Exudate 1', the number of its lesions is expected)",
        "(00000013).map.gz (marks no lesion, unlike (00000013).GND)",
        "(00000014).map.gz (marks a lesion, unlike (00000014).GND)",
    ):
        assert part in str(caught.value)
    assert sum(map(len, load(hei, "fundus-hei", size=36, skip_bad=True).values())) == 32


def test_files_may_lie_in_the_root_itself(hei: Path) -> None:
    assert DATASETS["fundus-hei"].missing(hei / "hei-med") == ""


def test_an_incomplete_copy_is_missing(hei: Path) -> None:
    for file in (hei / "hei-med/DMED").glob("*.GND"):
        file.unlink()
    with pytest.raises(MissingData, match=r"no DMED/\*.GND in .*hei-med; run_benchmark.py get fundus-hei clones"):
        load(hei, "fundus-hei")
    with pytest.raises(UserError, match="has no split 'tests'"):
        built(hei, "tests")
