"""Fundus photographs in the layouts of Kaggle and Retinal-Lesions, the released splits, and what can be wrong."""

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
from bench.data.split import Split
from bench.registry import DATASETS
from tests.support.made_fundus import disc, load, photograph, save, table
from tests.support.paths import REAL

FUNDUS = REAL / "samples" / "fundus"
RL = "retinal-lesions/retinal-lesions-v20191227"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty patients, both eyes; the grade is the patient's number modulo 5; the colour tells the patient."""
    lines = ["image,level"]
    for patient in range(30):
        for eye in ("left", "right"):
            colour = (120 + 4 * patient, 90, 40)
            save(tmp_path / f"eyepacs/train/{patient}_{eye}.jpeg", photograph(disc(40, 60, 20, 30, 17), colour))
            lines.append(f"{patient}_{eye},{patient % 5}")
    table(tmp_path / "eyepacs/trainLabels.csv", *lines)
    return tmp_path


def annotate(root: Path, key: str, colour: Sequence[int] = (180, 90, 40), **masks: np.ndarray) -> None:
    """Add an image to Retinal-Lesions, 48 px, with its masks by lesion type."""
    save(root / RL / f"images_896x896/{key}.jpg", photograph(disc(48, 48, 24, 24, 24), colour))
    (root / RL / "lesion_segs_896x896").mkdir(exist_ok=True)
    for lesion, mask in masks.items():
        save(root / RL / f"lesion_segs_896x896/{key}/{lesion}.png", mask)


def blot(row: int, column: int, value: int = 255) -> np.ndarray:
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[row : row + 6, column : column + 6] = value
    return mask


def by_id(splits: dict[str, Split], id_: str) -> tuple[Split, int]:
    (found,) = [(split, split.ids.index(id_)) for split in splits.values() if id_ in split.ids]
    return found


def test_grades_become_classes_and_patients_stay_in_one_split(root: Path) -> None:
    onset1, onset2, grades = (load(root, name) for name in ("fundus", "fundus@onset2", "fundus@grades"))
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
    assert load(root, seed=1)["test"].ids != onset1["test"].ids


def test_photographs_are_cropped_with_their_field_of_view(root: Path) -> None:
    split = load(root, size=34)["test"]
    truth = disc(34, 34, 17, 17, 17)
    assert split.fov is not None
    assert (split.fov != truth).mean() < 0.02
    assert (split.images[:, 0][:, truth] > 60).mean() > 0.97
    assert split.masks is None


def test_layouts_that_people_have(root: Path, tmp_path: Path) -> None:
    ids = {name: split.ids for name, split in load(root).items()}
    inside = load_splits(DATASETS["fundus"], Request(root / "eyepacs", 32, 0), tmp_path / "inside")
    assert {name: split.ids for name, split in inside.items()} == ids
    shutil.move(root / "eyepacs/train", root / "eyepacs/aside")
    shutil.move(root / "eyepacs/aside", root / "eyepacs/train/train")
    shutil.move(root / "eyepacs/trainLabels.csv", root / "eyepacs/labels")
    shutil.move(root / "eyepacs/labels", save(root / "eyepacs/csv/x.png", blot(0, 0)).parent / "trainLabels.csv")
    for file in (root / "eyepacs/train/train").glob("1*_left.jpeg"):
        save(file.with_suffix(".PNG"), np.asarray(Image.open(file)))
        file.unlink()
    assert {name: split.ids for name, split in load(root).items()} == ids


def test_kaggles_test_images_count_where_their_solution_is_there(root: Path) -> None:
    save(root / "eyepacs/test/99_left.jpeg", photograph(disc(40, 60, 20, 30, 17)))
    assert sum(map(len, load(root).values())) == 60
    table(root / "eyepacs/retinopathy_solution.csv", "image,level,Usage", "99_left,4,Private")
    split, index = by_id(load(root, "fundus@grades"), "99_left")
    assert split.labels[index] == 4


def test_annotated_photographs_are_read_with_their_lesions(root: Path) -> None:
    annotate(root, "11_left", (40, 90, 180), microaneurysm=blot(10, 20), hard_exudate=blot(30, 20))
    annotate(root, "12_left", neovascularization=blot(20, 20, 127), retinal_hemorrhage=blot(22, 20))
    splits = load(root, size=48)
    split, index = by_id(splits, "11_left")
    assert split.has_mask[index]
    assert np.array_equal(split.masks[index], (blot(10, 20) | blot(30, 20)) > 0)
    assert split.images[index][2].max() > split.images[index][0].max() + 80  # blue: Kaggle's own is red
    split, index = by_id(splits, "12_left")
    assert np.array_equal(split.masks[index], blot(22, 20) > 0)
    only_excluded = np.zeros((48, 48), dtype=bool)
    only_excluded[20:22, 20:26] = True  # and no lesion of another type
    assert np.array_equal(split.ignored[index], only_excluded)
    assert split.fov[index][20:28, 20:26].all()
    assert sum(part.has_mask.sum() for part in splits.values()) == 2
    assert sum(part.ignored.sum() for part in splits.values() if part.ignored is not None) == 12


