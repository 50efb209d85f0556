"""``check-data``: every planted fault is found and named, and what is sound is not."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import bench.data  # noqa: F401 (registers the data sets)
from bench.commands.check_data.command import check_dataset
from bench.commands.check_data.reading import SHOWN, Reading, read_dataset
from bench.contracts import DatasetInfo, MissingData, Sample, UserError
from bench.data.loading import Request, load_split
from bench.data.readers.faults import Fault, Kind
from bench.data.sources.folder import folder_dataset
from bench.data.sources.rsna import LABELS
from bench.registry import DATASETS
from tests.support import made_rsna
from tests.support.made_fundus import disc, photograph, save, table
from tests.support.paths import ROOT

SIDE = 24
Plant = Callable[[Path], Any]


def lesion(side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[4:10, 4:10] = 255
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of two classes, two images a patient, in three splits; a mask for each sick one."""
    noise = np.random.default_rng(0)
    lines = ["file,split,group"]
    for index in range(12):
        for name in ("healthy", "sick"):
            save(tmp_path / f"own/images/{name}/{index}.png", noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
            split = ("train", "val", "test")[index // 2 % 3]
            lines.append(f"{name}/{index}.png,{split},{name}{index // 2}")
        save(tmp_path / f"own/masks/sick/{index}.png", lesion())
    table(tmp_path / "own/splits.csv", *lines)
    return tmp_path / "own"


def check(info: DatasetInfo, root: Path, splits: Path | None = None) -> tuple[bool, str, list[list[str]]]:
    """Whether the data set is clean, what was said, and the rows of the CSV file."""
    screen, page = io.StringIO(), root / "out/page.png"
    request = Request(root, SIDE, 0, skip_bad=True, splits=splits)
    clean = check_dataset(info, request, page, Console(file=screen, width=150))
    if f"samples with their masks: {page}" in screen.getvalue():
        with Image.open(page) as picture:
            assert min(picture.size) > 500
    with (root / "out/page-faults.csv").open(newline="") as file:
        return clean, screen.getvalue(), list(csv.reader(file))[1:]


def read(info: DatasetInfo, root: Path, **options: Any) -> Reading:
    return read_dataset(info, Request(root, SIDE, 0, skip_bad=True, **options), Console(file=io.StringIO()))


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_sound_folder(folder: Path) -> None:
    clean, said, faults = check(folder_dataset(folder), folder)
    assert clean
    assert faults == []
    assert "No faults found." in said
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert ("train", "healthy", "4", "0", "2") in rows  # images, with mask, groups
    assert ("val", "sick", "4", "4", "2") in rows
    assert ("test", "all", "8", "4", "4") in rows


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


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
def test_planted_fault_is_the_only_one_found(folder: Path, planted: str) -> None:
    plant, kind, name, reason = FOLDER_FAULTS[planted]
    plant(folder)
    clean, said, faults = check(folder_dataset(folder), folder)
    assert not clean
    ((found_kind, found_name, found_reason),) = faults
    assert found_kind == kind
    assert name in found_name
    assert reason in found_reason
    assert f"{kind}: 1" in said
    assert f"{found_name}: {found_reason}" in said


def test_faults_of_all_kinds_are_listed_together(folder: Path) -> None:
    planted = [name for name in FOLDER_FAULTS if name not in ("image listed twice", "split of one class")]
    for name in planted:
        FOLDER_FAULTS[name][0](folder)
    _, said, faults = check(folder_dataset(folder), folder)
    assert sorted(row[0] for row in faults) == sorted(FOLDER_FAULTS[name][1] for name in planted)
    assert f"Faults: {len(planted)}" in said


def test_long_lists_are_cut_on_the_screen_and_whole_in_the_file(folder: Path) -> None:
    for index in range(30):
        save(folder / f"masks/x{index:02}.png", lesion())
    _, said, faults = check(folder_dataset(folder), folder)
    assert len(faults) == 30
    assert "x09.png" in said
    assert "x10.png" not in said
    assert "and 20 more: see" in said


def generated(split: str, **changes: Any) -> list[Sample]:
    """Eight images; the sick ones have a lesion of a quarter of the image, but for the last one, not annotated."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:12, :12] = True
    image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    masks = [None if index == 7 else mask & bool(index % 2) for index in range(8)]
    samples = [Sample(image, i % 2, masks[i], f"{split}{i}", f"{split}{i // 2}") for i in range(8)]
    return [*samples[:-1], replace(samples[-1], **changes)]


def info_of(builder: Callable[..., Any], **facts: Any) -> DatasetInfo:
    return DatasetInfo("made", builder, "other", ("healthy", "sick"), "pixel", "", "", "", **facts)


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


def test_page_shows_lesions_first_and_the_same_images_each_time(tmp_path: Path) -> None:
    def builder(root: Path, split: str) -> list[Sample]:
        return [replace(one, id=f"{copy}{one.id}") for copy in "abcd" for one in generated(split)]

    one, other = (read(info_of(builder), tmp_path).splits["train"].shown for _ in range(2))
    assert [sample.id for sample in one[1]] == [sample.id for sample in other[1]]
    assert len(one[1]) == len(one[0]) == SHOWN
    assert all(sample.mask is not None for sample in one[1])


def test_counts_stand_beside_the_published_ones(tmp_path: Path) -> None:
    def builder(root: Path, split: str, splits: Path | None = None) -> list[Sample]:
        return generated(split)

    info = info_of(builder, published={"train": (4, 4), "val": (4, 1003), "test": (3, 4)})
    clean, said, _ = check(info, tmp_path, splits=tmp_path)
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert clean
    assert ("train", "healthy", "4", "4", "0", "4", "4") in rows  # images, published, difference, with mask, groups
    assert ("val", "sick", "4", "1,003", "-999", "3", "4") in rows
    assert ("val", "all", "8", "1,007", "-999", "7", "4") in rows
    assert ("test", "healthy", "4", "3", "+1", "4", "4") in rows
    assert "Number of images differs from the published one: val, test" in said
    _, said, _ = check(info, tmp_path)
    assert "1,003" not in said
    assert "give their folder with --splits" in said


def test_without_released_splits_all_images_stand_beside_the_publishers_totals(tmp_path: Path) -> None:
    info = info_of(lambda root, split: generated(split), totals=((12, 13), (1000,)))  # 24 images, 12 of each class
    clean, said, _ = check(info, tmp_path)
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert clean
    assert ("all", "splits", "healthy", "12", "12", "0", "12", "12") in rows
    assert ("all", "splits", "sick", "12", "13", "-1", "9", "12") in rows
    assert ("all", "splits", "all", "24", "25", "-1", "21", "12") in rows
    assert ("train", "sick", "4", "3", "4") in rows
    assert "Number of images differs from the published one: all splits" in said
    _, said, _ = check(replace(info, totals=((12, 13), (24,))), tmp_path)  # the nearest form, classes not published
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert ("all", "splits", "sick", "12", "9", "12") in rows
    assert ("all", "splits", "all", "24", "24", "0", "21", "12") in rows
    assert "differs from the published" not in said


def test_totals_of_the_publishers() -> None:
    """Those of the radiographs are the sums of the authors' splits; Kaggle's are by grade, and their sum is known."""
    published = DATASETS["cxr"].published
    assert DATASETS["cxr"].totals == (tuple(map(sum, zip(*published.values(), strict=True))),) == ((8851, 6012),)
    grades, with_test_set = DATASETS["fundus@grades"].totals
    assert (sum(grades), *with_test_set) == (35126, 88702)
    assert DATASETS["fundus"].totals[0] == (grades[0], sum(grades[1:]))
    assert DATASETS["fundus@onset2"].totals[0] == (sum(grades[:2]), sum(grades[2:]))
    assert DATASETS["fundus-idrid"].totals == ((597,),)


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
    pytest.importorskip("pydicom")
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
    pytest.importorskip("pydicom")
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


def test_tables_beside_the_page_are_never_overwritten(folder: Path) -> None:
    labels = folder / "labels.csv"
    labels.write_text("mine")
    screen = Console(file=io.StringIO())
    request = Request(folder, SIDE, 0, skip_bad=True)
    check_dataset(folder_dataset(folder), request, folder / "labels.png", screen)
    assert labels.read_text() == "mine"
    assert (folder / "labels-faults.csv").read_text() == "kind,file,reason\n"
    with pytest.raises(UserError, match=r"--out .*labels.csv: the page of samples is a PNG file"):
        check_dataset(folder_dataset(folder), request, labels, screen)
    assert labels.read_text() == "mine"


def test_photographs_of_one_patient_in_two_released_splits(tmp_path: Path) -> None:
    for name, patients in {"train": (0, 1, 2), "val": (3, 4), "test": (5, 6)}.items():
        keys = [f"{patient}_left" for patient in patients]
        for key in keys:
            save(tmp_path / f"eyepacs/train/{key}.jpeg", photograph(disc(40, 60, 20, 30, 17)))
        keys += ["1_left"] * (name == "val") + ["8_left"] * (name == "test")
        lines = [f"{key}.png,{int(key[0]) % 2},{int(key[0]) % 2}" for key in keys]
        table(tmp_path / f"released/kaggle/kaggle_gradable_{name}.csv", "filename,level,onset1", *lines)
    _, said, faults = check(DATASETS["fundus"], tmp_path, splits=tmp_path / "released")
    assert [row[:2] for row in faults] == [[Kind.ABSENT, "8_left"], [Kind.LEAK, "1_left"]]
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


def test_reading_says_how_far_it_is(folder: Path) -> None:
    said: list[str] = []
    info = folder_dataset(folder)
    load_split(info, Request(folder, SIDE, 0), "train", folder / "cache", said.append)
    assert said == [f"{info.name}: reading train, image 1 of 8"]
    load_split(info, Request(folder, SIDE, 0), "train", folder / "cache", said.append)
    assert len(said) == 1  # the second time it comes from the cache


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{own}"], 0, "No faults found."),
        (["{bad}"], 1, "cannot be read as an image"),
        (["cxr", "--data-root", "{own}"], 2, "error: data set 'cxr' is not there"),
        (["{own}", "--splits", "/nowhere"], 2, "error: --splits /nowhere: no such folder"),
        (["{own}", "--size", "0"], 2, "Invalid value"),
    ],
)
def test_exit_codes(folder: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    if code == 1:
        cut(folder / "images/sick/3.png")
    filled = [word.replace("{own}", f"folder:{folder}").replace("{bad}", f"folder:{folder}") for word in arguments]
    words = [sys.executable, str(ROOT / "run_benchmark.py"), "check-data", *filled, "--out", str(tmp_path / "p.png")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "p.png").exists() == (code < 2)
