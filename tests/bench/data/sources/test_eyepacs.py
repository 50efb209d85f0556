"""Fundus photographs in Kaggle's layouts, the released splits, and what can be wrong."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import MissingData, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_split, load_splits
from bench.data.sources.eyepacs import find_photographs
from bench.registry import DATASETS
from tests.support.datasets.fundus import by_id, disc, load, photograph, save, table
from tests.support.files import REAL

pytestmark = pytest.mark.usefixtures("one_drawing")

FUNDUS = REAL / "samples" / "fundus"


def blot(row: int, column: int, value: int = 255) -> np.ndarray:
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[row : row + 6, column : column + 6] = value
    return mask


def test_grades_become_classes_and_patients_stay_in_one_split(eyepacs: Path) -> None:
    onset1, onset2, grades = (load(eyepacs, name) for name in ("fundus", "fundus@onset2", "fundus@grades"))
    for split in ("train", "val", "test"):
        assert onset1[split].ids == onset2[split].ids == grades[split].ids
        for index, id_ in enumerate(grades[split].ids):
            patient = int(id_.split("_")[0])
            assert grades[split].groups[index] == str(patient)
            assert grades[split].labels[index] == patient % 5
            assert onset1[split].labels[index] == (patient % 5 >= 1)
            assert onset2[split].labels[index] == (patient % 5 >= 2)
            assert abs(int(grades[split].images[index][0, 16, 2]) - (120 + 4 * patient) * 0.85) < 12
    assert sum(map(len, onset1.values())) == 60
    assert load(eyepacs, seed=1)["test"].ids != onset1["test"].ids


def test_photographs_are_cropped_with_their_field_of_view(eyepacs: Path) -> None:
    split = load(eyepacs, size=34)["test"]
    truth = disc(34, 34, 17, 17, 17)
    assert split.fov is not None
    assert (split.fov != truth).mean() < 0.02
    assert (split.images[:, 0][:, truth] > 60).mean() > 0.97
    assert split.masks is None


def test_layouts_that_people_have(eyepacs: Path, tmp_path: Path) -> None:
    ids = {name: split.ids for name, split in load(eyepacs).items()}
    inside = load_splits(DATASETS["fundus"], Request(eyepacs / "eyepacs", 32, 0), tmp_path / "inside")
    assert {name: split.ids for name, split in inside.items()} == ids
    shutil.move(eyepacs / "eyepacs/train", eyepacs / "eyepacs/aside")
    shutil.move(eyepacs / "eyepacs/aside", eyepacs / "eyepacs/train/train")
    shutil.move(eyepacs / "eyepacs/trainLabels.csv", eyepacs / "eyepacs/labels")
    shutil.move(eyepacs / "eyepacs/labels", save(eyepacs / "eyepacs/csv/x.png", blot(0, 0)).parent / "trainLabels.csv")
    for file in (eyepacs / "eyepacs/train/train").glob("1*_left.jpeg"):
        save(file.with_suffix(".PNG"), np.asarray(Image.open(file)))
        file.unlink()
    assert {name: split.ids for name, split in load(eyepacs).items()} == ids


def test_kaggles_test_images_count_where_their_solution_is_there(eyepacs: Path) -> None:
    save(eyepacs / "eyepacs/test/99_left.jpeg", photograph(disc(40, 60, 20, 30, 17)))
    assert sum(map(len, load(eyepacs).values())) == 60
    table(eyepacs / "eyepacs/retinopathy_solution.csv", "image,level,Usage", "99_left,4,Private")
    split, index = by_id(load(eyepacs, "fundus@grades"), "99_left")
    assert split.labels[index] == 4


def test_photograph_in_two_versions_is_refused(eyepacs: Path) -> None:
    save(eyepacs / "eyepacs/resized/3_right.png", blot(0, 0))
    with pytest.raises(UserError, match=r"3_right appears twice, as .*resized/3_right.png and .*train/3_right.jpeg"):
        load(eyepacs)
    assert DATASETS["fundus"].missing(eyepacs) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0_left,5", r"trainLabels.csv, line 2: level of 0_left is 5, 0 to 4 is expected"),
        ("1_left,0\n1_left,1", "line 3: 1_left appears twice"),
    ],
)
def test_wrong_labels(eyepacs: Path, line: str, message: str) -> None:
    table(eyepacs / "eyepacs/trainLabels.csv", "image,level", line)
    with pytest.raises(UserError, match=message):
        load(eyepacs)


def test_missing_files_say_what_was_looked_for(eyepacs: Path, tmp_path: Path) -> None:
    assert "no <number>_left.jpeg or <number>_right.jpeg in" in DATASETS["fundus"].missing(tmp_path / "nowhere")
    (eyepacs / "eyepacs/trainLabels.csv").unlink()
    with pytest.raises(MissingData, match=r"no trainLabels.csv in .*eyepacs; .* or give --splits"):
        load(eyepacs)


def release(splits: Path, name: str, keys: Sequence[str]) -> None:
    rows = [f"{key},{int(key.split('_')[0]) % 5}" for key in keys]
    grades = [int(row.split(",")[1]) for row in rows]
    lines = [f"{row},{int(g >= 1)},{int(g >= 2)},{key}.png" for row, g, key in zip(rows, grades, keys, strict=True)]
    table(splits / f"kaggle/kaggle_gradable_{name}.csv", "image,level,onset1,onset2,filename", *lines)


def test_released_splits_are_followed(eyepacs: Path) -> None:
    splits = eyepacs / "released"
    release(splits, "train", [f"{patient}_left" for patient in range(10)])
    release(splits, "train_reduce", [f"{patient}_left" for patient in range(5)])
    release(splits, "val", [f"{patient}_right" for patient in range(10, 15)])
    release(splits, "test", [f"{patient}_right" for patient in range(15, 20)])
    (eyepacs / "eyepacs/trainLabels.csv").unlink()  # not needed
    binary, grades = load(eyepacs, splits=splits), load(eyepacs, "fundus@grades", splits=splits / "kaggle")
    assert list(binary["train"].ids) == [f"{patient}_left" for patient in range(5)]
    assert binary["train"].labels.tolist() == [0, 1, 1, 1, 1]
    assert grades["train"].labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert list(grades["test"].ids) == [f"{patient}_right" for patient in range(15, 20)]
    release(splits, "test", ["15_right", "16_left", "600_left"])
    with pytest.raises(BadFiles, match=r"600_left \(is in kaggle_gradable_test.csv, but its image is missing\)"):
        load(eyepacs, splits=splits)
    release(splits, "test", ["0_right", "1_left", "600_left"])
    with pytest.raises(UserError, match=r"1_left is in both 'train' and 'test'"):
        load(eyepacs, splits=splits, skip_bad=True)
    release(splits, "test", ["0_right", "16_left", "17_left"])
    with pytest.raises(UserError, match=r"group 0 is in both 'train' and 'test'"):
        load(eyepacs, splits=splits)


def test_subsample_is_balanced_and_grows(eyepacs: Path) -> None:
    few, more = (load(eyepacs, counts={"train": count})["train"] for count in (8, 12))
    assert len(few) == 8
    assert few.labels.sum() == 4
    assert set(few.ids) < set(more.ids)


@pytest.mark.skipif(not FUNDUS.is_dir(), reason="the sample images are not here")
def test_real_photographs_with_their_released_grades(tmp_path: Path) -> None:
    with (REAL / "splits/kaggle/kaggle_gradable_test.csv").open(newline="") as text:
        truth = {row["image"]: row for row in csv.DictReader(text)}
    request = Request(FUNDUS, 512, 0, splits=REAL / "splits")
    with pytest.raises(BadFiles, match=r"6941 bad files: 13_left \(is in kaggle_gradable_test.csv"):  # 6,956 - 15
        load_split(DATASETS["fundus"], request, "test", tmp_path)
    for name, column in (("fundus", "onset1"), ("fundus@onset2", "onset2"), ("fundus@grades", "level")):
        request = Request(FUNDUS, 512, 0, skip_bad=True, splits=REAL / "splits")
        split = load_split(DATASETS[name], request, "test", tmp_path)
        assert set(split.ids) == {file.stem for file in FUNDUS.glob("*.png")}
        assert split.labels.tolist() == [int(truth[id_][column]) for id_ in split.ids]
    for id_, image in zip(split.ids, split.images, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(FUNDUS / f"{id_}.png")).transpose(2, 0, 1))
    assert find_photographs(FUNDUS).keys() == set(split.ids)


def test_photographs_in_no_split_are_counted(eyepacs: Path) -> None:
    for key in ("98_left", "99_left"):
        save(eyepacs / f"eyepacs/test/{key}.jpeg", photograph(disc(40, 60, 20, 30, 17)))
    build = DATASETS["fundus"].builder
    reason = "photographs without a grade in trainLabels.csv (the grades of Kaggle's test images are in {})"
    assert build(eyepacs, "val").left_out == {reason.format("retinopathy_solution.csv"): 2}
    table(eyepacs / "eyepacs/retinopathy_solution.csv", "image,level,Usage", "99_left,4,Private")
    reason = "photographs without a grade in retinopathy_solution.csv or trainLabels.csv"
    assert build(eyepacs, "val").left_out == {reason: 1}
    for index, name in enumerate(("train", "val", "test")):
        release(eyepacs / "released", name, [f"{2 * index}_left", f"{2 * index + 1}_left"])
    released = build(eyepacs, "val", splits=eyepacs / "released")
    assert released.left_out == {"photographs that are in none of the released splits": 62 - 6}


def test_released_label_out_of_range_is_named_with_its_line(eyepacs: Path) -> None:
    splits = eyepacs / "released"
    for name, keys in {"train": ["0_left", "1_left"], "val": ["2_left"], "test": ["3_left"]}.items():
        release(splits, name, keys)
    table(splits / "kaggle/kaggle_gradable_val.csv", "filename,onset1", "2_left.png,1", "11_left.png,7")
    with pytest.raises(UserError, match=r"gradable_val.csv, line 3: onset1 of 11_left.png is 7, 0 to 1 is expected"):
        load(eyepacs, splits=splits)


def test_a_patient_in_two_released_splits_is_refused_whatever_the_counts(eyepacs: Path) -> None:
    splits = eyepacs / "released"
    for split, first in (("train", 0), ("val", 9), ("test", 20)):  # patient 9 is in two of them
        rows = [f"{patient}_left.png,{patient % 2}" for patient in range(first, first + 10)]
        name = "kaggle_gradable_train_reduce" if split == "train" else f"kaggle_gradable_{split}"
        table(splits / f"kaggle/{name}.csv", "filename,onset1", *rows)
    for count in (None, 2):
        with pytest.raises(UserError, match="9_left is in both 'train' and 'val'"):
            load(eyepacs, splits=splits, counts={"train": count, "val": count, "test": count})
