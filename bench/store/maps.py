"""Map files: raw maps of any number of images, streamed into one archive, and how to draw them."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.files import Place
from bench.store.code_digest import digest

_DIGITS = 12  # of the digest that keeps two names apart


class MapsWriter:
    """Streams raw maps into an .npz file, one member per image id, so that memory does not grow with the images.

    Args:
        classes: None, or how many maps of an image come one after the other; they become one member (classes,h,w).

    Attributes:
        members: image id -> name of its member, where they differ.
    """

    def __init__(self, path: Path, classes: int | None = None) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._classes = classes
        self._waiting: list[np.ndarray] = []
        self._taken: set[str] = set()
        self.members: dict[str, str] = {}

    def add(self, ids: list[str], maps: Iterable[np.ndarray]) -> None:
        """Append maps (h,w) under their ids."""
        for name, values in zip(ids, maps, strict=True):
            self._waiting.append(values.astype(np.float32))
            if len(self._waiting) == (self._classes or 1):
                whole = np.stack(self._waiting) if self._classes else self._waiting[0]
                self._waiting = []
                with self._zip.open(f"{self._member(name)}.npy", "w") as member:
                    np.lib.format.write_array(member, whole, allow_pickle=False)

    def _member(self, name: str) -> str:
        """Returns a name that no other image has: ``a/b`` and ``a_b`` must not become one member."""
        member = re.sub(r"[/\\\0]", "_", name)
        if member.casefold() in self._taken:  # some systems would unpack both to one file
            member = f"{member}-{digest(name)[:_DIGITS]}"
        self._taken.add(member.casefold())
        if member != name:
            self.members[name] = member
        return member

    def __enter__(self) -> MapsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()


def write_arrays(temporary: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name to a compressed .npz file, under exactly this path."""
    with temporary.open("wb") as stream:  # numpy would add a suffix to a name
        np.savez_compressed(stream, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads every array of an .npz file, by name."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def member_names(path: Path) -> list[str]:
    """Lists the arrays of an .npz file without reading them."""
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def write_drawing(place: Place, members: dict[str, str], grid: str, geometry: object | None) -> None:
    """Writes how the maps of a file are drawn, as JSON: the grid, and the geometry's facts or null.

    Args:
        place: of the file.
        members: image id -> name of its member in the archive, where they differ.
        grid: grid of the maps, "features" or "pixels".
        geometry: dataclass of the places of the cells, in pixels; None = they divide the image evenly.
    """
    facts = asdict(geometry) if is_dataclass(geometry) and not isinstance(geometry, type) else None
    with place as temporary:
        temporary.write_text(json.dumps({"grid": grid, "geometry": facts, "members": members}, indent=2) + "\n")
