"""Scores of a run, read from its Parquet files metric by metric, so that no table needs all rows in memory.

Polars reads them: a scan of one metric skips the steps of curves and takes half the time of DuckDB on such files
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from bench.store.scores import SCORE_COLUMNS

CELL = ["dataset", "backbone", "head", "seed"]
#: Columns that name what a file of scores belongs to.
ABOUT = [*CELL, "explainer", "family"]
#: Columns in which few values repeat, which categories store in a byte or four per row.
_NAMES = [name for name in ABOUT if name != "seed"]
CATEGORIES = ("image", "group", "metric", "variant", *_NAMES)
#: Rows of a run that are read at once and kept; the metrics of a larger run are read one after the other.
KEPT_ROWS = 2_000_000
_SCORED = (pl.col("step") < 0) & (pl.col("image") != "")
_NARROW = {"label": np.int16, "predicted": np.int16, "target": np.int16, "step": np.int8}


@dataclass(eq=False)
class _Reader:
    """Reads files of scores; keeps the rows of a small run, and the last ones of a large run.

    Attributes:
        files: one row per file, with its path and the columns ``ABOUT``.
    """

    files: pd.DataFrame
    _last: tuple[Any, pd.DataFrame, NDArray[np.intp]] | None = None
    _curves: tuple[Any, pd.DataFrame, dict[str, slice]] | None = None
    _names: dict[str, tuple[pl.Series, pl.Enum, pd.CategoricalDtype]] = field(default_factory=dict)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Number of rows by path, metric and variant."""
        if not len(self.files):
            return pd.DataFrame({"path": [], "metric": [], "variant": [], "rows": []})
        scan = pl.scan_parquet(list(self.files["path"]), glob=False, include_file_paths="path").filter(_SCORED)
        counted = scan.group_by("path", "metric", "variant").agg(pl.len().alias("rows")).collect(engine="streaming")
        return pd.DataFrame(counted.to_dict(as_series=False))

    @cached_property
    def _every(self) -> tuple[pd.DataFrame, NDArray[np.intp]]:
        """All rows, and the number of the file of each."""
        return self._read(None)

    def _read(self, metrics: Collection[str] | None) -> tuple[pd.DataFrame, NDArray[np.intp]]:
        """Reads the rows of metrics in all files, and the number of the file of each."""
        tables = [_of_file(path, metrics) for path in self.files["path"]]
        file = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        if not tables:
            return _joined([]), file
        columns = dict[str, Any]()
        for name in SCORE_COLUMNS:
            parts = [table[name] for table in tables]
            if name in CATEGORIES:
                columns[name] = self._coded(name, parts)
            else:
                values = np.concatenate([part.to_numpy() for part in parts])
                columns[name] = values.astype(_NARROW.get(name, values.dtype), copy=False)
        for name in ABOUT:
            of_file = self.files[name]
            columns[name] = (of_file.to_numpy() if name == "seed" else pd.Categorical(of_file.astype("str")))[file]
        return pd.DataFrame(columns), file

    def _coded(self, name: str, parts: list[pl.Series]) -> pd.Categorical:
        """Returns a column, file by file, as categories in the order of their names, which the reader numbers once.

        Files that follow each other mostly list the same names, which are looked up once.
        """
        distinct, place = parts[:1], list[int]()
        for part in parts:
            if not part.equals(distinct[-1]):
                distinct.append(part)
            place.append(len(distinct) - 1)
        values, ends = pl.concat(distinct), np.cumsum([len(one) for one in distinct])[:-1]
        names, kind, dtype = self._names.get(name, (values[:0], pl.Enum([]), None))
        codes = values.cast(kind, strict=False)
        if dtype is None or codes.null_count():
            names = pl.concat([names, values.unique()]).unique().sort()
            kind, dtype = pl.Enum(names), pd.CategoricalDtype(pd.Index(names.to_list(), dtype="str"))
            self._names[name] = names, kind, dtype
            codes = values.cast(kind)
        each = np.split(codes.to_physical().to_numpy(), ends)
        return pd.Categorical.from_codes(np.concatenate([each[at] for at in place]), dtype=dtype, validate=False)

    @cached_property
    def _by_metric(self) -> dict[str, tuple[pd.DataFrame, NDArray[np.intp]]]:
        rows, file = self._every
        places = rows.groupby("metric", sort=False).indices
        return {str(name): (rows.iloc[place], file[place]) for name, place in places.items()}

    def curve(self, path: str, metric: str, variant: str) -> pd.DataFrame:
        """Reads image, group, step and value of a curve; the files of a small run are read together."""
        if not self._few_steps or path not in self._paths:
            return self._curve_rows(_steps(pl.scan_parquet(path, glob=False), metric, variant))
        if self._curves is None or self._curves[0] != (metric, variant):
            rows = _steps(
                pl.scan_parquet(list(self.files["path"]), glob=False, include_file_paths="path"), metric, variant
            )
            ends = rows["path"].rle().struct.unnest()  # the rows of a file follow each other
            last = ends["len"].cum_sum().to_list()
            places = dict(zip(ends["value"].to_list(), map(slice, [0, *last[:-1]], last), strict=True))
            self._curves = (metric, variant), self._curve_rows(rows), places
        _, found, places = self._curves
        return found.iloc[places.get(path, slice(0))]

    def _curve_rows(self, table: pl.DataFrame) -> pd.DataFrame:
        numbers = {name: table[name].to_numpy() for name in ("step", "value")}
        return pd.DataFrame({name: self._coded(name, [table[name]]) for name in ("image", "group")} | numbers)

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self.files["path"])

    @cached_property
    def _few_steps(self) -> bool:
        scan = pl.scan_parquet(list(self.files["path"]), glob=False) if len(self.files) else pl.LazyFrame({"path": []})
        return int(scan.select(pl.len()).collect().item()) <= 2 * KEPT_ROWS

    def rows(self, paths: tuple[str, ...], metrics: tuple[str, ...] | None) -> pd.DataFrame:
        """Returns the rows of these metrics in these files."""
        if self._few_rows and (metrics is None or len(metrics) > 1):
            rows, file = self._every
            inside = np.ones(len(rows), bool) if metrics is None else rows["metric"].isin(metrics).to_numpy()
            rows, file = rows[inside], file[inside]
        elif self._few_rows:
            rows, file = self._by_metric.get("".join(metrics or ()), (self._every[0][:0], self._every[1][:0]))
        else:
            if self._last is None or self._last[0] != metrics:
                self._last = None  # frees it before the next ones are read
                self._last = metrics, *self._read(metrics)
            _, rows, file = self._last
        chosen = self.files["path"].isin(paths).to_numpy()
        return rows if chosen.all() else rows[chosen[file]]

    @cached_property
    def _few_rows(self) -> bool:
        return int(self.counts["rows"].sum()) <= KEPT_ROWS


