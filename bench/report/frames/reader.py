"""Reading of score files, metric by metric, so that no table needs all rows in memory.

Polars reads them: a scan of one metric skips the steps of curves and takes half the time of DuckDB on such files
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from bench.store.scores import SCORE_COLUMNS

CELL = ["dataset", "backbone", "head", "seed"]
METHOD = ["dataset", "backbone", "head", "explainer"]
#: Columns that name what a file of scores belongs to.
ABOUT = [*CELL, "explainer", "family"]
#: Columns in which few values repeat, which categories store in a byte or four per row.
NAMES = [name for name in ABOUT if name != "seed"]
CATEGORIES = ("image", "group", "metric", "variant", *NAMES)
#: Rows of a run that are kept; of a larger run, some methods of one metric are read at once, with so many rows.
KEPT_ROWS, READ_ROWS = 2_000_000, 1_000_000
Codes = NDArray[np.integer[Any]]
#: Text that takes few bytes, for the names of many images.
_COMPACT = pd.StringDtype("pyarrow", na_value=np.nan)
_NO_NAMES = pd.CategoricalDtype(pd.Index([], dtype=_COMPACT), ordered=True)
_SCORED = (pl.col("step") < 0) & (pl.col("image") != "")
NARROW = {"label": np.int16, "predicted": np.int16, "target": np.int16, "step": np.int8}


@dataclass(eq=False)
class Reader:
    """Reads files of scores; keeps all rows of a small run and the parts that were asked for, of a large run the last.

    Attributes:
        files: one row per file, with its path and the columns ``ABOUT``, numbered from 0 by the index.
    """

    files: pd.DataFrame
    _last: tuple[Any, pd.DataFrame] | None = None
    _parts: dict[Any, pd.DataFrame] = field(default_factory=dict)
    _curves: tuple[Any, pd.DataFrame, dict[str, slice]] | None = None
    _names: dict[str, tuple[pl.Series, pd.CategoricalDtype]] = field(default_factory=dict)
    _codes: dict[str, Codes] = field(default_factory=dict)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Number of rows by file, metric and variant."""
        if not len(self.files):
            return pd.DataFrame({"file": [], "metric": [], "variant": [], "rows": []})
        scan = pl.scan_parquet(list(self.files["path"]), glob=False, include_file_paths="path").filter(_SCORED)
        counted = scan.group_by("path", "metric", "variant").agg(pl.len().alias("rows")).collect(engine="streaming")
        found = pd.DataFrame(counted.to_dict(as_series=False))
        number = dict(zip(self.files["path"], self.files.index, strict=True))
        return found.assign(file=[number[path] for path in found.pop("path")])

    @cached_property
    def _every(self) -> tuple[pd.DataFrame, NDArray[np.intp]]:
        """All rows, and the number of the file of each."""
        return self._read(self.files, None)

    def _read(self, files: pd.DataFrame, metrics: Collection[str] | None) -> tuple[pd.DataFrame, NDArray[np.intp]]:
        """Reads the rows of metrics in files, and the number of the file of each."""
        tables = [_of_file(path, metrics) for path in files["path"]]
        file = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        if not tables:
            return pd.DataFrame({name: [] for name in (*SCORE_COLUMNS, *ABOUT)}), file
        columns = dict[str, Any]()
        for name in SCORE_COLUMNS:
            parts = [table[name] for table in tables]
            if name in CATEGORIES:
                columns[name] = self._coded(name, parts)
            else:
                values = np.concatenate([part.to_numpy() for part in parts])
                columns[name] = values.astype(NARROW.get(name, values.dtype), copy=False)
        for name in ABOUT:
            of_file = files[name]
            columns[name] = of_file.to_numpy()[file] if name == "seed" else _names(of_file)[file]
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
        names, dtype = self._names.get(name, (values[:0], _NO_NAMES))
        codes, are_known = _places(values, names, self._codes.get(name))
        if not are_known:
            names = pl.concat([names, values.unique()]).unique().sort()
            known = pd.Index(names.to_arrow(), dtype=_COMPACT)
            # The copy lacks the table by which pandas has checked that the names are unique.
            dtype = deepcopy(pd.CategoricalDtype(known, ordered=True))
            self._names[name] = names, dtype
            codes, _ = _places(values, names)
        self._codes[name] = codes
        each = np.split(codes, ends)
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

    def rows(self, files: pd.Index, metrics: tuple[str, ...] | None) -> pd.DataFrame:
        """Returns the rows of these metrics in the files of these numbers."""
        key = metrics, tuple(files)
        if self._few_rows and (metrics is None or len(metrics) > 1):
            rows, file = self._every
            inside = np.ones(len(rows), bool) if metrics is None else rows["metric"].isin(metrics).to_numpy()
            rows, file = rows[inside], file[inside]
        elif self._few_rows:
            rows, file = self._by_metric.get("".join(metrics or ()), (self._every[0][:0], self._every[1][:0]))
        else:
            if self._last is None or self._last[0] != key:
                self._last = None  # frees it before the next ones are read
                self._last = key, self._read(self.files.loc[files], metrics)[0]
            return self._last[1]
        if len(files) == len(self.files):
            return rows
        if key not in self._parts:
            chosen = np.zeros(len(self.files), dtype=bool)
            chosen[files] = True
            self._parts[key] = rows[chosen[file]]
        return self._parts[key]

    @cached_property
    def _few_rows(self) -> bool:
        return int(self.counts["rows"].sum()) <= KEPT_ROWS

    @property
    def kept_rows(self) -> int:
        """Most rows that are kept in memory."""
        return KEPT_ROWS

    @property
    def read_rows(self) -> int:
        """Rows of one metric of a larger run that are read at once, if no method has more."""
        return min(READ_ROWS, KEPT_ROWS)


def _names(of_file: pd.Series) -> Any:
    """Returns names as categories in their order, so that nothing sorts them again."""
    return pd.Categorical(of_file.astype("str"), ordered=True)


def _places(values: pl.Series, names: pl.Series, guess: Codes | None = None) -> tuple[Codes, bool]:
    """Returns the place of each value among sorted names, and whether all are among them; makes no table of them.

    A guess that is right takes a tenth of the time: files of a data set mostly list the same images.
    """
    if not len(names):
        return np.zeros(len(values), dtype=np.int8), not len(values)
    if guess is not None and len(guess) == len(values) and (names.gather(guess) == values).all():
        return guess, True
    found = names.search_sorted(values).clip(upper_bound=len(names) - 1)
    return found.to_numpy(), bool((names.gather(found) == values).all())


_OF_CURVE = ("image", "group", "step", "value")


def _steps(scan: pl.LazyFrame, metric: str, variant: str) -> pl.DataFrame:
    wanted = (pl.col("metric") == metric) & (pl.col("variant") == variant) & (pl.col("step") >= 0)
    return scan.filter(wanted).select(*_OF_CURVE, *({"path"} & set(scan.collect_schema()))).collect()


def _of_file(path: str, metrics: Collection[str] | None) -> pl.DataFrame:
    """Reads the scores in one file."""
    scan = pl.scan_parquet(path, glob=False).filter(_SCORED)
    if metrics is not None:
        scan = scan.filter(pl.col("metric").is_in(list(metrics)))
    return scan.select(SCORE_COLUMNS).collect()
