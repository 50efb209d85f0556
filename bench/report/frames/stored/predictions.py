"""Predictions of classifiers in the files of a run, read when they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.report.frames.stored.reader import CELL, TEXT_ROWS
from bench.statistics.bootstrap.columns import NameTable, with_codes

_NAMES = ("image", "group")


@dataclass(frozen=True, eq=False)
class StoredPredictions:
    """Predictions on the test images, in one file per cell and fold.

    Attributes:
        files: one row per file, with its path, the columns ``CELL``, and with cross-validation the ``fold``.
        names: tables of the names of images and groups, which other readers may share.
    """

    files: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", *CELL]))
    names: dict[str, NameTable] = field(default_factory=dict)

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self.files)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the classifiers, in order."""
        return sorted(map(int, self.files["seed"].unique()))

    def where(self, **wanted: Collection[Any]) -> StoredPredictions:
        """Returns the predictions whose columns of ``CELL`` have one of these values."""
        files = self.files
        for column, values in wanted.items():
            files = files[files[column].isin(list(values))]
        return replace(self, files=files)

    def by(self, *columns: str) -> Iterator[tuple[tuple[str, ...], StoredPredictions]]:
        """Yields the values of these columns of ``CELL`` as text, and the predictions that have them."""
        for key, files in self.files.groupby(list(columns), sort=False):
            yield tuple(map(str, key)), replace(self, files=files)

    def rows(self, *columns: str) -> pd.DataFrame:
        """Reads one row per cell and test image, with names as categories in their order.

        Args:
            columns: of the files that are read; all by default.

        Returns:
            image, group, label (``label_0`` … with several labels per image), logits in ``logit_0`` …, nan if a data
            set has fewer classes; the columns ``CELL``, and with cross-validation the ``fold``.
        """
        if not len(self.files):
            return pd.DataFrame(columns=[*CELL, "image", "group", "label"])
        tables = [_read(path, list(columns)) for path in self.files["path"]]
        names = {name: self.names.setdefault(name, NameTable()) for name in columns or _NAMES if name in _NAMES}
        return with_codes(tables, self.files.drop(columns="path"), names)

    def count(self) -> tuple[int, int]:
        """Counts images and groups, each once."""
        rows = self.rows(*_NAMES)
        images, groups = (rows[name].cat.remove_unused_categories().cat.categories for name in _NAMES)
        return len(images), len(groups)


def _read(path: str, columns: list[str]) -> Iterator[pa.Table]:
    """Reads a file in this thread, so many rows at a time that little text is in memory."""
    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)  # for a file without rows
        for batch in file.iter_batches(TEXT_ROWS, columns=columns or None, use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata()
