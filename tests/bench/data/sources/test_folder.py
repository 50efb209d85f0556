"""The reader's own folder: layout, masks, splits, and everything that can be wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contracts import DatasetInfo, MissingData, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_split, load_splits
from bench.data.sources.folder import folder_dataset
from bench.data.split import Split
from tests.support.datasets.folder import SIDE, box, make_folder, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "own")


def load(folder: Path, **options: Any) -> dict[str, Split]:
    return load_splits(folder_dataset(folder), Request(folder, SIDE, 0, **options), folder.parent / "cache")


def info_of(tmp_path: Path, names: list[str], masked: list[str], empty: list[str]) -> DatasetInfo:
    for name in names:
        write(tmp_path / f"images/{name}/{name}.png", box(0, 0))
    for name in masked:
        write(tmp_path / f"masks/{name}/{name}.png", box(0, 0))
    for name in empty:
        write(tmp_path / f"masks/{name}/{name}.png", 0 * box(0, 0))
    return folder_dataset(tmp_path)


def test_classes_masks_and_seeded_split(folder: Path) -> None:
    info = folder_dataset(folder)
    assert (info.name, info.classes, info.healthy, info.masks) == (
        f"folder:{folder}", ("healthy", "sick"), 0, "pixel",
    )  # fmt: skip
    splits = load(folder)
    assert {name: len(split) for name, split in splits.items()} == {"train": 14, "val": 2, "test": 4}
    for split in splits.values():
        assert set(split.labels) == {0, 1}
        assert np.array_equal(split.has_mask, split.labels == 1)
        assert split.masks is not None
        for id_, mask in zip(split.ids, split.masks, strict=True):
            sick = id_.startswith("sick/")
            assert np.array_equal(mask, box(int(id_[6]), 4) > 0 if sick else np.zeros((SIDE, SIDE), dtype=bool))
    assert len({id_ for split in splits.values() for id_ in split.ids}) == 20


def test_masks_of_all_places_and_names_are_united(folder: Path) -> None:
    (folder / "masks/s3.png").unlink()
    write(folder / "images/sick/s3_mask_1.png", box(0, 0))
    write(folder / "images/sick/s3_mask_2.png", box(20, 0))
    write(folder / "masks/sick/s3_mask.tif", box(0, 20))
    united = (box(0, 0) | box(20, 0) | box(0, 20)) > 0
    masks = {id_: mask for split in load(folder).values() for id_, mask in zip(split.ids, split.masks, strict=True)}
    assert len(masks) == 20
    assert np.array_equal(masks["sick/s3.png"], united)


def test_images_of_any_size_and_depth_are_resized(folder: Path) -> None:
    write(folder / "images/sick/s0.png", np.full((30, 50), 65535, dtype=np.uint16))
    write(folder / "masks/s0.png", np.pad(np.ones((20, 40), dtype=np.uint8), 5))
    for split in load(folder).values():
        assert split.images.shape[1:] == (3, SIDE, SIDE)
        if "sick/s0.png" in split.ids:
            assert split.images[split.ids.index("sick/s0.png")].min() == 255


@pytest.mark.parametrize(
    ("names", "masked", "empty", "healthy"),
    [
        (["Normal", "tumour"], ["tumour"], ["Normal"], "Normal"),
        (["benign", "malignant", "normal"], ["benign", "malignant"], ["normal"], "normal"),
        (["benign", "malignant"], ["benign", "malignant"], [], None),
        (["benign", "malignant"], [], [], "benign"),
        (["no_finding", "nodule"], [], [], "no_finding"),
        (["0", "1"], [], [], "0"),
        (["cat", "dog"], ["dog"], [], "cat"),
        (["cat", "dog", "nodule"], ["dog"], [], None),
    ],
)
def test_healthy_class(
    tmp_path: Path, names: list[str], masked: list[str], empty: list[str], healthy: str | None
) -> None:
    info = info_of(tmp_path, names, masked, empty)
    assert (None if info.healthy is None else info.classes[info.healthy]) == healthy


def test_splits_file_is_followed(folder: Path) -> None:
    lines = ["file,split,group"]
    for index in range(8):
        split = ("train", "val", "test", "train")[index % 4]
        lines += [f"healthy/h{index}.png,{split},p{index}", f"images/sick/s{index}.png,{split},p{index}"]
    (folder / "splits.csv").write_text("\n".join(lines))
    splits = load(folder)
    assert set(splits["val"].ids) == {f"{c}{i}.png" for c in ("healthy/h", "sick/s") for i in (1, 5)}
    assert set(splits["val"].groups) == {"p1", "p5"}
    assert sum(map(len, splits.values())) == 16  # a file that is not listed is not used


def test_groups_without_splits_stay_together(folder: Path) -> None:
    lines = [f"{c}{index}.png,p{index // 2}" for index in range(10) for c in ("healthy/h", "sick/s")]
    (folder / "splits.csv").write_text("\n".join(["file,group", *lines]))
    groups = [set(split.groups) for split in load(folder).values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5


def test_leakage_names_group_and_files(folder: Path) -> None:
    lines = [
        f"{c}{i}.png,{('train', 'val', 'test')[i % 3]},{c[0]}{i}" for i in range(9) for c in ("healthy/h", "sick/s")
    ]
    lines[0] = lines[0].replace(",h0", ",shared")
    lines[2] = lines[2].replace(",h1", ",shared")
    (folder / "splits.csv").write_text("\n".join(["file,split,group", *lines]))
    with pytest.raises(
        UserError, match=r"group shared is in both 'train' and 'val' \(healthy/h0.png, healthy/h1.png\)"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,part\na,b", "columns file,split,group expected, found name,part"),
        ("file,split\nsick/s0.png,training", r"line 2: split 'training' is not one of train, val, test"),
        ("file,split\nsick/s0.png,train\nsick/s0.png,test", "line 3: sick/s0.png appears twice"),
        ("file,split\nsick/s0.png,train\nsick/s1.png,", "sick/s1.png has no split"),
        ("file,group\nsick/s99.png,a\nsick/s1.png,b", r"sick/s99.png \(is in splits.csv, line 2, but not in"),
    ],
)
def test_wrong_splits_file(folder: Path, text: str, message: str) -> None:
    (folder / "splits.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_split(folder_dataset(folder), Request(folder, SIDE, 0), "train", folder.parent / "cache")


def test_every_bad_file_is_named_at_once_and_skipped_on_request(folder: Path) -> None:
    broken = folder / "images/healthy/h0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    write(folder / "masks/s1.png", box(0, 0, side=SIDE + 1))
    write(folder / "masks/s2.png", 0 * box(0, 0))
    write(folder / "masks/nobody.png", box(0, 0))
    (folder / "images/sick/scan.dcm").write_text("DICM")
    with pytest.raises(BadFiles) as caught:
        load(folder)
    line = str(caught.value)
    for part in (
        "5 bad files",
        "h0.png (cannot be read as an image",
        "s1.png (is 25×25, its image s1.png 24×24 pixels",
        "sick/s2.png (its mask is empty, but its class 'sick' has lesions)",
        "nobody.png (belongs to no image",
        "scan.dcm (is not PNG, JPEG, TIFF or BMP)",
        "--skip-bad",
    ):
        assert part in line
    splits = load(folder, skip_bad=True)
    assert sum(map(len, splits.values())) == 17
    assert sum(len(split.excluded) for split in splits.values()) == 5
    with pytest.raises(BadFiles, match="5 bad files"):  # although the cache now holds the good ones
        load(folder)


def test_more_than_five_bad_files_are_counted(folder: Path) -> None:
    for index in range(7):
        (folder / f"images/healthy/h{index}.png").write_text("")
    with pytest.raises(BadFiles, match=r"7 bad files: .* and 2 more"):
        load(folder)


def test_a_mask_of_two_images_is_refused(folder: Path) -> None:
    write(folder / "images/healthy/s4.png", box(0, 0))
    with pytest.raises(BadFiles, match=r"masks/s4.png \(belongs to both healthy/s4.png and sick/s4.png"):
        load(folder)


def test_class_without_training_image_and_split_of_one_class(folder: Path) -> None:
    (folder / "images/odd").mkdir()
    with pytest.raises(UserError, match="no training image of class odd"):
        load(folder)
    lines = [f"healthy/h{i}.png,{s}\nsick/s{i}.png,{s}" for i, s in enumerate(("train", "test"))]
    (folder / "splits.csv").write_text("\n".join(["file,split", *lines, "sick/s5.png,val"]))
    with pytest.raises(UserError, match="split 'val' has images of class 'sick' only"):
        load(folder)


def test_split_without_images(folder: Path) -> None:
    (folder / "splits.csv").write_text("file,split\nsick/s0.png,train\nhealthy/h0.png,train")
    with pytest.raises(UserError, match="split val: no usable image"):
        load(folder)


def test_missing_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no class folder in .*absent/images; expected in .*absent: images/<class>"):
        folder_dataset(tmp_path / "absent")


def test_changed_file_is_decoded_again(folder: Path) -> None:
    info, cache = folder_dataset(folder), folder.parent / "cache"
    before = load_split(info, Request(folder, SIDE, 0), "train", cache)
    name = before.ids[0]
    write(folder / "images" / name, np.full((SIDE, SIDE + 1), 7, dtype=np.uint8))
    for mask in folder.glob(f"masks/{Path(name).stem}.png"):
        write(mask, np.full((SIDE, SIDE + 1), 255, dtype=np.uint8))
    after = load_split(info, Request(folder, SIDE, 0), "train", cache)
    assert after.digest != before.digest
    assert (after.images[0] == 7).all()
