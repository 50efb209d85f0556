"""Columns of tables while they are read, part by part: numbers, and names as numbers, each name in memory once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.integer[Any]]
#: Text that takes few bytes, for the names of many images.
_COMPACT = pd.StringDtype("pyarrow", na_value=np.nan)


def with_codes(
    parts: Iterable[Iterable[pa.Table]], facts: pd.DataFrame, names: Mapping[str, NameTable]
) -> pd.DataFrame:
    """Joins tables and adds the facts about them; columns of names become categories in their order.

    Args:
        parts: some tables of each part, which are read one after the other.
        facts: one row per part.
        names: column -> the table of its names.
    """
    coded, others, lengths = {name: Coded(table) for name, table in names.items()}, list[pa.Table](), list[int]()
    for tables in parts:
        lengths.append(0)
        for table in tables:
            for name, column in coded.items():
                column.add(pl.Series(table[name]), lengths[-1])
            others.append(table.drop_columns(list(coded)))
            lengths[-1] += len(table)
    rows: pd.DataFrame = pa.concat_tables(others, promote_options="permissive").to_pandas()
    others.clear()
    known = repeated(facts, np.repeat(np.arange(len(facts), dtype=np.int32), lengths))
    columns = {name: column.whole() for name, column in coded.items()} | dict(rows.items()) | known
    return pd.DataFrame(columns, copy=False)


def repeated(facts: pd.DataFrame, place: Codes) -> dict[str, Any]:
    """Returns columns of rows by the place (N,) of each among the facts; text becomes categories in their order."""
    found: dict[str, Any] = {}
    for name, values in facts.items():
        is_number = pd.api.types.is_numeric_dtype(values)
        known = values.to_numpy() if is_number else pd.Categorical(values.astype("str"), ordered=True)
        found[str(name)] = known[place]
    return found


class NameTable:
    """Names in their order, which grow with what is read; no table of hashes is made of them."""

    def __init__(self) -> None:
        self._series: pl.Series | None = pl.Series([], dtype=pl.String)
        self._dtype: pd.CategoricalDtype | None = None
        self._last: dict[int, Codes] = {}

    @property
    def dtype(self) -> pd.CategoricalDtype:
        """The names as ordered categories."""
        if self._dtype is None:
            names = pd.Index(self._names.to_arrow(), dtype=_COMPACT)
            self._dtype = pd.CategoricalDtype(ordered=True)
            # As unpickling does: the constructor would make a table of hashes to check that the names are unique.
            self._dtype.__setstate__({"categories": names, "ordered": True})  # type: ignore[attr-defined]
        self._series = None  # one copy of the names is enough while nothing is read
        return self._dtype

    @property
    def _names(self) -> pl.Series:
        if self._series is None:
            self._series = pl.from_pandas(self.dtype.categories)
        return self._series

    def number(self, values: pl.Series, start: int) -> tuple[Codes, Codes | None]:
        """Returns the number of each value, and if there are new names, the new numbers of the old ones.

        Args:
            values: names.
            start: place in a file; files of a data set mostly list the same images, and whether a guess is right takes
                a tenth of the time.
        """
        guess = self._last.get(start)
        if guess is not None and len(guess) == len(values) and self._are(guess, values).all():
            return guess, None
        codes, moved = self._places(values), None
        if not self._are(codes, values).all():
            moved = self._add(values)
            codes = self._places(values)
        self._last[start] = codes.astype(np.min_scalar_type(len(self._names)))
        return codes, moved

    def _add(self, values: pl.Series) -> Codes | None:
        """Adds those of the names that are new, and returns the new numbers of the old ones if they have moved."""
        new, before = values.unique().sort(), self._names
        new = new.filter(~self._are(self._places(new), new))
        comes_last = not len(before) or before[-1] < new[0]  # files often list the images in their order
        joined = pl.concat([before, new], rechunk=True)
        self._series, self._dtype = joined if comes_last else joined.sort(), None
        return None if comes_last else self._places(before)

    def _places(self, values: pl.Series) -> Codes:
        """Returns where each value is among the names, if it is among them."""
        if not len(self._names):
            return np.zeros(len(values), dtype=np.int8)
        return self._names.search_sorted(values).clip(upper_bound=len(self._names) - 1).to_numpy()

    def _are(self, places: Codes, values: pl.Series) -> pl.Series:
        """Returns whether the names at these places are the values."""
        if not len(self._names):
            return pl.repeat(False, len(values), eager=True)
        return self._names.gather(places) == values


class Coded:
    """A column of names while it is read, part by part."""

    def __init__(self, table: NameTable) -> None:
        self._table = table
        self._parts: list[Codes] = []
        self._last: tuple[pl.Series, Codes] | None = None

    def add(self, values: pl.Series, start: int = 0) -> None:
        """Adds the names of some rows; ``start`` is their place in a file."""
        if self._last is None or not values.equals(self._last[0]):  # short files mostly list the same images
            codes, moved = self._table.number(values, start)
            if moved is not None:
                self._parts = [moved[part] for part in self._parts]
            self._last = values, codes
        self._parts.append(self._last[1])

    def whole(self) -> pd.Categorical:
        """Returns the column as categories in the order of their names."""
        return pd.Categorical.from_codes(np.concatenate(self._parts), dtype=self._table.dtype, validate=False)


class Numbers:
    """A column of numbers while it is read, part by part."""

    def __init__(self, narrow: type[np.integer[Any]] | None) -> None:
        self._narrow = narrow
        self._parts: list[NDArray[Any]] = []

    def add(self, values: pl.Series, start: int = 0) -> None:
        """Adds the numbers of some rows."""
        numbers = values.to_numpy()
        self._parts.append(numbers.astype(self._narrow or numbers.dtype))  # a view would keep the text beside it

    def whole(self) -> NDArray[Any]:
        """Returns the column."""
        return np.concatenate(self._parts)