def test_annotators_who_found_nothing(root: Path) -> None:
    annotate(root, "10_left")  # grade 0
    annotate(root, "11_left", microaneurysm=blot(20, 20, 127))  # grade 1, only an excluded lesion
    annotate(root, "12_left")  # grade 2
    splits = load(root, size=48)
    split, index = by_id(splits, "10_left")
    assert split.has_mask[index]
    assert not split.masks[index].any()
    for key in ("11_left", "12_left"):
        split, index = by_id(splits, key)
        assert not split.has_mask[index]
    split, index = by_id(splits, "11_left")
    assert split.fov[index][20:26, 20:26].all()
    assert np.array_equal(split.ignored[index], blot(20, 20) > 0)


def test_masks_without_the_images_they_were_drawn_on(root: Path) -> None:
    annotate(root, "11_left", microaneurysm=blot(20, 20))
    shutil.rmtree(root / RL / "images_896x896")
    with pytest.raises(MissingData, match=r"no folder images_896x896 in .*retinal-lesions or up to two levels below"):
        load(root)
    (root / RL / "images_896x896").write_text("")
    with pytest.raises(MissingData, match=r"no folder images_896x896 in"):
        load(root)


@pytest.mark.parametrize("home", ["retinal-lesions", "retinal_lesions", "."])
def test_lesions_in_the_folders_that_unpacking_makes(root: Path, home: str) -> None:
    annotate(root, "11_left", microaneurysm=blot(20, 20))
    shutil.move(root / RL, root / "aside")
    shutil.rmtree(root / "retinal-lesions")
    inner = "" if home == "." else "retinal-lesions-v20191227"
    shutil.move(root / "aside", root / home / "retinal-lesions-v20191227" / inner)
    split, index = by_id(load(root), "11_left")
    assert split.has_mask[index]


def test_a_folder_for_the_lesions_that_holds_none(root: Path) -> None:
    (root / "retinal-lesions").mkdir()
    with pytest.raises(MissingData, match=r"no folder images_896x896 nor lesion_segs_896x896 in .*retinal-lesions"):
        load(root)


def test_faults_of_masks_and_images_are_named_at_once(root: Path) -> None:
    annotate(root, "11_left", microaneurysm=blot(20, 20)[:40])
    annotate(root, "12_left", microaneurysm=blot(20, 20, 60))
    save(root / RL / "lesion_segs_896x896/777_left/microaneurysm.png", blot(0, 0))
    broken = root / "eyepacs/train/3_right.jpeg"
    broken.write_bytes(broken.read_bytes()[:300])
    (root / "eyepacs/train/4_left.jpeg").unlink()
    with pytest.raises(BadFiles) as caught:
        load(root)
    for part in (
        "5 bad files",
        "microaneurysm.png (is 48×40, its image 48×48 pixels",
        "microaneurysm.png (contains the grey value 60; masks have 0, 127 and 255 only)",
        "777_left (contains masks, but no image in",
        "3_right.jpeg (cannot be read as an image",
        "4_left (is in trainLabels.csv, but its image is missing)",
    ):
        assert part in str(caught.value)
    splits = load(root, skip_bad=True)
    assert sum(map(len, splits.values())) == 56
    assert sum(len(split.excluded) for split in splits.values()) == 5


def test_photograph_in_two_versions_is_refused(root: Path) -> None:
    save(root / "eyepacs/resized/3_right.png", blot(0, 0))
    with pytest.raises(UserError, match=r"3_right appears twice, as .*resized/3_right.png and .*train/3_right.jpeg"):
        load(root)
    assert DATASETS["fundus"].missing(root) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0_left,5", r"trainLabels.csv, line 2: level of 0_left is 5, 0 to 4 is expected"),
        ("1_left,0\n1_left,1", "line 3: 1_left appears twice"),
    ],
)
def test_wrong_labels(root: Path, line: str, message: str) -> None:
    table(root / "eyepacs/trainLabels.csv", "image,level", line)
    with pytest.raises(UserError, match=message):
        load(root)


