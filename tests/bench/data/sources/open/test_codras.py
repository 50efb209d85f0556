"""The IDRiD part of CODRAS: boxes in their place, the other camera, and faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import UserError
from bench.data.checks import BadFiles
from bench.data.sources.open.codras import read_boxes
from bench.registry import DATASETS
from tests.support.datasets.fundus import load, photograph, save
from tests.support.datasets.repositories import make_codras

pytestmark = pytest.mark.usefixtures("one_drawing")


@pytest.fixture
def codras(tmp_path: Path) -> Path:
    make_codras(tmp_path / "codras")
    return tmp_path


def test_boxes_are_left_top_right_bottom_and_the_optic_disc_is_no_lesion(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n\n1 0.25 0.5 0.1 0.2\n2 0.5 0.996 0.1 0.02")
    first, second = read_boxes(tmp_path / "a.txt")
    assert first == pytest.approx((0.2, 0.4, 0.3, 0.6))
    assert second == pytest.approx((0.45, 0.986, 0.55, 1.0))  # beyond the edge by less than 1 %


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 0.5 0.5 0.1", "is not a class and four numbers"),
        ("exudate 0.5 0.5 0.1 0.1", "is not a class and four numbers"),
        ("3 0.5 0.5 0.1 0.1", "is no box of a class from 0 to 2"),
        ("1 0.5 0.5 0 0.1", "is no box of a class"),
        ("1 nan 0.5 0.1 0.1", "is no box of a class"),
        ("1 0.99 0.5 0.1 0.1", "the box is beyond its image"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(UserError, match=rf"a\.txt, line 2: .*{reason}"):
        read_boxes(tmp_path / "a.txt")


def test_masks_are_the_boxes_in_the_cropped_image(codras: Path) -> None:
    splits = load(codras, "fundus-boxes", size=36)
    assert sum(map(len, splits.values())) == 36
    truth = np.zeros((36, 36), dtype=bool)  # 0.35 to 0.45 of 60 columns, 0.2 to 0.4 of 40 rows; cropped at (2, 12)
    truth[6:14, 9:15] = True
    for split in splits.values():
        for id_, label, mask in zip(split.ids, split.labels, split.masks, strict=True):
            assert label == int(id_) % 2
            assert np.array_equal(mask, truth & bool(label))


def test_the_other_camera_and_photographs_without_a_file_of_boxes_are_left_out(codras: Path) -> None:
    folder = codras / "codras/images"
    save(folder / "0500.jpg", photograph(np.ones((1152, 1500), dtype=bool)))
    (folder / "0500.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    (folder / "0007.txt").unlink()
    samples = DATASETS["fundus-boxes"].builder(codras, "train")
    assert list(samples.left_out.values()) == [1, 1, 0]
    ids = {id_ for name in ("train", "val", "test") for id_ in DATASETS["fundus-boxes"].builder(codras, name).groups}
    assert len(ids) == 35
    assert not ids & {"0500", "0007"}
    assert "two eyes" in samples.unchecked


def test_faults_are_named(codras: Path) -> None:
    folder = codras / "codras/images"
    (folder / "0003.txt").write_text("1 2 2 1 1\n")
    (folder / "0005.jpg").write_bytes(b"no picture")
    (folder / "0009.txt").write_text("1 0.02 0.02 0.02 0.02\n")  # in the corner, outside of the disc
    with pytest.raises(BadFiles) as caught:
        load(codras, "fundus-boxes", size=36)
    for part in (
        "3 bad files",
        "0003.jpg (cannot be used: ",
        "0003.txt, line 1: the box is beyond its image",
        "0005.jpg (cannot be read as an image",
        "0009.txt (all its boxes are outside of the field of view)",
    ):
        assert part in str(caught.value)


def test_a_photograph_that_is_there_twice_is_used_once_and_one_eye_is_one_group(codras: Path) -> None:
    folder = codras / "codras/images"
    for name, source in (("0300", "0008"), ("0179", "0010"), ("0447", "0012")):
        shutil.copy(folder / f"{source}.jpg", folder / f"{name}.jpg")
        (folder / f"{name}.txt").write_text("1 0.4 0.3 0.1 0.2\n")
    for name in ("0010", "0012"):
        (folder / f"{name}.jpg").unlink()
    parts = [DATASETS["fundus-boxes"].builder(codras, name) for name in ("train", "val", "test")]
    groups = {id_: group for samples in parts for id_, group in samples.groups.items()}
    assert "0300" not in groups
    assert {id_: group for id_, group in groups.items() if id_ != group} == {"0447": "0179"}
    assert list(parts[0].left_out.values()) == [0, 0, 1]
