"""Copies of a picture across splits and classes, against images that only look alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scipy.ndimage import gaussian_filter

from bench.commands.check_data.command import check_dataset
from bench.commands.check_data.reading import read_dataset
from bench.data.leaks.looks import hashes_of, joined, looks_of, thumbnail, turned
from bench.data.leaks.search import equal_images, find_copies
from bench.data.loading import Request, load_splits
from bench.data.sources.folder import folder_dataset
from bench.errors import UserError

Pixels = NDArray[np.uint8]


def picture(seed: int) -> Pixels:
    """(80,80,3) texture of its own behind a square that all pictures share."""
    noise = np.random.default_rng(seed).normal(size=(80, 80))
    texture = gaussian_filter(noise, 1.5)
    values = 110 + 40 * texture / texture.std()
    values[25:45, 25:45] = 230
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def as_jpeg(pixels: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "same": lambda pixels: pixels,
    "jpeg": as_jpeg,
    "small": lambda pixels: np.asarray(Image.fromarray(pixels).resize((60, 60))),
    "bright": lambda pixels: np.clip(pixels * 0.8 + 20, 0, 255).astype(np.uint8),
    "mirror": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "quarter": lambda pixels: np.rot90(pixels),
    "turned and mirrored": lambda pixels: as_jpeg(np.ascontiguousarray(np.rot90(pixels, 3)[:, ::-1])),
}


def folder(root: Path, copy: Pixels, split: str, label: str) -> Path:
    """Data set of 16 pictures, and a copy of the training picture ``a/0.png``."""
    rows = []
    for name in ("a", "b"):
        (root / "images" / name).mkdir(parents=True)
        for number, where in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
            Image.fromarray(picture(number + 10 * (name == "b"))).save(root / f"images/{name}/{number}.png")
            rows.append(f"{name}/{number}.png,{where},{name}{number}")
    Image.fromarray(copy).save(root / f"images/{label}/copy.png")
    (root / "splits.csv").write_text("\n".join(["file,split,Patient ID", *rows, f"{label}/copy.png,{split},new"]))
    return root


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_in_another_split_is_a_fault(change: str, tmp_path: Path) -> None:
    root = folder(tmp_path, CHANGES[change](picture(0)), "test", "a")
    read = read_dataset(folder_dataset(root), Request(tmp_path, 64, 0), Console(quiet=True))
    assert [fault.file for fault in read.faults] == ["a/0.png"]
    assert "shows the same picture as a/copy.png" in read.faults[0].reason
    assert read.copies == [("a/0.png", "a/0.png"), ("a/copy.png", "a/0.png")]


@pytest.mark.parametrize("change", ["jpeg", "mirror", "quarter"])
def test_a_run_refuses_a_copy_unless_it_is_allowed(change: str, tmp_path: Path) -> None:
    info = folder_dataset(folder(tmp_path / "mine", CHANGES[change](picture(0)), "test", "a"))
    with pytest.raises(UserError, match="--allow-duplicates"):
        load_splits(info, Request(tmp_path, 64, 0), tmp_path / "cache")
    splits = load_splits(info, Request(tmp_path, 64, 0, allow_duplicates=True), tmp_path / "cache")
    assert len(splits["test"]) == 5


@pytest.mark.parametrize("change", ["same", "jpeg", "upside down"])
def test_one_picture_under_two_labels_is_always_refused(change: str, tmp_path: Path) -> None:
    info = folder_dataset(folder(tmp_path / "mine", CHANGES[change](picture(0)), "train", "b"))
    with pytest.raises(UserError, match="which has another class"):
        load_splits(info, Request(tmp_path, 64, 0, allow_duplicates=True), tmp_path / "cache")


def test_pictures_that_only_look_alike_are_no_copies() -> None:
    images = np.stack([picture(seed).transpose(2, 0, 1) for seed in range(120)])
    assert len(find_copies(looks_of(images)).first) == 0


def test_hashes_are_those_of_imagehash_in_every_orientation() -> None:
    thumbs = np.stack([thumbnail(picture(seed).transpose(2, 0, 1)) for seed in range(20)])
    found = hashes_of(thumbs)
    for orientation in range(8):
        for thumb, mine in zip(thumbs, found[:, orientation], strict=True):
            image = Image.fromarray(np.ascontiguousarray(turned(thumb, orientation)))
            bits = imagehash.phash(image, highfreq_factor=6).hash.reshape(-1)
            assert np.packbits(bits).view(np.uint64)[0] == mine


def test_generated_images_are_compared_exactly() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    images[4], images[5], images[0] = images[1], 7, 7
    assert equal_images([images[:3], images[3:]]).first.tolist() == [1]
    assert equal_images([images[:3], images[3:]]).second.tolist() == [4]


def test_copies_are_searched_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = folder_dataset(folder(tmp_path / "mine", picture(99), "test", "a"))
    load_splits(info, Request(tmp_path, 64, 0), tmp_path / "cache")
    searched: list[int] = []
    monkeypatch.setattr("bench.data.leaks.stored.joined", lambda parts: searched.append(1) or joined(parts))
    load_splits(info, Request(tmp_path, 64, 0), tmp_path / "cache")
    assert searched == []
    for file in (tmp_path / "cache/looks").iterdir():
        file.write_bytes(b"damaged")
    load_splits(info, Request(tmp_path, 64, 0), tmp_path / "cache")
    assert searched == [1]


def test_check_data_draws_copies_and_lists_them_by_group(tmp_path: Path) -> None:
    info = folder_dataset(folder(tmp_path / "mine", CHANGES["mirror"](picture(0)), "test", "a"))
    page = tmp_path / "check"
    assert not check_dataset(info, Request(tmp_path, 64, 0), page, Console(quiet=True))
    assert (page / "copies.csv").read_text().splitlines() == [
        "file,group",
        "a/0.png,a/0.png",
        "a/copy.png,a/0.png",
    ]
    with Image.open(page / "copies.png") as picture_of_pairs:
        assert np.ptp(np.asarray(picture_of_pairs.convert("L"))) > 200
    allowed = Request(tmp_path, 64, 0, allow_duplicates=True)
    assert check_dataset(info, allowed, page, Console(quiet=True))