def test_missing_files_say_what_was_looked_for(root: Path, tmp_path: Path) -> None:
    assert "no <number>_left.jpeg or <number>_right.jpeg in" in DATASETS["fundus"].missing(tmp_path / "nowhere")
    (root / "eyepacs/trainLabels.csv").unlink()
    with pytest.raises(MissingData, match=r"no trainLabels.csv in .*eyepacs; .* or give --splits"):
        load(root)


def release(splits: Path, name: str, keys: Sequence[str]) -> None:
    rows = [f"{key},{int(key.split('_')[0]) % 5}" for key in keys]
    grades = [int(row.split(",")[1]) for row in rows]
    lines = [f"{row},{int(g >= 1)},{int(g >= 2)},{key}.png" for row, g, key in zip(rows, grades, keys, strict=True)]
    table(splits / f"kaggle/kaggle_gradable_{name}.csv", "image,level,onset1,onset2,filename", *lines)


def test_released_splits_are_followed(root: Path) -> None:
    splits = root / "released"
    release(splits, "train", [f"{patient}_left" for patient in range(10)])
    release(splits, "train_reduce", [f"{patient}_left" for patient in range(5)])
    release(splits, "val", [f"{patient}_right" for patient in range(10, 15)])
    release(splits, "test", [f"{patient}_right" for patient in range(15, 20)])
    (root / "eyepacs/trainLabels.csv").unlink()  # not needed
    binary, grades = load(root, splits=splits), load(root, "fundus@grades", splits=splits / "kaggle")
    assert list(binary["train"].ids) == [f"{patient}_left" for patient in range(5)]
    assert binary["train"].labels.tolist() == [0, 1, 1, 1, 1]
    assert grades["train"].labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert list(grades["test"].ids) == [f"{patient}_right" for patient in range(15, 20)]
    release(splits, "test", ["15_right", "16_left", "600_left"])
    with pytest.raises(BadFiles, match=r"600_left \(is in kaggle_gradable_test.csv, but its image is missing\)"):
        load(root, splits=splits)
    release(splits, "test", ["0_right", "1_left", "600_left"])
    with pytest.raises(UserError, match=r"1_left is in both 'train' and 'test'"):
        load(root, splits=splits, skip_bad=True)
    release(splits, "test", ["0_right", "16_left", "17_left"])
    with pytest.raises(UserError, match=r"group 0 is in both 'train' and 'test'"):
        load(root, splits=splits)


def test_subsample_is_balanced_and_grows(root: Path) -> None:
    few, more = (load(root, counts={"train": count})["train"] for count in (8, 12))
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


def test_photographs_in_no_split_are_counted(root: Path) -> None:
    for key in ("98_left", "99_left"):
        save(root / f"eyepacs/test/{key}.jpeg", photograph(disc(40, 60, 20, 30, 17)))
    build = DATASETS["fundus"].builder
    reason = "photographs without a grade in trainLabels.csv (the grades of Kaggle's test images are in {})"
    assert build(root, "val").left_out == {reason.format("retinopathy_solution.csv"): 2}
    table(root / "eyepacs/retinopathy_solution.csv", "image,level,Usage", "99_left,4,Private")
    reason = "photographs without a grade in retinopathy_solution.csv or trainLabels.csv"
    assert build(root, "val").left_out == {reason: 1}
    for index, name in enumerate(("train", "val", "test")):
        release(root / "released", name, [f"{2 * index}_left", f"{2 * index + 1}_left"])
    released = build(root, "val", splits=root / "released")
    assert released.left_out == {"photographs that are in none of the released splits": 62 - 6}


def test_released_label_out_of_range_is_named_with_its_line(root: Path) -> None:
    splits = root / "released"
    for name, keys in {"train": ["0_left", "1_left"], "val": ["2_left"], "test": ["3_left"]}.items():
        release(splits, name, keys)
    table(splits / "kaggle/kaggle_gradable_val.csv", "filename,onset1", "2_left.png,1", "11_left.png,7")
    with pytest.raises(UserError, match=r"gradable_val.csv, line 3: onset1 of 11_left.png is 7, 0 to 1 is expected"):
        load(root, splits=splits)


def test_a_patient_in_two_released_splits_is_refused_whatever_the_counts(root: Path) -> None:
    splits = root / "released"
    for split, first in (("train", 0), ("val", 9), ("test", 20)):  # patient 9 is in two of them
        rows = [f"{patient}_left.png,{patient % 2}" for patient in range(first, first + 10)]
        name = "kaggle_gradable_train_reduce" if split == "train" else f"kaggle_gradable_{split}"
        table(splits / f"kaggle/{name}.csv", "filename,onset1", *rows)
    for count in (None, 2):
        with pytest.raises(UserError, match="9_left is in both 'train' and 'val'"):
            load(root, splits=splits, counts={"train": count, "val": count, "test": count})
