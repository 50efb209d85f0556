"""Names of images and groups as numbers: a name is stored once, however often it occurs and in however many arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_SPARSE = 4  # times as many numbers as things: few of them occur


@dataclass(frozen=True, eq=False)
class Names:
    """The names of N things.

    Attributes:
        known: names in their order; some may not occur.
        place: (N,) of each thing's name among them.
    """

    known: pd.Index
    place: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, names: AnyNames) -> Names:
        """Numbers names; only those that occur are known."""
        if isinstance(names, Names):
            return names._used()
        if not isinstance(names.dtype, pd.CategoricalDtype):
            place, found = pd.factorize(np.asarray(names, dtype=object), sort=True, use_na_sentinel=False)
            return cls(pd.Index(found, dtype=object), place)
        category: Any = names.array if isinstance(names, pd.Series) else names
        used = cls(category.categories, category.codes)._used()
        return used if category.ordered else used._sorted()

    def __len__(self) -> int:
        return len(self.place)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_numpy())

    def __getitem__(self, chosen: NDArray[Any]) -> Names:
        """Returns some of the things, by their places or a mask (N,)."""
        return Names(self.known, self.place[chosen])

    def places_in(self, others: pd.Index) -> NDArray[np.integer[Any]]:
        """Returns the place (N,) of each thing's name among other names; -1 where it is not among them."""
        return self.place if self.known.equals(others) else others.get_indexer(self.known)[self.place]

    def to_numpy(self) -> NDArray[np.object_]:
        """Returns the names (N,) themselves."""
        names: NDArray[np.object_] = self.known.to_numpy(dtype=object)[self.place]
        return names

    def _used(self) -> Names:
        occurs = np.zeros(len(self.known), dtype=bool)
        occurs[self.place] = True
        return self if occurs.all() else Names(self.known[occurs], (np.cumsum(occurs) - 1)[self.place])

    def _sorted(self) -> Names:
        order = np.argsort(self.known.to_numpy(dtype=object).astype(str), kind="stable")
        rank = np.empty(len(order), dtype=np.intp)
        rank[order] = np.arange(len(order))
        return Names(self.known[order], rank[self.place])


def one_of(column: pd.Series, names: Collection[str]) -> NDArray[np.bool_]:
    """Returns whether each name of a column is one of a few others; pandas would make a table of all its categories."""
    known = Names.of(column)
    inside: NDArray[np.bool_] = known.known.isin(list(names))[known.place]
    return inside


def combinations(rows: pd.DataFrame, by: Sequence[str]) -> tuple[NDArray[np.intp], list[tuple[Any, ...]]]:
    """Numbers the combinations of names that occur in rows, in the order of the names.

    Args:
        rows: N rows.
        by: columns of names.

    Returns:
        The number of each row (N,), and the combinations.
    """
    number, known = np.zeros(len(rows), dtype=np.intp), list[tuple[Any, ...]]([()])
    for column in by:
        names = Names.of(rows[column])
        number *= len(names.known)
        number += names.place
        used, number = occurring(number, len(known) * len(names.known))
        before, last = np.divmod(used, max(1, len(names.known)))
        known = [(*known[at], name) for at, name in zip(before, names.known[last].tolist(), strict=True)]
    return number, known


def occurring(numbers: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns those of ``count`` numbers that occur, and the place among them of each of N: as ``numpy.unique``.

    Unless few of them occur, no numbers are sorted, which would take time and memory.
    """
    if count > _SPARSE * len(numbers):
        return np.unique(numbers, return_inverse=True)
    occurs = np.zeros(count, dtype=bool)
    occurs[numbers] = True
    used = np.flatnonzero(occurs)
    return used, numbers if len(used) == count else (np.cumsum(occurs) - 1)[numbers]


AnyNames = NDArray[Any] | pd.Series | Names
