"""CSV files of images and classes: publishers' tables, and the splits that the authors have released."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from bench.contracts import MissingData, UserError
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.released import Released, read_released, unlisted
from bench.data.readers.tables import key_of, read_labels, read_rows
from bench.registry import DATASETS
from tests.support.files import REAL

SPLITS = REAL / "splits"
#: data set -> (file of each split, column of the class), and the classes of its test split (arXiv:2505.17748).
RELEASED = {
    "fundus": ("kaggle/kaggle_gradable_{}.csv", "onset1"),
    "fundus@onset2": ("kaggle/kaggle_gradable_{}.csv", "onset2"),
    "fundus@grades": ("kaggle/kaggle_gradable_{}.csv", "level"),
    "oct": ("Retinal_OCT/{}.csv", "drusen"),
    "oct@classes": ("Retinal_OCT/multiclass/{}.csv", "level"),
    "cxr": ("RSNA/{}.csv", "bin_target"),
}
TEST_CLASSES = {
    "fundus": [5118, 1838],
    "fundus@onset2": [5655, 1301],
    "fundus@grades": [5118, 537, 1051, 173, 77],
    "oct": [250, 248],
    "oct@classes": [250, 248, 250, 250],
    "cxr": [1328, 902],
}
#: Who trains on ``kaggle_gradable_train_reduce.csv``.
REDUCED = ("fundus", "fundus@onset2")


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("13_left.png", "13_left"),
        ("13_left.JPEG", "13_left"),
        ("13_left", "13_left"),
        ("test/CNV/CNV-1-2.png", "test/cnv/cnv-1-2"),
        ("test\\CNV\\CNV-1-2.jpeg", "test/cnv/cnv-1-2"),
        ("0000a175.dcm", "0000a175"),
        ("scan.2019", "scan.2019"),
    ],
)
def test_key_forgets_the_suffix_only(name: str, key: str) -> None:
    assert key_of(name) == key


def test_rows_are_read_whatever_their_spaces_mark_or_empty_end(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes("\ufeffImage name, Retinopathy grade,Risk ,\nIDRiD_001 , 3,2,,\n,,,\n".encode())
    (row,) = read_rows(file, ("Image name", "Retinopathy grade"))
    assert (row.line, row.values) == (2, {"Image name": "IDRiD_001", "Retinopathy grade": "3"})
    assert row.integer("Retinopathy grade") == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("image,grade", "a,1"), r"t.csv: no column level; found image, grade"),
        ((), r"t.csv: no column image, level; found nothing"),
        (("image,level", "a,1", "a.png,1"), r"t.csv, line 3: a.png appears twice"),
        (("image,level", "a,one"), r"t.csv, line 2: level is 'one', not a whole number"),
        (("image,level", "a,0.5"), r"t.csv, line 2: level is '0.5', not a whole number"),
        (("image,level", "a"), r"t.csv, line 2: level is '', not a whole number"),
        (("image,level", "a,0", ",1"), r"t.csv, line 3: image is empty, the name of an image is expected"),
        (("image,level", "a,2"), r"t.csv, line 2: level of a is 2, 0 to 1 is expected"),
        (("image,level", "a,-1"), r"t.csv, line 2: level of a is -1, 0 to 1 is expected"),
        (("image,level", "a,nan"), r"t.csv, line 2: level is 'nan', not a whole number"),
    ],
)
def test_wrong_table(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write(tmp_path / "t.csv", *lines), "image", "level", 2)


def test_table_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"image,level\n\x81\x8d,1\n")
    with pytest.raises(UserError, match=r"t.csv: cannot be read as CSV"):
        read_labels(tmp_path / "t.csv", "image", "level", 2)
    with pytest.raises(MissingData, match=r"none.csv not found; a CSV file with the columns image, level is expected"):
        read_labels(tmp_path / "none.csv", "image", "level", 2)


def test_split_is_found_from_either_folder_and_says_what_is_absent(tmp_path: Path) -> None:
    file = write(tmp_path / "Retinal_OCT/multiclass/val.csv", "filename,level", "train/CNV/CNV-1-1.png,3", "b.png,1.0")
    for splits in (tmp_path, tmp_path / "Retinal_OCT", tmp_path / "Retinal_OCT/multiclass"):
        released = read_released(splits, ("Retinal_OCT", "multiclass"), {"val": ("val.csv",)}, "level", 4)["val"]
        assert released.file == file
        assert released.labels == {"train/cnv/cnv-1-1": 3, "b": 1}
    assert released.present({"b", "c"}) == ["b"]
    reason = "is in val.csv, but its image is missing"
    assert released.absent({"b", "c"}) == [Fault("train/cnv/cnv-1-1", reason, Kind.ABSENT)]


def test_first_name_that_is_there_is_taken(tmp_path: Path) -> None:
    names = {"train": ("reduced.csv", "full.csv")}
    write(tmp_path / "kaggle/full.csv", "filename,level", "a.png,0")
    assert list(read_released(tmp_path, ("kaggle",), names, "level", 2)["train"].labels) == ["a"]
    write(tmp_path / "kaggle/reduced.csv", "filename,level", "b.png,0")
    assert list(read_released(tmp_path, ("kaggle",), names, "level", 2)["train"].labels) == ["b"]


def test_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        MissingData, match=r"--splits: no a.csv or b.csv in .*/kaggle or .*; a CSV file with the columns filename,level"
    ):
        read_released(tmp_path, ("kaggle",), {"val": ("a.csv", "b.csv")}, "level", 2)


def test_images_in_no_split() -> None:
    listed = {"train": Released(Path("train.csv"), {"a": 0}), "test": Released(Path("test.csv"), {"b": 1, "x": 0})}
    assert unlisted(["a", "b", "c", "d"], listed) == ["c", "d"]


@pytest.mark.skipif(not SPLITS.is_dir(), reason="the authors' split files are not here")
@pytest.mark.parametrize("name", RELEASED)
def test_published_counts_are_those_of_the_authors_own_files(name: str) -> None:
    pattern, column = RELEASED[name]
    published = DATASETS[name].published
    assert list(published) == ["train", "val", "test"]
    assert list(published["test"]) == TEST_CLASSES[name]
    for split, counts in published.items():
        file = SPLITS / pattern.format("train_reduce" if split == "train" and name in REDUCED else split)
        with file.open(newline="") as text:
            classes = Counter(int(row[column]) for row in csv.DictReader(text))
        assert counts == tuple(classes[label] for label in range(len(DATASETS[name].classes)))
        labels = read_labels(file, "filename", column, len(counts))
        assert Counter(labels.values()) == classes
