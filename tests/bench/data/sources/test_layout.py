"""Layouts, names and tables of a user's folder: recognised, or named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import MissingData
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_splits
from bench.data.sources.folder import folder_dataset
from bench.data.split import Split
from tests.support.made_folder import SIDE, box, make_folder, write

SPLITS = ("train", "val", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "own")


def load(folder: Path, **options: Any) -> dict[str, Split]:
    return load_splits(folder_dataset(folder), Request(folder, SIDE, 0, **options), folder.parent / "cache")


NAMES = ("{}_masks", "{}_Mask", "{}_mask1", "{}-mask", "{}_segmentation", "{}_gt", "mask_{}", "{}.seg", "{} label 2")


@pytest.mark.parametrize("name", NAMES)
def test_masks_next_to_images_are_masks_under_other_names(folder: Path, name: str) -> None:
    for mask in (folder / "masks").iterdir():
        mask.rename(folder / f"images/sick/{name.format(mask.stem)}.png")
    splits = load(folder)
    assert sum(map(len, splits.values())) == 20
    assert sum(int(split.masks.sum()) for split in splits.values() if split.masks is not None) == 10 * 16


@pytest.mark.parametrize("place", ["images/{split}/{name}", "{split}/{name}", "{split}/images/{name}"])
def test_folders_assign_splits(folder: Path, place: str) -> None:
    words = {"train": "Training", "val": "valid", "test": "TEST"}
    for index in range(10):
        split = SPLITS[index % 3]
        for name in ("healthy", "sick"):
            old = folder / f"images/{name}/{name[0]}{index}.png"
            new = folder / place.format(split=words[split], name=name) / old.name
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)
        if place.startswith("{split}/images"):
            write(folder / words[split] / f"masks/s{index}.png", box(index, 4))
            (folder / f"masks/s{index}.png").unlink()
    for left in ("healthy", "sick"):
        (folder / "images" / left).rmdir()
    if not place.startswith("images"):
        (folder / "images").rmdir()
    splits = load(folder)
    assert {name: len(split) for name, split in splits.items()} == {"train": 8, "val": 6, "test": 6}
    assert all(np.array_equal(split.has_mask, split.labels == 1) for split in splits.values())


def test_classes_and_splits_in_one_folder_are_refused(folder: Path) -> None:
    write(folder / "images/train/healthy/a.png", box(0, 0))
    with pytest.raises(MissingData, match="mixes folders of splits and of classes"):
        folder_dataset(folder)


def test_nested_folders_links_and_odd_names_are_refused_and_loose_files_listed(folder: Path) -> None:
    write(folder / "images/sick/more/x.png", box(0, 0))
    (folder / "images/sick/y.png").mkdir()
    (folder / "images/sick/z.png").symlink_to(folder / "gone.png")
    write(folder / "images/loose.png", box(0, 0))
    with pytest.raises(BadFiles, match="3 bad files") as caught:
        load(folder)
    for part in ("whose 1 images are not used", "folder with the name of an image", "link that leads nowhere"):
        assert part in str(caught.value)
    info = folder_dataset(folder)
    unused = [Path(fault.file).name for fault in info.builder(folder, "test").unused_faults]
    assert unused == ["loose.png"]


def test_several_frames_are_refused(folder: Path) -> None:
    frames = [Image.fromarray(box(row, 0)) for row in (0, 4)]
    frames[0].save(folder / "images/sick/s0.png", save_all=True, append_images=frames[1:])
    with pytest.raises(BadFiles, match="holds 2 frames"):
        load(folder)


def test_one_mask_does_not_remove_the_healthy_class(folder: Path) -> None:
    write(folder / "masks/h0.png", box(0, 0))
    assert folder_dataset(folder).healthy == 0
    with pytest.raises(BadFiles, match=r"h0.png \(marks a lesion, but the class 'healthy' has none\)"):
        load(folder)


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(folder: Path, code: str, separator: str) -> None:
    rows = [("File", "Split", "Group")]
    rows += [(f"{c}{i}.png", SPLITS[i % 3], f"Müller{i}") for i in range(9) for c in ("healthy\\h", "sick\\s")]
    (folder / "splits.csv").write_bytes("\r\n".join(map(separator.join, rows)).encode(code))
    splits = load(folder)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "val": 6, "test": 6}
    assert set(splits["val"].groups) == {"Müller1", "Müller4", "Müller7"}


def test_composed_and_decomposed_names_are_the_same(folder: Path) -> None:
    (folder / "images/sick/s0.png").rename(folder / "images/sick/e\u0301.png")
    (folder / "masks/s0.png").rename(folder / "masks/\u00e9.png")
    assert sum(int(split.has_mask.sum()) for split in load(folder).values()) == 10


def test_stated_values_reach_the_masks(folder: Path) -> None:
    for index in range(10):
        write(folder / f"masks/s{index}.png", np.where(box(index, 4) > 0, 2, 1).astype(np.uint8))
    with pytest.raises(BadFiles, match="10 bad files"):
        load(folder)
    masks = [split.masks for split in load(folder, mask_values=(2,)).values()]
    assert sum(int(mask.sum()) for mask in masks if mask is not None) == 10 * 16
