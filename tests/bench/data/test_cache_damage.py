"""Finished splits of the cache whose files were damaged afterwards: they are decoded again, and a line says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.data.split import Split
from bench.store.stored_files import collecting
from tests.bench.data.generated import assert_same, load
from tests.bench.data.test_cache import Uneven


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-len(content) // 3] ^= 1  # one bit of a pixel
    file.write_bytes(content)


def _zero_tail(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"\0" * 8 + b"\1")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": _flip,
    "zeros": _zero_tail,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "emptied": lambda file: file.write_bytes(b""),
    "deleted": Path.unlink,
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


def _load(tmp_path: Path, place: str = "") -> tuple[Split, Uneven]:
    made = Uneven("train", 8)
    return load(lambda root, split: made, tmp_path / place, root=tmp_path, skip_bad=True), made


def _files() -> list[str]:
    """Names of the files of a finished split that are read; journal and lock are not."""
    return ["fov", "ignored", "images", "masks", "meta.json"]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", _files())
def test_a_damaged_file_is_decoded_again(tmp_path: Path, name: str, kind: str) -> None:
    _load(tmp_path)
    (folder,) = (tmp_path / "cache/made").glob("train-*")
    DAMAGES[kind](folder / name)
    with collecting() as damaged:
        split, made = _load(tmp_path)
    assert made.made == 8
    assert_same(split, _load(tmp_path, "whole")[0])
    assert list(damaged) == [folder]
    with collecting() as damaged:
        _, made = _load(tmp_path)
    assert (made.made, list(damaged)) == (0, [])


def test_every_file_is_tried(tmp_path: Path) -> None:
    _load(tmp_path)
    (folder,) = (tmp_path / "cache/made").glob("train-*")
    assert {file.name for file in folder.iterdir()} == {*_files(), "journal", "lock"}
