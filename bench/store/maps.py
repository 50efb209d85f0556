"""Map files: raw maps of any number of images, streamed into one archive, and how to draw them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from bench.files import write_json


class MapsWriter:
    """Streams raw maps into an .npz file, one member per image id, so that memory does not grow with the images.

    Args:
        classes: None, or how many maps of an image come one after the other; they become one member (classes,h,w).
    """

    def __init__(self, path: Path, classes: int | None = None) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._classes = classes
        self._waiting: list[np.ndarray] = []

    def add(self, ids: list[str], maps: Iterable[np.ndarray]) -> None:
        """Append maps (h,w) under their ids."""
        for name, values in zip(ids, maps, strict=True):
            self._waiting.append(values.astype(np.float32))
            if len(self._waiting) == (self._classes or 1):
                whole = np.stack(self._waiting) if self._classes else self._waiting[0]
                self._waiting = []
                with self._zip.open(f"{name.replace('/', '_')}.npy", "w") as member:
                    np.lib.format.write_array(member, whole, allow_pickle=False)

    def __enter__(self) -> MapsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()


def write_geometry(maps_file: Path, grid: str, geometry: object | None) -> None:
    """Writes how the maps of a file are drawn next to it, as .json: the grid, and the geometry's facts or null.

    Args:
        maps_file: the archive of the maps.
        grid: grid of the maps, "features" or "pixels".
        geometry: dataclass of the places of the cells, in pixels; None = they divide the image evenly.
    """
    facts = asdict(geometry) if is_dataclass(geometry) and not isinstance(geometry, type) else None
    write_json(maps_file.with_suffix(".json"), {"grid": grid, "geometry": facts})
