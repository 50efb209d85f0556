"""RSNA's radiographs: seeded and released splits, and patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import UserError
from bench.data.checks import BadFiles
from bench.data.readers.faults import Kind
from bench.data.sources.rsna import cxr
from tests.support.datasets.rsna import (
    boxes_of,
    halved,
    load,
    painted,
    patient,
    pixels_of,
    release_splits,
    write_table,
)

pytest.importorskip("pydicom")
COUNT, LABELS, CLASSES = 18, "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
PARTS = {"train": (0, 1, 3, 4), "val": (6, 7), "test": (9, 10, 15, 16)}


# --- Splits ----------------------------------------------------------------------------------------------------------


def test_seeded_split_leaves_the_third_class_out(rsna: Path) -> None:
    keys = {split: set(cxr(rsna, split).keys) for split in ("train", "val", "test")}
    assert sum(map(len, keys.values())) == len(set.union(*keys.values())) == 12
    assert set.union(*keys.values()) == {patient(index) for index in range(COUNT) if index % 3 != 2}
    assert keys != {split: set(cxr(rsna, split, seed=1).keys) for split in keys}


def test_split_of_an_image_does_not_depend_on_which_files_are_there(rsna_copy: Path) -> None:
    before = cxr(rsna_copy, "train").keys
    (rsna_copy / f"stage_2_train_images/{before[0]}.dcm").unlink()
    samples = cxr(rsna_copy, "train")
    assert samples.keys == before[1:]
    reason = f"is in {CLASSES}, but its image is missing"
    assert samples.excluded == [(before[0], reason, Kind.ABSENT)]


@pytest.mark.parametrize("given", ["", "RSNA"])
def test_released_splits_as_they_are(rsna: Path, tmp_path: Path, given: str) -> None:
    release_splits(tmp_path / "splits/RSNA", PARTS)
    for split, indices in PARTS.items():
        samples = cxr(rsna, split, splits=tmp_path / "splits" / given)
        assert samples.keys == [patient(index) for index in indices]
        assert samples.excluded == []
        for place, index in enumerate(indices):
            mask = samples[place].mask
            assert mask is not None
            assert np.array_equal(mask.numpy(), halved(painted(boxes_of(index))))  # all boxes, not the released one


def test_released_split_that_names_absent_images(rsna: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS | {"test": (9, 10, 900, 901)})
    with pytest.raises(BadFiles, match=r"2 bad files: 00000384-.*is in test\.csv, but its image is missing"):
        load(rsna, splits=splits)
    test = load(rsna, splits=splits, skip_bad=True)["test"]
    assert test.ids == (patient(9), patient(10))
    assert [(fault.file, fault.kind) for fault in test.excluded] == [
        (patient(index), Kind.ABSENT) for index in (900, 901)
    ]


def test_released_splits_that_leak(rsna: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS | {"test": (0, 9, 10)})
    with pytest.raises(UserError, match=f"{patient(0)} is in both 'train' and 'test'"):
        load(rsna, splits=splits)


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (["filename", "target"], ["a.png", 1], "no column bin_target; found filename, target"),
        (["filename", "bin_target"], ["a.png", "x"], "line 2: bin_target is 'x', not a whole number"),
    ],
)
def test_released_splits_that_cannot_be_read(
    rsna: Path, tmp_path: Path, columns: list[str], row: list[str], said: str
) -> None:
    write_table(tmp_path / "train.csv", columns, [row])
    with pytest.raises(UserError, match=said):
        cxr(rsna, "train", splits=tmp_path)


def test_unknown_split_is_refused(rsna: Path) -> None:
    with pytest.raises(UserError, match="has no split 'tests'; it has train, val, test"):
        cxr(rsna, "tests")


def test_counts_grow_without_changing_the_earlier_ones(rsna: Path) -> None:
    few, more = (cxr(rsna, "train", count=count) for count in (2, 4))
    assert set(few.keys) < set(more.keys)
    assert [sum(samples[index].label for index in range(len(samples))) for samples in (few, more)] == [1, 2]


# --- Patients --------------------------------------------------------------------------------------------------------


def map_patients(rsna_copy: Path, patients: dict[int, int]) -> None:
    """RSNA's file of which image of the NIH's each image is: here of these patients."""
    entries = [
        {"subset_img_id": patient(index), "img_id": f"{person:08}_{index:03}.png", "orig_labels": []}
        for index, person in patients.items()
    ]
    (rsna_copy / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(entries))


def test_patients_stay_in_one_split_where_they_are_known(rsna_copy: Path) -> None:
    assert all(split.ids == split.groups for split in load(rsna_copy).values())
    assert "mappings_2018.json not found" in cxr(rsna_copy, "train").unchecked
    people = {index: index // 3 // 2 for index in range(COUNT)}  # a healthy and an ill image each, two times over
    map_patients(rsna_copy, people)
    assert cxr(rsna_copy, "train").unchecked == ""
    splits = load(rsna_copy)
    groups = {name: set(split.groups) for name, split in splits.items()}
    assert groups["train"] | groups["val"] | groups["test"] == {"00000000", "00000001", "00000002"}
    assert sum(map(len, groups.values())) == 3
    for split in splits.values():
        assert list(split.groups) == [f"{people[int(id_[:8], 16)]:08}" for id_ in split.ids]


def test_released_splits_that_share_a_patient_are_refused(rsna_copy: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS)
    map_patients(rsna_copy, {index: index if index != 9 else 1 for index in range(COUNT)})
    for skip_bad in (False, True):
        with pytest.raises(UserError, match="group 00000001 is in both 'train' and 'test'"):
            load(rsna_copy, splits=splits, skip_bad=skip_bad)


def test_image_of_nobody_known_is_refused(rsna_copy: Path) -> None:
    map_patients(rsna_copy, {index: index for index in range(COUNT) if index != 3})
    with pytest.raises(BadFiles, match=r"but not in pneumonia-challenge-dataset-mappings_2018\.json") as error:
        load(rsna_copy)
    assert [fault.file for fault in error.value.files] == [patient(3)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "a list of objects with subset_img_id and img_id"),
        ('{"a": 1}', "a list of objects"),
        ('[{"subset_img_id": "a"}]', "a list of objects .*KeyError"),
        ('[{"subset_img_id": "a", "img_id": "1.png"}]', "a list of objects"),
        (
            '[{"subset_img_id": "a", "img_id": "1_1.png"}, {"subset_img_id": "a", "img_id": "2_1.png"}]',
            "1 images appear twice",
        ),
    ],
)
def test_file_of_patients_that_cannot_be_used(rsna_copy: Path, text: str, said: str) -> None:
    (rsna_copy / "pneumonia-challenge-dataset-mappings_2018.json").write_text(text)
    with pytest.raises(UserError, match=f"mappings_2018.json: {said}") as error:
        load(rsna_copy)
    assert "\n" not in str(error.value)


def test_images_in_no_split_are_counted(rsna_copy: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels_of(0)).save(rsna_copy / "stage_2_train_images/unknown.png")
    assert cxr(rsna_copy, "val").left_out == {
        "images of the class 'No Lung Opacity / Not Normal'": 6,
        f"images that {CLASSES} does not name": 1,
    }
    released = cxr(rsna_copy, "val", splits=release_splits(tmp_path / "splits", PARTS))
    assert released.left_out == {"images that are in none of the released splits": 18 + 1 - 10}
