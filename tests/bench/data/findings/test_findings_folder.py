"""A folder with labels.csv: labels, masks per finding, patients, pairs, and everything that can be wrong with it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.commands.check_data.command import check_dataset
from bench.contracts import NO_FINDING, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_splits
from bench.data.sources.folder import folder_dataset
from bench.data.split import Split
from tests.support.datasets.folder import (
    CORNERS,
    COUNT,
    FINDINGS,
    SIDE,
    box,
    labels_of,
    make_findings,
    make_folder,
    rows_of,
    write,
    write_table,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_findings(tmp_path / "own")


def load(folder: Path, **options: Any) -> dict[str, Split]:
    return load_splits(folder_dataset(folder), Request(folder, SIDE, 0, **options), folder.parent / "cache")


def at(split: Split, index: int) -> int:
    return split.ids.index(f"i{index}.png")


def test_facts(folder: Path) -> None:
    info = folder_dataset(folder)
    assert (info.classes, info.multilabel, info.healthy, info.masks) == (FINDINGS, True, None, "pixel")


def test_labels_are_read_and_patients_stay_together(folder: Path) -> None:
    splits = load(folder)
    images = {name: splits[name] for name in ("train", "val", "test")}
    assert sum(map(len, images.values())) == COUNT
    for split in images.values():
        assert split.masks is None
        for name, group, labels in zip(split.ids, split.groups, split.labels, strict=True):
            index = int(name[1:-4])
            assert tuple(labels) == labels_of(index)
            assert group == f"p{index // 2}"
        assert (split.labels == 1).any(axis=0).all()
    groups = [set(split.groups) for split in images.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_explained_are_the_pairs_of_test_images_each_with_the_mask_of_its_finding(folder: Path) -> None:
    splits = load(folder)
    test, pairs = splits["test"], splits["findings"]
    expected = {
        f"{name} [{finding}]"
        for name, labels in zip(test.ids, test.labels, strict=True)
        for finding in ([FINDINGS[place] for place in np.flatnonzero(labels)] or ["no finding"])
    }
    assert set(pairs.ids) == expected
    assert pairs.masks is not None
    for place, (name, label) in enumerate(zip(pairs.ids, pairs.labels, strict=True)):
        image = name.partition(" [")[0]
        assert np.array_equal(pairs.images[place], test.images[test.ids.index(image)])
        assert pairs.groups[place] == test.groups[test.ids.index(image)]
        wanted = box(*CORNERS[label]) > 0 if label != NO_FINDING else np.zeros((SIDE, SIDE), bool)
        assert np.array_equal(pairs.masks[place], wanted)
        assert pairs.has_mask[place] == (label != NO_FINDING)


def test_unknown_labels_are_minus_one_and_such_images_are_not_without_findings(folder: Path) -> None:
    rows = rows_of()
    header = "file,patient,split,effusion,nodule"
    stated = ["test" if index < 16 else "val" if index < 24 else "train" for index in range(COUNT)]
    rows = [[row[0], row[1], split, *row[2:]] for row, split in zip(rows, stated, strict=True)]
    rows[0][3:], rows[1][3:] = ["", "0"], ["-1.0", "nan"]
    write_table(folder, rows, header)
    splits = load(folder)
    test = splits["test"]
    assert test.labels[at(test, 0)].tolist() == [-1, 0]
    assert test.labels[at(test, 1)].tolist() == [-1, -1]
    named = [name for name in splits["findings"].ids if name.startswith(("i0.", "i1."))]
    assert named == []
    assert "i8.png [no finding]" in splits["findings"].ids


def test_several_masks_of_a_finding_are_united_and_an_image_may_lack_one(folder: Path) -> None:
    index = next(one for one in range(COUNT) if labels_of(one) == (1, 1))
    write(folder / f"masks/effusion/i{index}_mask_2.png", box(10, 10))
    (folder / f"masks/nodule/i{index}.png").unlink()
    rows = [[row[0], row[1], *row[2:]] for row in rows_of()]
    write_table(folder, [[*row[:2], "test" if int(row[1][1:]) < 8 else "train", *row[2:]] for row in rows][:-2] + [
        [*row[:2], "val", *row[2:]] for row in rows[-2:]
    ], "file,patient,split,effusion,nodule")  # fmt: skip
    pairs = load(folder)["findings"]
    assert pairs.masks is not None
    effusion, nodule = (pairs.ids.index(f"i{index}.png [{finding}]") for finding in FINDINGS)
    assert np.array_equal(pairs.masks[effusion], (box(*CORNERS[0]) | box(10, 10)) > 0)
    assert pairs.has_mask[[effusion, nodule]].tolist() == [True, False]


def boxes_csv(folder: Path, rows: list[str]) -> None:
    (folder / "boxes.csv").write_text("\n".join(["file,finding,x,y,width,height", *rows]))


def every_box() -> list[tuple[str, str, int, int]]:
    return [
        (f"i{index}.png", FINDINGS[finding], CORNERS[finding][1], CORNERS[finding][0])
        for index in range(COUNT)
        for finding in np.flatnonzero(labels_of(index))
    ]


def test_boxes_of_a_csv_file_and_of_coco_are_the_same_masks(tmp_path: Path) -> None:
    folder = make_findings(tmp_path / "own", masks=False)
    boxes_csv(folder, [f"{name},{finding},{x},{y},4,4" for name, finding, x, y in every_box()])
    assert folder_dataset(folder).masks == "box"
    first = load(folder)["findings"]
    assert first.masks is not None
    for label, mask in zip(first.labels, first.masks, strict=True):
        assert np.array_equal(mask, box(*CORNERS[label]) > 0 if label != NO_FINDING else np.zeros((SIDE, SIDE), bool))
    (folder / "boxes.csv").unlink()
    content = {
        "images": [{"id": index, "file_name": f"i{index}.png"} for index in range(COUNT)],
        "categories": [{"id": 7 + place, "name": name} for place, name in enumerate(FINDINGS)],
        "annotations": [
            {"image_id": int(name[1:-4]), "category_id": 7 + FINDINGS.index(finding), "bbox": [x, y, 4, 4]}
            for name, finding, x, y in every_box()
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    second = load(folder)["findings"]
    assert second.masks is not None
    assert np.array_equal(first.masks, second.masks)
    assert first.ids == second.ids


def replaced(row: int, column: int, value: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = rows_of()
        rows[row][column] = value
        write_table(folder, rows)

    return change


def filled(column: int, value: str) -> Callable[[Path], None]:
    return lambda folder: write_table(folder, [[*row[:column], value, *row[column + 1 :]] for row in rows_of()])


def stray_boxes(folder: Path) -> None:
    boxes_csv(folder, ["i0.png,effusion,0,0,2,2"])


def two_files(folder: Path) -> None:
    boxes_csv(folder, ["i2.png,effusion,0,0,2,2"])
    (folder / "boxes.json").write_text("{}")


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "label 2": (replaced(3, 2, "2"), r"labels.csv, line 5: effusion is '2'; write 1 \(present\), 0 \(absent\)"),
    "word": (replaced(0, 3, "maybe"), r"labels.csv, line 2: nodule is 'maybe'; write 1"),
    "empty column": (filled(3, ""), r"labels.csv: the column 'nodule' holds no label; fill it"),
    "never present": (filled(3, "0"), r"labels.csv: 'nodule' is present in no image; remove its column"),
    "always present": (filled(3, "1"), r"has no image without 'nodule'"),
    "twice": (replaced(1, 0, "i0.png"), r"labels.csv, line 3: i0.png appears twice"),
    "no name": (replaced(1, 0, ""), r"labels.csv, line 3: file is empty"),
    "no file column": (
        lambda folder: write_table(folder, rows_of(), "a,patient,effusion,nodule"),
        r"labels.csv: no column file, which names the images; found a, patient, effusion, nodule",
    ),
    "no finding": (
        lambda folder: write_table(folder, [row[:2] for row in rows_of()], "file,patient"),
        r"labels.csv: no column of a finding; add one per finding",
    ),
    "two columns of patients": (
        lambda folder: write_table(folder, [[*row, "0"] for row in rows_of()], "file,patient,effusion,nodule,subject"),
        r"2 columns name the group: patient, subject; keep one",
    ),
    "no row": (lambda folder: write_table(folder, []), r"labels.csv: no row; write one per image"),
    "absent image": (lambda folder: (folder / "images/i3.png").unlink(), r"i3.png \(is in labels.csv, line 5, but not"),
    "unknown finding": (
        lambda folder: write(folder / "masks/mass/i0.png", box(0, 0)),
        r"masks/mass \(is no finding of labels.csv; its columns are effusion, nodule\)",
    ),
    "mask of no image": (
        lambda folder: write(folder / "masks/nodule/other.png", box(0, 0)),
        r"masks/nodule/other.png \(belongs to no image",
    ),
    "mask of an absent finding": (
        lambda folder: write(folder / "masks/nodule/i0.png", box(0, 0)),
        r"masks/nodule/i0.png \(marks 'nodule' on i0.png, but labels.csv, line 2, says that it is",
    ),
    "empty mask of a present finding": (
        lambda folder: [write(folder / f"masks/nodule/i{index}.png", 0 * box(0, 0)) for index in range(4, 40, 8)],
        r"\[nodule\] \(its mask is empty, but its class 'nodule' has lesions\)",
    ),
    "boxes and masks": (stray_boxes, r"holds masks/ and boxes.csv; keep one of them"),
    "two files of boxes": (two_files, r"holds both boxes.csv and boxes.json; keep one"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_one_line(folder: Path, what: str) -> None:
    change, message = WRONG[what]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


BOXES = {
    "i0.png,effusion,1,1,2,2": r"boxes.csv \(marks 'effusion' on i0.png, but labels.csv, line 2, says that it is",
    "i2.png,mass,1,1,2,2": r"line 2 is of 'mass', which is no finding of labels.csv \(effusion, nodule\)",
    "x.png,effusion,1,1,2,2": r"x.png \(has boxes in boxes.csv, but is not in labels.csv\)",
    "i2.png,effusion,1,1,0,2": r"boxes.csv, line 2: the box has the size 0×2; both must be above 0",
    "i2.png,effusion,1,1,a,2": r"boxes.csv, line 2: the box \['1', '1', 'a', '2'\] is not x, y, width, height",
    "i2.png,effusion,10,1,30,2": r"boxes.csv \(line 2: the box reaches to \(40, 3\) from \(10, 1\) in an image",
}


@pytest.mark.parametrize("row", BOXES)
def test_bad_boxes_are_one_line(tmp_path: Path, row: str) -> None:
    folder = make_findings(tmp_path / "own", masks=False)
    rows = [[*one[:2], "test" if index < 20 else "val" if index < 28 else "train", *one[2:]]
            for index, one in enumerate(rows_of())]  # fmt: skip
    write_table(folder, rows, "file,patient,split,effusion,nodule")
    boxes_csv(folder, [row])
    with pytest.raises(UserError, match=BOXES[row]) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_broken_coco_is_one_line(tmp_path: Path) -> None:
    folder = make_findings(tmp_path / "own", masks=False)
    for text in ("{", '{"images": []}', '{"images": [], "categories": [], "annotations": [{"image_id": 1}]}'):
        (folder / "boxes.json").write_text(text)
        with pytest.raises(UserError, match=r"boxes.json: not in COCO's format") as caught:
            load(folder)
        assert "\n" not in str(caught.value)


def test_a_patient_in_two_splits_is_a_leak(folder: Path) -> None:
    rows = [[*row[:2], ("train", "val", "test")[index % 3], *row[2:]] for index, row in enumerate(rows_of())]
    write_table(folder, rows, "file,patient,split,effusion,nodule")
    with pytest.raises(UserError, match=r"group p0 is in both 'train' and 'val'"):
        load(folder)


def test_one_picture_under_contradicting_labels_is_a_fault(folder: Path) -> None:
    (folder / "images/i6.png").write_bytes((folder / "images/i4.png").read_bytes())
    with pytest.raises(UserError, match=r"shows the same picture as i\d.png, which has another class"):
        load(folder)


def test_skipped_files_are_left_out_with_their_pairs(folder: Path) -> None:
    (folder / "images/i3.png").write_bytes(b"no picture")
    with pytest.raises(BadFiles, match=r"1 bad file: .*i3.png"):
        load(folder)
    splits = load(folder, skip_bad=True)
    assert not any(name.startswith("i3.") for split in splits.values() for name in split.ids)


def test_check_data_counts_images_per_finding_and_names_faults(folder: Path) -> None:
    write(folder / "masks/nodule/i0.png", box(0, 0))
    screen = io.StringIO()
    request = Request(folder, SIDE, 0, skip_bad=True)
    clean = check_dataset(folder_dataset(folder), request, folder.parent / "check", Console(file=screen, width=150))
    said = screen.getvalue()
    assert not clean
    assert "masks of findings that their image does not have" in said
    lines = [line.split() for line in said.splitlines()]
    for finding in FINDINGS:
        assert ["test", finding] in [line[:2] for line in lines]
        assert ["findings", finding] in [line[:2] for line in lines]


def test_an_unrelated_table_next_to_folders_of_classes_is_not_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "own")
    (folder / "labels.csv").write_text("mine")
    assert folder_dataset(folder).classes == ("healthy", "sick")
    assert not folder_dataset(folder).multilabel


def test_images_may_be_in_folders(folder: Path) -> None:
    for index in range(20):
        (folder / "images/a").mkdir(exist_ok=True)
        (folder / f"images/i{index}.png").rename(folder / f"images/a/i{index}.png")
    write_table(folder, [[f"a/{row[0]}" if index < 20 else row[0], *row[1:]] for index, row in enumerate(rows_of())])
    splits = load(folder)
    assert sum(len(splits[name]) for name in ("train", "val", "test")) == COUNT
    assert splits["findings"].has_mask.sum() == sum("no finding" not in name for name in splits["findings"].ids)


def test_grades_do_not_apply(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.grades does not apply"):
        folder_dataset(folder, ["effusion", "nodule"])
