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
from bench.data.readers.tables import read_records
from bench.data.sources.folder import folder_dataset
from bench.data.split import Split
from bench.errors import UserError
from tests.support.datasets.folder import SIDE, box, make_folder, write

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
    for part in ("with images that are not used (1)", "folder with the name of an image", "link that leads nowhere"):
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


def by_split(folder: Path, names: dict[str, str]) -> None:
    """Moves the images into ``images/<name of the split>/<class>``."""
    for index in range(10):
        for name in ("healthy", "sick"):
            new = folder / "images" / names[SPLITS[index % 3]] / name / f"{name[0]}{index}.png"
            new.parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / name / new.name).rename(new)
    for name in ("healthy", "sick"):
        (folder / "images" / name).rmdir()


def test_folders_without_a_test_split_are_explained(folder: Path) -> None:
    by_split(folder, {"train": "train", "val": "val", "test": "train"})
    with pytest.raises(MissingData, match="none is for test; rename the one for validation"):
        folder_dataset(folder)


def test_folders_without_validation_split_off_some(folder: Path) -> None:
    by_split(folder, {"train": "train", "val": "train", "test": "test"})
    splits = load(folder)
    assert len(splits["test"]) == 6
    assert len(splits["val"]) >= 2
    assert len(splits["train"]) + len(splits["val"]) == 14


def test_classes_may_be_in_the_folder_itself(folder: Path) -> None:
    for name in ("healthy", "sick"):
        (folder / "images" / name).rename(folder / name)
    (folder / "images").rmdir()
    splits = load(folder)
    assert sum(map(len, splits.values())) == 20
    assert sum(int(split.has_mask.sum()) for split in splits.values()) == 10


def test_folders_with_the_same_names_are_not_classes(folder: Path) -> None:
    for name in ("photographs", "drawings"):
        write(folder / f"pairs/{name}/a.png", box(0, 0))
    with pytest.raises(MissingData, match="found the folders drawings, photographs"):
        folder_dataset(folder / "pairs")


@pytest.mark.parametrize("name", ["masks", "Segmentation", "lesion_masks", "gt", "Ground Truth"])
def test_a_folder_of_masks_is_not_a_class(folder: Path, name: str) -> None:
    (folder / "masks").rename(folder / "images" / name)
    with pytest.raises(MissingData, match="has the name of a folder of masks"):
        folder_dataset(folder)


def test_loops_of_links_end(folder: Path) -> None:
    (folder / "images/sick/loop").symlink_to(folder / "images")
    (folder / "images/sick/self.png").symlink_to(folder / "images/sick/self.png")
    with pytest.raises(BadFiles, match="link that leads nowhere"):
        load(folder)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["file,Group,Group", "a,b,c"], "the column 'Group' is there twice"),
        (["file,group,Group", "a,b,c"], "2 columns name the group"),
        (["file,split", "sick/a,b.png,train"], "line 2: 3 values for 2 columns"),
        (["sep=;", "file;split;who", "sick/s0.png;train;b"], "unknown column 'who'"),
    ],
)
def test_tables_that_could_be_misread_are_refused(folder: Path, lines: list[str], reason: str) -> None:
    (folder / "splits.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=reason):
        load(folder)


def test_a_stated_separator_and_lines_before_the_header_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('sep=;\n\nfile;group\n"a;\n1";p\n;\n')
    assert read_records(tmp_path / "t.csv") == (["file", "group"], [(5, {"file": "a;\n1", "group": "p"})])
