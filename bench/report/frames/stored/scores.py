"""Scores of a run as long rows: those of files, which are read on demand, and those that are derived from others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from bench.report.frames.stored.reader import ABOUT, CATEGORIES, METHOD, NAMES, NARROW, Reader
from bench.statistics.bootstrap.columns import NameTable
from bench.store.scores import SCORE_COLUMNS


@dataclass(frozen=True, eq=False)
class Scores:
    """Long rows of scores: files that are read on demand, then rows that were derived from others.

    Attributes:
        files: one row per file, with its path and the columns ``ABOUT``, numbered by the index as in the reader.
        derived: rows with the columns of a score file and ``ABOUT``; empty without any.
        reader: of these files and perhaps others.
    """

    files: pd.DataFrame
    derived: pd.DataFrame
    reader: Reader
    _parts: dict[Any, Scores] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def stored(cls, files: pd.DataFrame, names: dict[str, NameTable] | None = None) -> Scores:
        """Returns the scores in files, one row per file; other readers may share the tables of names."""
        files = files.reset_index(drop=True)
        return cls(files, pd.DataFrame(), Reader(files, {} if names is None else names))

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Scores:
        """Returns scores that are rows in memory."""
        return replace(cls.stored(pd.DataFrame(columns=["path", *ABOUT])), derived=rows)

    @cached_property
    def _counts(self) -> pd.DataFrame:
        return self.reader.counts[self.reader.counts["file"].isin(self.files.index)]

    @cached_property
    def methods(self) -> pd.DataFrame:
        """One row per cell and explainer that has scores, with its family, in the order of the run."""
        scored = self.files[self.files.index.isin(self._counts["file"])][ABOUT]
        kinds: Any = {"seed": int} | dict.fromkeys(NAMES, object)
        parts = [part[ABOUT].astype(kinds) for part in (scored, self.derived) if len(part)]
        return pd.concat(parts).drop_duplicates(ignore_index=True) if parts else scored

    @cached_property
    def metrics(self) -> list[str]:
        """Stored names of all metrics."""
        derived = set(map(str, self.derived["metric"])) if len(self.derived) else set[str]()
        return sorted({*map(str, self._counts["metric"]), *derived})

    def __len__(self) -> int:
        return int(self._counts["rows"].sum()) + len(self.derived)

    def rows(self, metrics: Collection[str] | None = None) -> pd.DataFrame:
        """Returns the rows of these metrics, by their stored names (without variant); of all metrics by default.

        Names and images are categories in the order of their names. Without any score, there are no columns.
        """
        if not len(self):
            return self.derived[:0]
        derived = _of_metrics(self.derived, metrics)
        stored = self.reader.rows(self.files.index, None if metrics is None else tuple(metrics))
        if not len(derived):
            return stored
        return _joined([part for part in (stored, derived) if len(part)])

    def where(self, **wanted: Collection[Any]) -> Scores:
        """Returns the scores whose columns of ``ABOUT`` have one of these values."""
        key = tuple((column, tuple(values)) for column, values in wanted.items())
        if key not in self._parts:
            files, derived = self.files, self.derived
            for column, values in key:
                files = files[files[column].isin(values)]
                derived = derived[derived[column].isin(values)] if len(derived) else derived
            self._parts[key] = replace(self, files=files, derived=derived)
        return self._parts[key]

    def batches(self) -> list[Scores]:
        """Divides the scores into parts of whole methods with all their seeds, a metric of which fits into memory.

        A method is an explainer on a head, backbone and data set. A small run is one part.
        """
        if len(self) <= self.reader.kept_rows:
            return [self]
        stored = self._counts.groupby(["file", "metric"])["rows"].sum().groupby("file").max()
        sizes = self.files.assign(rows=stored).groupby(METHOD, sort=False)["rows"].sum()
        if len(self.derived):
            further = self.derived.groupby([*METHOD, "metric"], observed=True).size().groupby(METHOD).max()
            sizes = pd.concat([sizes, further]).groupby(METHOD, sort=False).max()
        batch = (sizes.cumsum() - 1) // self.reader.read_rows
        return [self._of(part.index) for _, part in sizes.groupby(batch)]

    def _of(self, methods: pd.Index) -> Scores:
        files, derived = (
            rows[pd.MultiIndex.from_frame(rows[METHOD]).isin(methods)] if len(rows) else rows
            for rows in (self.files, self.derived)
        )
        return replace(self, files=files, derived=derived)

    def with_derived(self, rows: pd.DataFrame) -> Scores:
        """Returns the scores with further rows."""
        return replace(self, derived=pd.concat([self.derived, rows], ignore_index=True) if len(self.derived) else rows)

    def __add__(self, other: Scores) -> Scores:
        """Joins the scores of two sets of files; the derived rows come last."""
        both = [one for one in (self.files, other.files) if len(one)]
        derived = [one for one in (self.derived, other.derived) if len(one)]
        joined = Scores.stored(pd.concat(both, ignore_index=True) if both else self.files, self.reader.names)
        return replace(joined, derived=pd.concat(derived, ignore_index=True) if derived else self.derived)

    def targets(self, images: Collection[str]) -> pd.Series:
        """Returns the explained class of these images, by image, in the first file that has each."""
        found: dict[str, int] = {}
        for path in self.files["path"]:
            if not (left := [one for one in images if one not in found]):
                break
            scan = pl.scan_parquet(path, glob=False).filter(pl.col("image").is_in(left))
            rows = scan.select("image", "target").unique("image", keep="first").collect()
            found |= dict(rows.iter_rows())
        return pd.Series(found, dtype="int64")


def _of_metrics(rows: pd.DataFrame, metrics: Collection[str] | None) -> pd.DataFrame:
    return rows if metrics is None or not len(rows) else rows[rows["metric"].isin(list(metrics))]


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Joins rows; categories are sorted, so that rows sorted by them are in the order of their names."""
    columns: dict[str, Any] = {}
    for name in (*SCORE_COLUMNS, *ABOUT):
        values = [part[name] for part in parts]
        if name in CATEGORIES:
            names = [pd.Categorical(one.astype("str")) for one in values]
            columns[name] = pd.api.types.union_categoricals(names, sort_categories=True).as_ordered()
        else:
            numbers = np.concatenate(values)
            columns[name] = numbers.astype(NARROW.get(name, numbers.dtype), copy=False)
    return pd.DataFrame(columns)