@dataclass(frozen=True, eq=False)
class Scores:
    """Long rows of scores: files that are read on demand, then rows that were derived from others.

    Attributes:
        files: one row per file, with its path and the columns ``ABOUT``.
        derived: rows with the columns of a score file and ``ABOUT``; empty without any.
        reader: of these files and perhaps others.
    """

    files: pd.DataFrame
    derived: pd.DataFrame
    reader: _Reader

    @classmethod
    def stored(cls, files: pd.DataFrame) -> Scores:
        """Returns the scores in files, one row per file."""
        return cls(files, pd.DataFrame(), _Reader(files))

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Scores:
        """Returns scores that are rows in memory."""
        return replace(cls.stored(pd.DataFrame(columns=["path", *ABOUT])), derived=rows)

    @cached_property
    def _counts(self) -> pd.DataFrame:
        return self.reader.counts[self.reader.counts["path"].isin(self.files["path"])]

    @cached_property
    def methods(self) -> pd.DataFrame:
        """One row per cell and explainer that has scores, with its family, in the order of the run."""
        scored = self.files[self.files["path"].isin(self._counts["path"])][ABOUT]
        parts = [
            part[ABOUT].astype({"seed": int} | dict.fromkeys(_NAMES, object))
            for part in (scored, self.derived)
            if len(part)
        ]
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
        stored = self.reader.rows(tuple(self.files["path"]), None if metrics is None else tuple(metrics))
        if not len(derived):
            return stored
        parts = [part for part in (stored, derived) if len(part)]
        return _joined([{name: _column(name, part[name]) for name in (*SCORE_COLUMNS, *ABOUT)} for part in parts])

    def where(self, **wanted: Collection[Any]) -> Scores:
        """Returns the scores whose columns of ``ABOUT`` have one of these values."""
        files, derived = self.files, self.derived
        for column, values in wanted.items():
            files = files[files[column].isin(list(values))]
            derived = derived[derived[column].isin(list(values))] if len(derived) else derived
        return replace(self, files=files, derived=derived)

    def with_derived(self, rows: pd.DataFrame) -> Scores:
        """Returns the scores with further rows."""
        return replace(self, derived=pd.concat([self.derived, rows], ignore_index=True) if len(self.derived) else rows)

    def __add__(self, other: Scores) -> Scores:
        """Joins the scores of two sets of files; the derived rows come last."""
        both = [one for one in (self.files, other.files) if len(one)]
        derived = [one for one in (self.derived, other.derived) if len(one)]
        joined = Scores.stored(pd.concat(both, ignore_index=True) if both else self.files)
        return replace(joined, derived=pd.concat(derived, ignore_index=True) if derived else self.derived)

    def targets(self, images: Collection[str]) -> pd.Series:
        """Returns the explained class of these images, by image, in the first file that has each."""
        found: dict[str, int] = {}
        for path in self.files["path"]:
            left = [one for one in images if one not in found]
            if not left:
                break
            scan = pl.scan_parquet(path, glob=False).filter(pl.col("image").is_in(left))
            rows = scan.select("image", "target").unique("image", keep="first").collect()
            found |= dict(rows.iter_rows())
        return pd.Series(found, dtype="int64")


