"""Long rows of scores as arrays: methods that have values on the same images side by side.

Their bootstrap samples are the same, so that one product gives the samples of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.bootstrap.names import Names, combinations, occurring
from bench.statistics.bootstrap.resampling import Floats


@dataclass(frozen=True)
class SameImages:
    """Methods with values on the same images.

    Attributes:
        keys: of the M methods.
        values: an array (S,N,M) per column, of S seeds and the N images with a value; nan if undefined.
        groups: (N,) of the images.
        undefined: number of further images of each method, which have no value.
    """

    keys: list[tuple[Any, ...]]
    values: list[Floats]
    groups: Names
    undefined: list[int]


def same_images(rows: pd.DataFrame, by: list[str], columns: Sequence[str] = ("value",)) -> list[SameImages]:
    """Aligns long rows by seed and image; rows of the same method, seed and image are averaged.

    Args:
        rows: frame with the columns image, group, those of ``by`` and of ``columns``, and perhaps seed.
        by: columns that name a method.
        columns: of values; an image counts if the first of them is defined in a seed.
    """
    if not len(rows):
        return []
    key, keys = combinations(rows, by)
    image, group = Names.of(rows["image"]), Names.of(rows["group"])
    key *= len(image.known)
    key += image.place
    of_image, place = occurring(key, len(keys) * len(image.known))
    member = np.empty(len(of_image), dtype=group.place.dtype)
    member[place[::-1]] = group.place[::-1]  # that of the first row
    arrays = _by_seed(rows, place, columns)
    known = np.asarray(np.isfinite(arrays[0]).any(axis=0))
    ends = np.searchsorted(of_image // len(image.known), np.arange(len(keys) + 1))
    alike: dict[tuple[int, bytes], list[int]] = {}
    for at in range(len(keys)):
        inside = member[ends[at] : ends[at + 1]][known[ends[at] : ends[at + 1]]]
        alike.setdefault((len(inside), inside.tobytes()), []).append(at)
    found = []
    for places in alike.values():
        chosen = [np.flatnonzero(known[ends[at] : ends[at + 1]]) + ends[at] for at in places]
        stacked = [np.stack([array[:, one] for one in chosen], axis=-1) for array in arrays]
        undefined = [int(ends[at + 1] - ends[at] - len(one)) for at, one in zip(places, chosen, strict=True)]
        groups = Names(group.known, member[chosen[0]])
        found.append(SameImages([keys[at] for at in places], stacked, groups, undefined))
    return found


def _by_seed(rows: pd.DataFrame, place: NDArray[np.intp], columns: Sequence[str]) -> list[Floats]:
    """Averages the rows of each seed and place: an array (S,P) per column."""
    seed = pd.factorize(rows["seed"], sort=True)[0] if "seed" in rows else np.zeros(len(rows), dtype=int)
    shape = (int(seed.max(initial=-1)) + 1, int(place.max(initial=-1)) + 1)
    cell, found = seed * shape[1] + place if shape[0] > 1 else place, []
    for name in columns:
        value = rows[name].to_numpy(dtype=float)
        defined: Any = np.isfinite(value)
        if defined.all():
            defined = slice(None)  # most values are, and need no copy
        total, count = (
            np.bincount(cell[defined], weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
            for weights in (value[defined], None)
        )
        found.append(np.divide(total, count, out=np.full(shape, np.nan), where=count > 0))
    return found
