"""Scores of methods on the same images, side by side, in memory or in a file."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.bootstrap.names import Names, combinations
from bench.statistics.bootstrap.resampling import Floats

Method = tuple[str, str]  # head, explainer
#: Scores that are copied at once, where few of many methods are.
AT_ONCE = 2**20


def shares(values: Floats) -> list[Floats]:
    """Divides values (…,M) by columns into parts that are small enough to be copied; small ones are one part."""
    most = max(1, AT_ONCE // max(1, values[..., :1].size))
    return [values[..., at : at + most] for at in range(0, max(1, values.shape[-1]), most)]


@dataclass(frozen=True)
class Paired:
    """One metric on one data set and backbone.

    Attributes:
        columns: method, by name -> scores (S,N) of S seeds and N images; nan where it has none.
        images: the N names, in order.
        groups: (N,) group of each image.
        seeds: the S seeds.
    """

    columns: Mapping[Method, Floats]
    images: pd.Index
    groups: Names
    seeds: tuple[int, ...] = ()

    @property
    def methods(self) -> list[Method]:
        """The C methods, by name."""
        return list(self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of all scores."""
        return sum(values.nbytes for values in self.columns.values())

    @property
    def values(self) -> Floats:
        """Scores (S,N,C) of all methods."""
        return self.of(self.methods)

    def of(self, methods: Sequence[Method]) -> Floats:
        """Returns scores (S,N,len(methods)); nan for a method without scores."""
        found = np.full((len(self.seeds), len(self.images), len(methods)), np.nan)
        for place, method in enumerate(methods):
            if method in self.columns:
                found[..., place] = self.columns[method]
        return found

    def shares(self, methods: Sequence[Method], together: int = 1) -> Iterator[list[Method]]:
        """Yields methods, a few at a time if they have many scores; so many that follow each other stay together."""
        most = max(1, AT_ONCE // max(1, together * len(self.seeds) * len(self.images))) * together
        for start in range(0, len(methods), most):
            yield list(methods[start : start + most])

    def on_disk(self, file: ScoreFile) -> Paired:
        """Writes the scores to a file, from which they are read when they are asked for."""
        written = {method: partial(file.read, file.write(values)) for method, values in self.columns.items()}
        return replace(self, columns=_Columns(written))

    def with_images_of(self, other: Paired) -> Paired:
        """Returns the scores with the names that another one holds, if they are the same, so that memory holds one."""
        known = self.images.equals(other.images) and self.groups.known.equals(other.groups.known)
        same = known and np.array_equal(self.groups.place, other.groups.place)
        return replace(self, images=other.images, groups=other.groups) if same else self

    def scored(self, methods: Sequence[Method]) -> NDArray[np.bool_]:
        """Returns whether one of these methods has a score of an image (N,)."""
        found = np.zeros(len(self.images), dtype=bool)
        for method in methods:
            if method in self.columns:
                found |= np.isfinite(self.columns[method]).any(axis=0)
        return found

    def number_of_groups(self, method: Method) -> int:
        """Returns the number of groups in which a method has a value."""
        return len(np.unique(self.groups.place[self.scored([method])]))


class ScoreFile:
    """A temporary file of arrays, which goes with the last scores in it."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def write(self, values: Floats) -> int:
        """Adds an array and returns its place."""
        place = self._file.seek(0, io.SEEK_END)
        np.save(self._file, values)
        return place

    def read(self, place: int) -> Floats:
        """Returns an array by its place."""
        self._file.seek(place)
        values: Floats = np.load(self._file)
        return values


class _Columns(Mapping[Method, Floats]):
    """Scores of methods, which are read whenever they are asked for."""

    def __init__(self, columns: Mapping[Method, Callable[[], Floats]]) -> None:
        self._read = dict(sorted(columns.items(), key=itemgetter(0)))

    def __getitem__(self, method: Method) -> Floats:
        return self._read[method]()

    def __contains__(self, method: object) -> bool:
        return method in self._read  # by default, it would be read

    def __iter__(self) -> Iterator[Method]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def pair(rows: pd.DataFrame) -> Paired:
    """Aligns long rows of one metric, data set and backbone, without steps, by seed and image.

    Raises:
        ValueError: a method has two scores of one image and seed.
    """
    image, group = Names.of(rows["image"]), Names.of(rows["group"])
    place, methods = combinations(rows, ("head", "explainer"))
    seeds = np.unique(rows["seed"])
    shape = (len(methods), len(seeds), len(image.known))
    for size, found in ((shape[1], np.searchsorted(seeds, rows["seed"])), (shape[2], image.place)):
        place *= size  # in place, as one of the largest arrays
        place += found
    values, scored = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    scored.ravel()[place] = True
    if np.count_nonzero(scored) < len(place):
        raise ValueError("a method has two scores of one image and seed")
    values.ravel()[place] = rows["value"].to_numpy(dtype=float)
    of_image = np.empty(len(image.known), dtype=group.place.dtype)
    of_image[image.place[::-1]] = group.place[::-1]  # that of its first row
    columns = {(str(head), str(explainer)): column for (head, explainer), column in zip(methods, values, strict=True)}
    return Paired(columns, image.known, Names(group.known, of_image), tuple(map(int, seeds)))


def joined(parts: list[Paired]) -> Paired:
    """Joins different methods; scores on disk remain there."""
    if len(parts) == 1:
        return parts[0]
    images, groups = parts[0].images, parts[0].groups
    if not all(one.images.equals(images) for one in parts):
        of_image = pd.concat([pd.Series(one.groups.to_numpy(), one.images) for one in parts])
        of_image = of_image[~of_image.index.duplicated()].sort_index()
        images, groups = of_image.index, Names.of(of_image)
    seeds = tuple(sorted({seed for one in parts for seed in one.seeds}))
    columns: dict[Method, Callable[[], Floats]] = {}
    for one in parts:
        place = None
        if one.seeds != seeds or not one.images.equals(images):
            place = np.ix_(np.searchsorted(seeds, one.seeds), images.get_indexer(one.images))
        shape = (len(seeds), len(images))
        columns |= {method: partial(_aligned, one.columns, method, place, shape) for method in one.methods}
    return Paired(_Columns(columns), images, groups, seeds)


def _aligned(columns: Mapping[Method, Floats], method: Method, place: Any, shape: tuple[int, int]) -> Floats:
    """Returns the scores of a method at their place among all seeds and images."""
    if place is None:
        return columns[method]
    found = np.full(shape, np.nan)
    found[place] = columns[method]
    return found
