"""OCT scans in the layout of OCT2017: patients from the file names, the publisher's test folder, masks, and faults."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bench.contracts import MissingData, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_splits
from bench.data.split import Split
from bench.registry import DATASETS
from tests.support.datasets.oct import CLASSES, SIZES, make_oct, scan, write_mask

pytestmark = pytest.mark.usefixtures("one_drawing")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_oct(tmp_path / "oct2017/OCT2017 ")  # as the archive names it
    return tmp_path


def load(root: Path, name: str = "oct", **options: Any) -> dict[str, Split]:
    return load_splits(DATASETS[name], Request(root, 32, 0, **options), root / "cache")


def home_of(root: Path) -> Path:
    return root / "oct2017/OCT2017 "


def test_classes_patients_and_the_publishers_test_folder(root: Path) -> None:
    binary, multi = load(root), load(root, "oct@classes")
    assert sum(map(len, binary.values())) == 24 + 24 + 12 + 6
    assert sum(map(len, multi.values())) == 4 * 24 + 12 + 12
    assert set(binary["test"].ids) == {
        f"test/{n}/{n}-{p + q}-1" for n, p in (("NORMAL", 200), ("DRUSEN", 220)) for q in range(3)
    }
    for splits, classes in ((binary, CLASSES[:2]), (multi, CLASSES)):
        for split in splits.values():
            assert split.classes == classes
            for id_, group, label in zip(split.ids, split.groups, split.labels, strict=True):
                part, name, stem = id_.split("/")
                assert part == ("test" if split.name == "test" else "train")
                assert (stem.split("-")[:2]) == [name, group]
                assert classes[label] == name
    for name in ("train", "val"):
        assert set(binary[name].ids) == {id_ for id_ in multi[name].ids if "NORMAL" in id_ or "DRUSEN" in id_}
    assert 0.08 < len(multi["val"]) / (len(multi["val"]) + len(multi["train"])) < 0.22


def test_scans_are_resized_to_a_square_without_keeping_the_aspect_ratio(root: Path) -> None:
    for split in load(root, "oct@classes").values():
        for id_, image in zip(split.ids, split.images, strict=True):
            with Image.open(home_of(root) / f"{id_}.jpeg") as file:
                grey = torch.from_numpy(np.array(file)).float()
            expected = F.interpolate(grey[None, None], (32, 32), mode="bilinear", antialias=True)[0, 0].round()
            assert (torch.from_numpy(image.copy()).float() - expected).abs().max() <= 1


def test_patients_of_the_test_folder_are_not_trained_on(root: Path) -> None:
    before = load(root)
    scan(home_of(root), "train", "NORMAL", 220, 5)  # whose drusen are tested
    scan(home_of(root), "test", "NORMAL", 100, 9)
    after = load(root)
    trained = {group for name in ("train", "val") for group in after[name].groups}
    assert not trained & {"220", "100"}
    assert "test/NORMAL/NORMAL-100-9" in after["test"].ids
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + 1 - 2


def test_masks_are_found_by_name_and_optional(root: Path) -> None:
    assert load(root)["test"].masks is None
    write_mask(home_of(root), "DRUSEN-220-1.png", *SIZES["DRUSEN"])
    write_mask(home_of(root), "test/DRUSEN/DRUSEN-221-1.png", *SIZES["DRUSEN"])
    write_mask(home_of(root), "DME/DME-240-1.png", *SIZES["DME"])  # of a class that is not asked for
    test = load(root)["test"]
    assert {id_ for id_, has in zip(test.ids, test.has_mask, strict=True) if has} == {
        "test/DRUSEN/DRUSEN-220-1",
        "test/DRUSEN/DRUSEN-221-1",
    }
    mask = test.masks[test.ids.index("test/DRUSEN/DRUSEN-221-1")]
    assert mask[10:21, 16:].all()  # rows 10 to 20 of 31 are 10.3 to 20.6 of 32
    assert mask.sum() == 11 * 16


@pytest.mark.parametrize("layout", ["DATA/oct2017", "DATA/oct2017/OCT2017", "DATA", "DATA/OCT2017/OCT2017 "])
def test_layouts_that_people_have(root: Path, tmp_path: Path, layout: str) -> None:
    ids = {name: split.ids for name, split in load(root).items()}
    shutil.copytree(home_of(root), tmp_path / "other" / layout)
    other = load_splits(DATASETS["oct"], Request(tmp_path / "other/DATA", 32, 0), tmp_path / "elsewhere")
    assert {name: split.ids for name, split in other.items()} == ids


def test_released_splits_are_followed(root: Path) -> None:
    splits = root / "released/Retinal_OCT"
    splits.mkdir(parents=True)
    rows = {
        "train": ["100,train/NORMAL/NORMAL-100-1.png,Train,0", "120,train/DRUSEN/DRUSEN-120-2.png,Train,1"],
        "val": ["101,train/NORMAL/NORMAL-101-1.png,Val,0", "121,train/DRUSEN/DRUSEN-121-1.png,Val,1"],
        "test": ["200,test/NORMAL/NORMAL-200-1.png,Test,0", "220,test/DRUSEN/DRUSEN-220-1.png,Test,1"],
    }
    for name, lines in rows.items():
        (splits / f"{name}.csv").write_text("\n".join(["patient_id,filename,type,drusen", *lines]))
    for folder in (splits, splits.parent):
        found = load(root, splits=folder)
        assert {name: [id_ + ".png" for id_ in split.ids] for name, split in found.items()} == {
            name: [line.split(",")[1] for line in lines] for name, lines in rows.items()
        }
    with pytest.raises(UserError, match=r"train.csv: no column level; found patient_id, filename, type, drusen"):
        load(root, "oct@classes", splits=splits)
    more = ["201,test/NORMAL/NORMAL-201-9.png,Test,0", "202,test/NORMAL/NORMAL-202-1.png,Test,1"]
    (splits / "test.csv").write_text("\n".join(["patient_id,filename,type,drusen", *rows["test"], *more]))
    with pytest.raises(BadFiles, match=r"2 bad files: test/normal/normal-201-9 \(is in test.csv, but its image"):
        load(root, splits=splits)
    skipped = load(root, splits=splits, skip_bad=True)["test"]
    assert len(skipped) == 2
    assert (
        "test/NORMAL/NORMAL-202-1",
        "is in the folder of another class than test.csv states; correct one of them",
    ) in [fault[:2] for fault in skipped.excluded]
    (splits / "test.csv").write_text(
        "\n".join(["filename,drusen", "train/NORMAL/NORMAL-100-2,0", "test/DRUSEN/DRUSEN-220-1,1"])
    )
    with pytest.raises(UserError, match=r"group 100 is in both 'train' and 'test'"):
        load(root, splits=splits)


def test_faults_are_named_at_once(root: Path) -> None:
    home = home_of(root)
    broken = home / "test/DRUSEN/DRUSEN-222-1.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    shutil.copy(home / "train/CNV/CNV-160-1.jpeg", home / "train/NORMAL/CNV-160-1.jpeg")
    (home / "train/NORMAL/notes.txt").write_text("")
    (home / "train/NORMAL/.DS_Store").write_text("")
    write_mask(home_of(root), "DRUSEN-220-1.png", 31, 47)
    write_mask(home_of(root), "DRUSEN-999-1.png", 31, 48)
    with pytest.raises(BadFiles) as caught:
        load(root)
    for part in (
        "5 bad files",
        "DRUSEN-222-1.jpeg (cannot be read as an image",
        "NORMAL/CNV-160-1.jpeg (is not named NORMAL-<patient>-<number>.jpeg)",
        "notes.txt (is not named NORMAL-<patient>-<number>.jpeg)",
        "DRUSEN-220-1.png (is 47×31, its image 48×31 pixels",
        "DRUSEN-999-1.png (belongs to no scan",
    ):
        assert part in str(caught.value)
    assert len(load(root, skip_bad=True)["test"]) == 4


def test_a_mask_of_two_scans_and_a_scan_in_two_versions(root: Path) -> None:
    scan(home_of(root), "train", "DRUSEN", 220, 1)
    write_mask(home_of(root), "DRUSEN-220-1.png", *SIZES["DRUSEN"])
    with pytest.raises(BadFiles, match="belongs to both train/drusen/drusen-220-1 and test/drusen/drusen-220-1"):
        load(root)
    scan(home_of(root), "test", "DRUSEN", 220, 1, ".png")
    with pytest.raises(UserError, match=r"test/DRUSEN/DRUSEN-220-1 appears twice, as .*jpeg and .*png; keep one"):
        load(root)


def test_missing_files_say_what_was_looked_for(root: Path, tmp_path: Path) -> None:
    assert DATASETS["oct"].missing(root) == ""
    shutil.rmtree(home_of(root) / "test")
    with pytest.raises(MissingData, match=r"no folders train/DRUSEN and test in .*oct2017; unpack OCT2017 of https"):
        load(root)
    assert "no folders train/DRUSEN" in DATASETS["oct@classes"].missing(tmp_path / "nowhere")


def test_what_windows_leaves_in_folders_is_no_scan(root: Path) -> None:
    for name in ("Thumbs.db", "desktop.ini"):
        (home_of(root) / "train/NORMAL" / name).write_text("")
    assert sum(map(len, load(root).values())) == 24 + 24 + 12 + 6


def test_scans_in_no_split_are_counted(root: Path) -> None:
    scan(home_of(root), "train", "NORMAL", 220, 5)  # whose drusen are tested
    scan(home_of(root), "train", "CNV", 221, 5)
    scan(home_of(root), "val", "CNV", 999, 1)
    cases = {
        "oct": {"scans of DME": 24 + 3, "scans of CNV": 24 + 3 + 1, "training scans of patients of the test folder": 1},
        "oct@classes": {"training scans of patients of the test folder": 2},
    }
    for name, expected in cases.items():
        for split in ("train", "test"):
            left_out = DATASETS[name].builder(root, split).left_out
            assert left_out == expected | {"scans in the folder val, which is not used": 1}
    for number, name in enumerate(("train", "val", "test"), 1):  # number 3 is not there
        file = root / f"released/Retinal_OCT/{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"filename,drusen\ntrain/NORMAL/NORMAL-100-{number}.png,0\n")
    released = DATASETS["oct"].builder(root, "test", splits=root / "released").left_out
    assert released["scans that are in none of the released splits"] == 24 + 24 + 12 + 6 + 1 - 2
