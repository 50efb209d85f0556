"""RSNA's radiographs: labels and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import UserError
from bench.data.checks import BadFiles
from bench.data.readers.faults import Kind
from bench.data.sources.rsna import read_annotations, read_classes
from tests.support.datasets.rsna import (
    boxes_of,
    load,
    patient,
    pixels_of,
    write_dicom,
    write_table,
)

pytest.importorskip("pydicom")
COUNT, LABELS, CLASSES = 18, "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"


# --- Broken files ----------------------------------------------------------------------------------------------------


HEALTHY, SICK = patient(3), patient(1)  # training images, of which there are others


@pytest.mark.parametrize(
    ("id_", "lines", "said", "kind"),
    [
        (SICK, ["-1,0,10,10,1"], "box x=-1 y=0 width=10 height=10 extends beyond the border", Kind.OUTSIDE),
        (SICK, ["0,0,10,10,1", "900,0,125,10,1"], "x=900 y=0 width=125 height=10 extends beyond", Kind.OUTSIDE),
        (SICK, ["0,1000.0,10,24.5,1"], "y=1000.0 width=10 height=24.5 extends beyond", Kind.OUTSIDE),
        (SICK, ["0,0,0,10,1"], "width=0 height=10: four numbers are expected", Kind.UNUSABLE),
        (SICK, ["0,0,,10,1"], "width= height=10: four numbers are expected", Kind.UNUSABLE),
        (SICK, ["0,nine,5,10,1"], "y=nine width=5 height=10: four numbers", Kind.UNUSABLE),
        (SICK, ["0,0,5,inf,1"], "height=inf: four numbers", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,2"], "Target is 2, 0 or 1 is expected", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,0"], "is given although Target is 0", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,1", ",,,,0"], f"of {LABELS}, in one of them without an opacity", Kind.DUPLICATE),
        (SICK, ["0,0,5,5,1", "7,7,5,5,1", "0.0,0,5,5,1"], f"of {LABELS}, with one box twice", Kind.DUPLICATE),
        (HEALTHY, [",,,,0", ",,,,0"], f"of {LABELS}, in one of them without an opacity", Kind.DUPLICATE),
        (HEALTHY, ["0,0,5,5,1"], f"has class 0 in {CLASSES}, but 1 boxes", Kind.UNUSABLE),
        (SICK, [",,,,0"], f"has class 1 in {CLASSES}, but 0 boxes", Kind.UNUSABLE),
        (SICK, [], f"is in {CLASSES}, but not in {LABELS}", Kind.UNUSABLE),
    ],
)
def test_labels_that_cannot_be_used(rsna_copy: Path, id_: str, lines: list[str], said: str, kind: Kind) -> None:
    table = rsna_copy / LABELS
    kept = [line for line in table.read_text().splitlines() if not line.startswith(id_)]
    table.write_text("\n".join([*kept, *(f"{id_},{line}" for line in lines)]) + "\n")
    with pytest.raises(BadFiles) as error:
        load(rsna_copy)
    assert len(error.value.files) == 1
    assert said in str(error.value)
    assert id_ in str(error.value)
    assert error.value.files[0].kind == kind
    splits = load(rsna_copy, skip_bad=True)
    assert sum(map(len, splits.values())) == 11
    assert [fault.file for split in splits.values() for fault in split.excluded] == [id_]


def test_wrong_row_is_named_by_its_line(rsna_copy: Path) -> None:
    with (rsna_copy / LABELS).open("a") as file:
        file.write(f"{SICK},1000,0,25,10,1\n")
    last = len((rsna_copy / LABELS).read_text().splitlines())
    with pytest.raises(BadFiles, match=f"{LABELS}, line {last}: box x=1000"):
        load(rsna_copy)


def test_boxes_of_images_left_out_are_not_judged(rsna_copy: Path) -> None:
    with (rsna_copy / LABELS).open("a") as file:
        file.write(f"{patient(2)},1000,0,25,10,1\n")
    assert sum(map(len, load(rsna_copy).values())) == 12


def test_box_that_touches_the_border_is_inside(rsna_copy: Path) -> None:
    table = rsna_copy / LABELS
    table.write_text(table.read_text() + f"{SICK},1000,1000.0,24,24,1\n")
    assert read_annotations(table)[SICK].fault is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["a", "Normal"], ["a", "Lung Opacity"]], "line 3: a has the class 'Lung Opacity', but 'Normal' in"),
        ([["a", "normal"]], "line 2: a has the class 'normal', which is not one of Normal, Lung Opacity"),
    ],
)
def test_classes_that_cannot_be_used(tmp_path: Path, rows: list[list[str]], said: str) -> None:
    write_table(tmp_path / CLASSES, ["patientId", "class"], rows)
    with pytest.raises(UserError, match=said):
        read_classes(tmp_path / CLASSES)


@pytest.mark.parametrize(("table", "column"), [(LABELS, "height"), (LABELS, "patientId"), (CLASSES, "class")])
def test_missing_column_is_named(rsna_copy: Path, table: str, column: str) -> None:
    path = rsna_copy / table
    path.write_text(path.read_text().replace(column, "other", 1))
    with pytest.raises(UserError, match=f"{table}: no column {column}; found ") as error:
        load(rsna_copy)
    assert "\n" not in str(error.value)


def test_two_images_of_one_patient(rsna_copy: Path) -> None:
    Image.fromarray(pixels_of(0)).save(rsna_copy / f"stage_2_train_images/{patient(0)}.png")
    with pytest.raises(BadFiles, match=f"has two images, {patient(0)}.dcm and {patient(0)}.png; keep one") as error:
        load(rsna_copy)
    assert error.value.files[0].kind == Kind.DUPLICATE


def test_truncated_and_undecodable_files(rsna_copy: Path) -> None:
    file = rsna_copy / f"stage_2_train_images/{HEALTHY}.dcm"
    file.write_bytes(file.read_bytes()[:-500])
    write_dicom(
        rsna_copy / f"stage_2_train_images/{SICK}.dcm", pixels_of(1),
        syntax="1.2.840.10008.1.2.4.100", frame=b"\0" * 8,
    )  # fmt: skip
    with pytest.raises(BadFiles) as error:
        load(rsna_copy)
    reasons = {Path(fault.file).stem: fault.reason for fault in error.value.files}
    assert set(reasons) == {HEALTHY, SICK}
    assert reasons[HEALTHY].startswith("cannot be read as DICOM")
    assert "MPEG2" in reasons[SICK]
    assert sum(map(len, load(rsna_copy, skip_bad=True).values())) == 10


def test_a_changed_label_renews_the_cache(rsna_copy: Path) -> None:
    before = load(rsna_copy)
    table = rsna_copy / LABELS
    table.write_text(table.read_text().replace("100,200,300,401,1", "100,200,300,300,1"))
    after = load(rsna_copy)
    changed = [
        id_
        for name, split in before.items()
        for id_, one, other in zip(split.ids, split.masks, after[name].masks, strict=True)
        if not np.array_equal(one, other)
    ]
    assert sorted(changed) == [patient(index) for index in range(COUNT) if boxes_of(index) == boxes_of(1)]
