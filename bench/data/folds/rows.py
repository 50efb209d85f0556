"""Rows of large arrays that stay on disk, so that folds can share the images of a data set without copying them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Selected rows of arrays that follow each other; reads as much of an array (N,…) as it is asked for.

    Attributes:
        parts: arrays of the same shape but for the number of rows.
        at: (N,) numbers of the rows, counted through all parts.
    """

    parts: tuple[Any, ...]
    at: Integers

    @classmethod
    def all_of(cls, parts: Sequence[Any]) -> Rows:
        """Returns all rows of these arrays, in their order."""
        return cls(tuple(parts), np.arange(sum(map(len, parts))))

    @cached_property
    def _ends(self) -> Integers:
        return np.cumsum([len(part) for part in self.parts])

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and the shape of each."""
        return (len(self.at), *self.parts[0].shape[1:])

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> Any:
        """Returns one row, or a copy of several, which are selected as in an array."""
        at = self.at[rows]
        part = np.searchsorted(self._ends, at, side="right")
        if not np.ndim(at):
            return self.parts[part][at - self._starts[part]]
        found = np.empty((len(at), *self.shape[1:]), self.dtype)
        for number in np.unique(part):
            inside = part == number
            found[inside] = self.parts[number][at[inside] - self._starts[number]]
        return found

    @cached_property
    def _starts(self) -> Integers:
        return np.concatenate([[0], self._ends[:-1]])

    def take(self, rows: Integers) -> Rows:
        """Returns these rows, of which nothing is read."""
        return Rows(self.parts, self.at[rows])
