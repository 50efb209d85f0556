"""Reading of score files, metric by metric, so that no table needs all rows in memory.

Polars reads them: a scan of one metric skips the steps of curves and takes half the time of DuckDB on such files
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from bench.statistics.bootstrap.columns import Coded, Codes, NameTable, Numbers, repeated
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
#: Rows of a larger run whose names are text in memory at once, before they are numbers.
TEXT_ROWS = 100_000
_SCORED = (pl.col("step") < 0) & (pl.col("image") != "")
_ROW = "row of the file"
NARROW = dict[str, type[np.integer[Any]]](label=np.int16, predicted=np.int16, target=np.int16, step=np.int8)


@dataclass(eq=False)
class Reader:
    """Reads files of scores; keeps all rows of a small run and the parts that were asked for, of a large run none.

    Attributes:
        files: one row per file, with its path and the columns ``ABOUT``, numbered from 0 by the index.
        names: column -> table of its names, which other readers may share.
    """

    files: pd.DataFrame
    names: dict[str, NameTable] = field(default_factory=dict)
    _parts: dict[Any, pd.DataFrame] = field(default_factory=dict)
    _curves: tuple[Any, pd.DataFrame, dict[str, slice]] | None = None

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Number of rows by file, metric and variant."""
        if not len(self.files):
            return pd.DataFrame({"file": [], "metric": [], "variant": [], "rows": []})
        paths = list(self.files["path"])
        together = [paths] if self._few_steps else [[path] for path in paths]  # at once, large files take much memory
        counted: pl.DataFrame = pl.concat([_counts(some) for some in together])
        found = pd.DataFrame(counted.to_dict(as_series=False))
        number = dict(zip(self.files["path"], self.files.index, strict=True))
        return found.assign(file=[number[path] for path in found.pop("path")])

    @cached_property
    def _every(self) -> tuple[pd.DataFrame, Codes]:
        """All rows, and the number of the file of each."""
        return self._read(self.files, None)

    def _read(self, files: pd.DataFrame, metrics: Collection[str] | None) -> tuple[pd.DataFrame, Codes]:
        """Reads the rows of metrics in files, and the number of the file of each."""
        read = {name: self._column(name, NARROW.get(name)) for name in SCORE_COLUMNS}
        file, parts = list[Codes](), self._parts_of_files(metrics)
        for number, (index, path) in enumerate(files["path"].items()):
            for start, table in _of_file(path, metrics, parts.get(index, 1)):
                file.append(np.full(len(table), number, dtype=np.int32))
                for name, column in read.items():
                    column.add(table[name], start)
                del table  # before the next one is read
        if not file:
            return pd.DataFrame({name: [] for name in (*SCORE_COLUMNS, *ABOUT)}), np.array([], dtype=np.int32)
        columns, of_file = {name: read.pop(name).whole() for name in SCORE_COLUMNS}, np.concatenate(file)
        return pd.DataFrame(columns | repeated(files[ABOUT], of_file), copy=False), of_file

    def _parts_of_files(self, metrics: Collection[str] | None) -> dict[Any, int]:
        """Returns file -> number of parts in which its rows of metrics are read, so that little text is in memory."""
        if self._few_rows:
            return {}
        rows = self.counts if metrics is None else self.counts[self.counts["metric"].isin(list(metrics))]
        return dict(-(-rows.groupby("file")["rows"].sum() // TEXT_ROWS))

    def _column(self, name: str, narrow: type[np.integer[Any]] | None = None) -> Numbers | Coded:
        """Returns an empty column, whose names the reader numbers once."""
        return Coded(self.names.setdefault(name, NameTable())) if name in CATEGORIES else Numbers(narrow)

    @cached_property
    def _by_metric(self) -> dict[str, tuple[pd.DataFrame, Codes]]:
        rows, file = self._every
        places = rows.groupby("metric", sort=False).indices
        return {str(name): (rows.iloc[place], file[place]) for name, place in places.items()}

    def curve(self, path: str, metric: str, variant: str, images: Collection[str] | None = None) -> pd.DataFrame:
        """Reads image, group, step and value of a curve, of all images or of some.

        The files of a small run are read together, and the rows of all images are returned.
        """
        if not self._few_steps or path not in self._paths:
            wanted = _is_step(metric, variant)
            return self._curve_rows(_steps(path, wanted if images is None else wanted & pl.col("image").is_in(images)))
        if self._curves is None or self._curves[0] != (metric, variant):
            scan = pl.scan_parquet(list(self.files["path"]), glob=False, include_file_paths="path")
            rows = scan.filter(_is_step(metric, variant)).select(*_OF_CURVE, "path").collect()
            ends = rows["path"].rle().struct.unnest()  # the rows of a file follow each other
            last = ends["len"].cum_sum().to_list()
            places = dict(zip(ends["value"].to_list(), map(slice, [0, *last[:-1]], last), strict=True))
            self._curves = (metric, variant), self._curve_rows([rows]), places
        _, found, places = self._curves
        return found.iloc[places.get(path, slice(0))]

    def _curve_rows(self, tables: Iterable[pl.DataFrame]) -> pd.DataFrame:
        columns = {name: self._column(name) for name in _OF_CURVE}
        for number, table in enumerate(tables, 1):
            for name, column in columns.items():
                column.add(table[name], -number)  # names at places of scores in a file are guessed apart from these
        return pd.DataFrame({name: column.whole() for name, column in columns.items()})

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
            return self._read(self.files.loc[files], metrics)[0]
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


def _counts(paths: list[str]) -> pl.DataFrame:
    scan = pl.scan_parquet(paths, glob=False, include_file_paths="path").filter(_SCORED)
    return scan.group_by("path", "metric", "variant").agg(pl.len().alias("rows")).collect(engine="streaming")


_OF_CURVE = ("image", "group", "step", "value")


def _is_step(metric: str, variant: str) -> pl.Expr:
    return (pl.col("metric") == metric) & (pl.col("variant") == variant) & (pl.col("step") >= 0)


def _steps(path: str, wanted: pl.Expr) -> Iterator[pl.DataFrame]:
    """Yields the wanted steps of a file in parts, so that little text is in memory; the first has types but no rows."""
    with pq.ParquetFile(path, read_dictionary=["metric", "variant"]) as file:
        yield pl.DataFrame(file.schema_arrow.empty_table()).select(*_OF_CURVE)
        for batch in file.iter_batches(TEXT_ROWS, columns=[*_OF_CURVE, "metric", "variant"], use_threads=False):
            if len(rows := pl.DataFrame(batch).filter(wanted).select(*_OF_CURVE)):
                yield rows


def _of_file(path: str, metrics: Collection[str] | None, parts: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Reads the scores in one file, part by part, with the place of each in the file."""
    wanted = _SCORED if metrics is None else _SCORED & pl.col("metric").is_in(list(metrics))
    if parts == 1:
        yield 0, pl.scan_parquet(path, glob=False).filter(wanted).select(SCORE_COLUMNS).collect()
        return
    most = -(-pq.read_metadata(path).num_rows // parts)
    scan = pl.scan_parquet(path, glob=False, row_index_name=_ROW)
    for start in range(0, parts * most, most):  # a slice would be read whole before other metrics are left out
        inside = pl.col(_ROW).is_between(start, start + most, closed="left")
        yield start, scan.filter(wanted & inside).select(SCORE_COLUMNS).collect()
