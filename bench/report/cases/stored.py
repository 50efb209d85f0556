"""Stored cases: pictures and map grids of a run, from the gallery where a run kept nothing for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.cases.grids import Grids, to_grids
from bench.cases.pictures import Pictures, read_pictures, to_pictures
from bench.plain.interpolation import drawn_by
from bench.report.figures.looks import Method
from bench.report.frames.folds.joined import WholeCell
from bench.report.frames.load import Frames
from bench.store.folders import CellStore
from bench.store.maps import read_arrays
from bench.store.records import CellKey

Pair = tuple[float, float]


@dataclass(frozen=True)
class MethodMaps:
    """Maps of a method by the first seed that has any.

    Attributes:
        key: cell that they belong to.
        grids: the maps.
        start, stride: centre of the first cell and distance of neighbouring ones, (rows, columns) in pixels of the
            picture.
    """

    key: CellKey
    grids: Grids
    start: Pair
    stride: Pair


def load_pictures(frames: Frames, dataset: str) -> tuple[Pictures | None, bool]:
    """Loads the pictures of a data set -> (pictures or None, whether they are only those of the gallery)."""
    files = frames.store.files
    stored = files.read(frames.store.cases_file(dataset), read_pictures)
    if stored is not None:
        return stored, False
    kept = files.read(frames.store.images_file(dataset), read_arrays)
    if kept is None or not len(kept["ids"]):
        return None, False
    return to_pictures(kept["ids"].tolist(), kept["labels"].astype(np.int64), kept["images"], kept["masks"]), True


def lesion_areas(frames: Frames, dataset: str, ids: list[str]) -> np.ndarray:
    """Returns the lesion area (n,) of these images as share of the image; nan where it is unknown."""
    stored = frames.store.files.read(frames.store.lesions_file(dataset), pd.read_parquet)
    if stored is None:
        return np.full(len(ids), np.nan)
    return stored.drop_duplicates("image").set_index("image")["lesion_area"].reindex(ids).to_numpy(dtype=float)


def load_maps(frames: Frames, dataset: str, method: Method, pictures: Pictures) -> MethodMaps | None:
    """Loads the maps of a method on a data set of one backbone; None if no seed has any."""
    for key, cell in _cells(frames, dataset, method.head):
        grids = cell.cases(method.explainer) or _of_gallery(frames, cell.first, dataset, method.explainer)
        if grids is not None and len(grids.ids):
            record = cell.record
            geometry = drawn_by(frames.record.explainers[method.explainer].grid, record.geometry, record.align)
            return MethodMaps(key, grids, *places(geometry, grids, pictures))
    return None


def _of_gallery(frames: Frames, cell: CellStore, dataset: str, explainer: str) -> Grids | None:
    """Returns the maps of the images of the figures."""
    images = frames.store.files.read(frames.store.images_file(dataset), read_arrays)
    maps = cell.files.read(cell.gallery_file(explainer), read_arrays)
    if images is None or maps is None or len(maps) != len(images["ids"]):
        return None
    return to_grids(images["ids"].tolist(), [maps[f"arr_{index}"] for index in range(len(maps))])


def places(geometry: Any, grids: Grids, pictures: Pictures) -> tuple[Pair, Pair]:
    """Returns start and stride of the cells of ``grids`` in pixels of the picture, as ``bench.maps.upsample`` draws.

    Args:
        geometry: of the raw maps, in pixels of the image; None = their cells divide the image evenly.
        grids: the maps; a cell that is an average of several is centred in the middle of these.
        pictures: sides of images and pictures.
    """
    start, stride = [], []
    for axis in (0, 1):
        cells, side = grids.cells[axis], pictures.side[axis]
        first, step = side / cells / 2, side / cells
        if geometry is not None:
            first, step = geometry.start[axis], geometry.stride[axis]
        joined, scale = cells / grids.values.shape[1 + axis], pictures.size[axis] / side
        start.append((first + (joined - 1) / 2 * step) * scale)
        stride.append(step * joined * scale)
    return (start[0], start[1]), (stride[0], stride[1])


def _cells(frames: Frames, dataset: str, head: str) -> Iterator[tuple[CellKey, WholeCell]]:
    """Yields the finished cells of a head, by seed."""
    cells = frames.cells
    for row in cells[(cells["dataset"] == dataset) & (cells["head"] == head) & (cells["status"] == "ok")].itertuples():
        cell: Any = row
        yield CellKey(cell.dataset, cell.backbone, cell.head, int(cell.seed)), frames.cell(cell)