_OF_CURVE = ("image", "group", "step", "value")


def _steps(scan: pl.LazyFrame, metric: str, variant: str) -> pl.DataFrame:
    wanted = (pl.col("metric") == metric) & (pl.col("variant") == variant) & (pl.col("step") >= 0)
    return (
        scan.filter(wanted).select(*_OF_CURVE, *(name for name in ("path",) if name in scan.collect_schema())).collect()
    )


def _of_metrics(rows: pd.DataFrame, metrics: Collection[str] | None) -> pd.DataFrame:
    return rows if metrics is None or not len(rows) else rows[rows["metric"].isin(list(metrics))]


def _column(name: str, values: pd.Series) -> Any:
    if name in CATEGORIES:
        return pd.Categorical(values.astype("str"))
    return values.to_numpy()


def _of_file(path: str, metrics: Collection[str] | None) -> pl.DataFrame:
    """Reads the scores in one file."""
    scan = pl.scan_parquet(path, glob=False).filter(_SCORED)
    if metrics is not None:
        scan = scan.filter(pl.col("metric").is_in(list(metrics)))
    return scan.select(SCORE_COLUMNS).collect()


def _joined(parts: list[dict[str, Any]]) -> pd.DataFrame:
    """Joins columns; categories are sorted, so that rows sorted by them are in the order of their names."""
    if not parts:
        return pd.DataFrame({name: [] for name in (*SCORE_COLUMNS, *ABOUT)})
    columns: dict[str, Any] = {}
    for name in list(parts[0]):
        values = [part[name] for part in parts]
        if name in CATEGORIES:
            columns[name] = pd.api.types.union_categoricals(values, sort_categories=True)
        else:
            columns[name] = np.concatenate(values).astype(_NARROW.get(name, values[0].dtype), copy=False)
    return pd.DataFrame(columns)
