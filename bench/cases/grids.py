"""Map grids of cases: raw maps as 8-bit integers on at most 32×32 cells, which a browser colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.plain.interpolation import coarser_weights
from bench.store.maps import write_arrays

#: Cells of a side from which a map is averaged: more are invisible in a tile of a page.
MOST_CELLS = 32
#: Integer of the largest absolute value of a map.
LEVELS = 127


@dataclass(frozen=True)
class Grids:
    """Maps of one explainer.

    Attributes:
        ids: (n,) names of the images.
        values: (n,h,w) int8, a map divided by its scale times ``LEVELS``.
        scales: (n,) float32, largest absolute value of each map after averaging; nan for a map with NaN or infinite
            values.
        cells: sides of the raw maps, of which ``values`` hold averages if they are larger than ``MOST_CELLS``.
    """

    ids: NDArray[np.str_]
    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    cells: tuple[int, int]

    def arrays(self, prefix: str = "") -> dict[str, NDArray[np.generic]]:
        """Returns the arrays that ``of`` reads, by name."""
        found = {"ids": self.ids, "values": self.values, "scales": self.scales, "cells": np.array(self.cells)}
        return {prefix + name: array for name, array in found.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str = "") -> Self:
        """Reads what ``arrays`` returned."""
        ids, values, scales, cells = (arrays[prefix + name] for name in ("ids", "values", "scales", "cells"))
        rows, columns = cells.tolist()
        return cls(ids.astype(str), values.astype(np.int8), scales.astype(np.float32), (rows, columns))


def to_grids(ids: Sequence[str], maps: Sequence[NDArray[np.floating]]) -> Grids:
    """Converts raw maps, n of (h,w), of the images ``ids``; those of another shape than the first are left out.

    A map of more than ``MOST_CELLS`` per side is averaged over areas; values of opposite sign cancel in an average.
    """
    kept = [at for at, one in enumerate(maps) if one.shape == maps[0].shape]
    cells: tuple[int, int] = maps[0].shape if len(maps) else (0, 0)
    raw = np.stack([maps[at] for at in kept]).astype(np.float64) if kept else np.zeros((0, 0, 0))
    is_finite = np.isfinite(raw).all(axis=(1, 2))
    raw[~is_finite] = 0
    if kept:
        rows, columns = (coarser_weights(side, MOST_CELLS) for side in raw.shape[1:])
        raw = rows @ raw @ columns.T
    scales = np.abs(raw).max(axis=(1, 2), initial=0)
    values = np.rint(raw / np.where(scales > 0, scales, 1)[:, None, None] * LEVELS).astype(np.int8)
    names = np.array([ids[at] for at in kept], dtype=np.str_)
    return Grids(names, values, np.where(is_finite, scales, np.nan).astype(np.float32), cells)


def joined(parts: Iterable[Grids]) -> Grids:
    """Joins maps of further images; those of another shape than the first are left out."""
    found = [part for part in parts if len(part.ids)]
    if not found:
        return to_grids([], [])
    found = [part for part in found if part.cells == found[0].cells]
    columns = zip(*((part.ids, part.values, part.scales) for part in found), strict=True)
    ids, values, scales = (np.concatenate(column) for column in columns)
    return Grids(ids, values, scales, found[0].cells)


def write_grids(temporary: Path, grids: Grids) -> None:
    """Writes maps to an .npz file."""
    write_arrays(temporary, grids.arrays())


def read_grids(path: Path) -> Grids:
    """Reads what ``write_grids`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Grids.of(stored)


def read_ids(path: Path) -> set[str]:
    """Reads the names of the images whose maps a file holds."""
    with np.load(path, allow_pickle=False) as stored:
        return set(stored["ids"].tolist())
