"""Rows of many small Parquet files as one frame: a frame per file would take most of the time of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.folders import CellStore
from bench.store.scores import SCORE_COLUMNS


def read_table(path: Path) -> pa.Table:
    """Reads a file in this thread: on small files, threads cost more than they save."""
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False).replace_schema_metadata()


def with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """Returns a table with columns that have the same value in each row; they replace those of the same name."""
    for name, value in facts.items():
        column = pa.repeat(pa.scalar(value), len(table))
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return table


def joined(tables: list[pa.Table]) -> pd.DataFrame:
    """Joins tables; numbers of different types become the wider one, and a column that one lacks is empty there."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column with words in one table and numbers in another
        return pd.concat([table.to_pandas() for table in tables], ignore_index=True)


def costs(cell: CellStore, explainers: list[str]) -> Iterator[tuple[str, str, pa.Table]]:
    """Yields explainers with readable scores, the paths of these, and the rows about their cost."""
    paths = {name: cell.scores_file(name) for name in explainers}
    good = {name: str(path) for name, path in paths.items() if cell.files.is_good(path, pq.read_table)}
    if not good:
        return
    scan = pl.scan_parquet(list(good.values()), include_file_paths="path").filter(pl.col("image") == "")
    parts = scan.select(*SCORE_COLUMNS, "path").collect().partition_by("path", as_dict=True, include_key=False)
    nothing = pl.DataFrame(schema=scan.select(SCORE_COLUMNS).collect_schema())
    for name, path in good.items():
        yield name, path, parts.get((path,), nothing).to_arrow()
