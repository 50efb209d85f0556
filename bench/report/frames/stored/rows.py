"""Facts about images in the files of a run, such as predictions, read when they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.report.frames.stored.reader import CELL, TEXT_ROWS
from bench.statistics.bootstrap.columns import NameTable, with_codes
from bench.statistics.bootstrap.names import Names


@dataclass(frozen=True, eq=False)
class StoredRows:
    """One row per image in each of some files.

    Attributes:
        files: one row per file, with its path and facts about it: the columns ``CELL``, and with cross-validation the
            ``fold``.
        tables: column -> table of its names, which other readers may share.
        names: columns of names.
    """

    files: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", *CELL]))
    tables: dict[str, NameTable] = field(default_factory=dict)
    names: tuple[str, ...] = ("image", "group")

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self.files)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the files, in order."""
        return sorted(map(int, self.files["seed"].unique()))

    def where(self, **wanted: Collection[Any]) -> StoredRows:
        """Returns the files whose facts are among these values."""
        files = self.files
        for column, values in wanted.items():
            files = files[files[column].isin(list(values))]
        return replace(self, files=files)

    def by(self, *columns: str) -> Iterator[tuple[tuple[str, ...], StoredRows]]:
        """Yields the values of these facts as text, and the files that have them."""
        for key, files in self.files.groupby(list(columns), sort=False):
            yield tuple(map(str, key)), replace(self, files=files)

    def rows(self, *columns: str) -> pd.DataFrame:
        """Reads all files.

        Args:
            columns: of the files that are read, by default all.

        Returns:
            These columns, nan where a file lacks one, and the facts about the files. Columns of names are categories,
            sorted by name. Without any file, there are no rows.
        """
        if not len(self.files):
            return pd.DataFrame(columns=[*self.files.columns.drop("path"), *self.names, "label"])
        parts = [_read(path, list(columns)) for path in self.files["path"]]
        names = [name for name in self.names if name in (columns or self.names)]
        known = {name: self.tables.setdefault(name, NameTable()) for name in names}
        return with_codes(parts, self.files.drop(columns="path"), known)

    def count(self) -> tuple[int, ...]:
        """Counts the images and groups, each once."""
        rows = self.rows(*self.names)
        return tuple(len(Names.of(rows[name]).known) for name in self.names)


def _read(path: str, columns: list[str]) -> Iterator[pa.Table]:
    """Reads a file in this thread, so many rows at a time that little text is in memory."""
    with pq.ParquetFile(path) as file:
        known = [name for name in file.schema_arrow.names if not columns or name in columns]
        if not file.metadata.num_rows:
            yield file.schema_arrow.empty_table().select(known).replace_schema_metadata()
        for batch in file.iter_batches(TEXT_ROWS, columns=known, use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata()
