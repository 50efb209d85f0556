"""``check-data``: every planted fault is found and named, and what is sound is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bench.data  # noqa: F401 (registers the data sets)
from bench.contracts import MissingData, Sample
from bench.data.readers.faults import Fault, Kind
from bench.data.sources.folder import folder_dataset
from bench.data.sources.rsna import LABELS
from bench.registry import DATASETS
from tests.bench.commands.checking import SIDE, check, cut, generated, info_of, lesion, read, rewrite
from tests.support.datasets import rsna as made_rsna
from tests.support.datasets.fundus import disc, photograph, save, table

Plant = Callable[[Path], Any]


def test_sound_folder(own_folder: Path) -> None:
    clean, said, faults = check(folder_dataset(own_folder), own_folder)
    assert clean
    assert faults == []
    assert "No faults found." in said
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert ("train", "healthy", "4", "0", "2") in rows  # images, with mask, groups
    assert ("val", "sick", "4", "4", "2") in rows
    assert ("test", "all", "8", "4", "4") in rows


FOLDER_FAULTS: dict[str, tuple[Plant, Kind, str, str]] = {
    "truncated image": (
        lambda own: cut(own / "images/sick/3.png"), Kind.UNUSABLE, "3.png", "cannot be read as an image",
    ),
    "text among the images": (
        lambda own: (own / "images/sick/notes.txt").write_text("x"), Kind.UNUSABLE, "notes.txt", "is not PNG",
    ),
    "mask without an image": (
        lambda own: save(own / "masks/sick/99.png", lesion()), Kind.STRAY_MASK, "99.png", "belongs to no image",
    ),
    "mask of another size": (
        lambda own: save(own / "masks/sick/5.png", lesion(20)), Kind.MASK_SIZE, "5.png", "20×20, its image 5.png 24×24",
    ),
    "empty mask": (
        lambda own: save(own / "masks/sick/7.png", 0 * lesion()), Kind.EMPTY_MASK, "sick/7.png", "its mask is empty",
    ),
    "absent image": (
        lambda own: (own / "images/healthy/2.png").unlink(), Kind.ABSENT, "healthy/2.png", "is in splits.csv, line 6",
    ),
    "patient in two splits": (
        lambda own: rewrite(own / "splits.csv", "sick/1.png,train,sick0", "sick/1.png,test,sick0"),
        Kind.LEAK, "group sick0", "is in both 'train' and 'test' (sick/0.png, sick/1.png)",
    ),
    "image listed twice": (
        lambda own: rewrite(own / "splits.csv", "sick/1.png,train,sick0", "sick/0.png,train,sick0"),
        Kind.SPLIT, "folder:", "splits.csv, line 5: sick/0.png appears twice",
    ),
    "split of one class": (
        lambda own: [rewrite(own / "splits.csv", f"sick/{i}.png,val", f"sick/{i}.png,train") for i in (2, 3, 8, 9)],
        Kind.SPLIT, "split 'val'", "has images of class 'healthy' only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", FOLDER_FAULTS)
def test_planted_fault_is_the_only_one_found(own_folder: Path, planted: str) -> None:
    plant, kind, name, reason = FOLDER_FAULTS[planted]
    plant(own_folder)
    clean, said, faults = check(folder_dataset(own_folder), own_folder)
    assert not clean
    ((found_kind, found_name, found_reason),) = faults
    assert found_kind == kind
    assert name in found_name
    assert reason in found_reason
    assert f"{kind}: 1" in said
    assert f"{found_name}: {found_reason}" in said


def test_faults_of_all_kinds_are_listed_together(own_folder: Path) -> None:
    planted = [name for name in FOLDER_FAULTS if name not in ("image listed twice", "split of one class")]
    for name in planted:
        FOLDER_FAULTS[name][0](own_folder)
    _, said, faults = check(folder_dataset(own_folder), own_folder)
    assert sorted(row[0] for row in faults) == sorted(FOLDER_FAULTS[name][1] for name in planted)
    assert f"Faults: {len(planted)}" in said


def test_duplicate_ids_and_broken_samples_do_not_end_the_check(tmp_path: Path) -> None:
    twice = read(info_of(lambda root, split: generated(split, id=f"{split}0" if split == "train" else "x")), tmp_path)
    assert Fault("train0", "is in split 'train' 2 times; ids must be unique", Kind.DUPLICATE) in twice.faults
    wrong = read(info_of(lambda root, split: generated(split, label=5 if split == "val" else 1)), tmp_path)
    ((name, reason, kind),) = wrong.faults
    assert (name, kind) == ("sample 7 of split 'val'", Kind.CONTRACT)
    assert "the label 5 is outside 0…1" in reason
    assert len(wrong.splits["val"].ids) == 7


def test_image_in_two_splits_and_empty_split(tmp_path: Path) -> None:
    def builder(root: Path, split: str) -> list[Sample]:
        return [] if split == "test" else generated(split, id="both", group=split)

    faults = read(info_of(builder), tmp_path).faults
    assert Fault("both", "is in both 'train' and 'val'; keep each image in one split", Kind.LEAK) in faults
    assert Fault("split 'test'", "has no usable image", Kind.SPLIT) in faults
    assert len(faults) == 2


PARTS = {"train": (0, 1, 3, 4), "val": (6, 7), "test": (9, 10)}


@pytest.fixture
def rsna(tmp_path: Path) -> Path:
    made_rsna.release_splits(tmp_path / "released/RSNA", PARTS)
    return made_rsna.make_rsna(tmp_path / "rsna", 12).parent


def beyond(root: Path) -> None:
    rewrite(root / f"rsna/{LABELS}", f"{made_rsna.patient(1)},100,", f"{made_rsna.patient(1)},900,")


RSNA_FAULTS: dict[str, tuple[Plant, Kind, str, str]] = {
    "box outside": (beyond, Kind.OUTSIDE, made_rsna.patient(1), "extends beyond the border of the 1024×1024 image"),
    "truncated DICOM": (
        lambda root: cut(root / f"rsna/stage_2_train_images/{made_rsna.patient(3)}.dcm"),
        Kind.UNUSABLE, made_rsna.patient(3), "",
    ),
    "absent image": (
        lambda root: (root / f"rsna/stage_2_train_images/{made_rsna.patient(7)}.dcm").unlink(),
        Kind.ABSENT, made_rsna.patient(7), "is in val.csv",
    ),
    "patient in two splits": (
        lambda root: made_rsna.release_splits(root / "released/RSNA", {**PARTS, "test": (0, 9, 10)}),
        Kind.LEAK, made_rsna.patient(0), "is in both 'train' and 'test'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", [None, *RSNA_FAULTS])
def test_radiographs(rsna: Path, planted: str | None) -> None:
    if planted:
        RSNA_FAULTS[planted][0](rsna)
    _, _, faults = check(DATASETS["cxr"], rsna, splits=rsna / "released")
    found = [row for row in faults if row[0] != Kind.SPLIT]  # a split of two images loses a class with one of them
    if planted is None:
        assert faults == []
        return
    _, kind, name, reason = RSNA_FAULTS[planted]
    ((found_kind, found_name, found_reason),) = found
    assert found_kind == kind
    assert name in found_name
    assert reason in found_reason


def test_rows_that_no_split_uses_are_checked(rsna: Path) -> None:
    other = made_rsna.patient(2)  # of the class that is left out
    with (rsna / f"rsna/{LABELS}").open("a") as file:
        file.write(f"{other},1000,0,25,10,1\nnowhere,5000,5000,100,100,1\n")
    Image.fromarray(lesion()).save(rsna / "rsna/stage_2_train_images/unknown.png")
    _, said, rows = check(DATASETS["cxr"], rsna)
    assert [row[:2] for row in rows] == [
        [Kind.OUTSIDE, other],
        [Kind.OUTSIDE, "nowhere"],
        [Kind.ABSENT, "nowhere"],
    ]
    assert "Left out: images of the class 'No Lung Opacity / Not Normal': 4" in said
    assert "Left out: images that stage_2_detailed_class_info.csv does not name: 1" in said
    assert "Not checked: whether splits share a patient: " in said


def test_photographs_of_one_patient_in_two_released_splits(tmp_path: Path) -> None:
    for name, patients in {"train": (0, 1, 2), "val": (3, 4), "test": (5, 6)}.items():
        keys = [f"{patient}_left" for patient in patients]
        for key in keys:
            save(tmp_path / f"eyepacs/train/{key}.jpeg", photograph(disc(40, 60, 20, 30, 17)))
        keys += ["1_left"] * (name == "val") + ["8_left"] * (name == "test")
        lines = [f"{key}.png,{int(key[0]) % 2},{int(key[0]) % 2}" for key in keys]
        table(tmp_path / f"released/kaggle/kaggle_gradable_{name}.csv", "filename,level,onset1", *lines)
    _, said, faults = check(DATASETS["fundus"], tmp_path, splits=tmp_path / "released")
    others = [row[:2] for row in faults if row[0] != Kind.COPY]  # the photographs are equal
    assert others == [[Kind.ABSENT, "8_left"], [Kind.LEAK, "1_left"]]
    assert "differs from the published" in said


def test_scans(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for part, patients in {"train": range(1, 13), "test": range(13, 17)}.items():
        for patient in patients:
            for name in ("NORMAL", "DRUSEN"):
                number = patient + 100 * (name == "DRUSEN")
                scan = noise.integers(0, 256, (SIDE, 30), dtype=np.uint8)
                save(tmp_path / f"oct2017/{part}/{name}/{name}-{number}-1.jpeg", scan)
    assert check(DATASETS["oct"], tmp_path)[0]
    save(tmp_path / "oct2017/masks/DRUSEN-113-1.png", lesion())  # 24×24, its scan is 24×30
    save(tmp_path / "oct2017/masks/DRUSEN-999-1.png", lesion())
    _, _, faults = check(DATASETS["oct"], tmp_path)
    assert {row[0] for row in faults} == {Kind.STRAY_MASK, Kind.MASK_SIZE}
    assert len(faults) == 2


def test_released_splits_that_are_not_there_end_the_check(rsna: Path) -> None:
    with pytest.raises(MissingData, match=r"no train.csv in .*nowhere"):
        read(DATASETS["cxr"], rsna, splits=rsna / "nowhere")
