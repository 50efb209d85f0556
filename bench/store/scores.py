"""Score files: long rows in parquet, with the fingerprint that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.files import Place
from bench.store.stored_files import file_stamp

SCORE_SCHEMA = pa.schema(
    {
        **dict.fromkeys(("image", "group"), pa.string()),
        **dict.fromkeys(("label", "predicted", "target"), pa.int64()),
        "diseased": pa.bool_(),
        **dict.fromkeys(("metric", "variant"), pa.string()),
        "step": pa.int64(),
        "value": pa.float64(),
    }
)
SCORE_COLUMNS = tuple(SCORE_SCHEMA.names)


def write_scores(place: Place, parts: Iterable[pd.DataFrame], **metadata: str) -> None:
    """Writes long rows, part after part, with string metadata, to the file of ``place``."""
    with place as temporary, pq.ParquetWriter(temporary, SCORE_SCHEMA.with_metadata(metadata)) as writer:
        for rows in parts:
            table = pa.Table.from_pandas(rows[list(SCORE_COLUMNS)], schema=SCORE_SCHEMA, preserve_index=False)
            writer.write_table(table.replace_schema_metadata(metadata))


def write_study(place: Place, rows: pd.DataFrame, **metadata: str) -> None:
    """Writes rows of any columns with string metadata to the file of ``place``."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata((table.schema.metadata or {}) | metadata)
    with place as temporary:
        pq.write_table(table, temporary)


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata of a scores file; that of an unchanged file is read once per process.

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowInvalid: it is not a parquet file.
    """
    return dict(_metadata_of_stamp(path, file_stamp(path)))


def read_through(path: Path) -> None:
    """Reads every row of a scores file, some after the other, to see whether it can be read.

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowInvalid: it is not a parquet file.
    """
    with pq.ParquetFile(path) as file:
        for part in range(file.num_row_groups):
            file.read_row_group(part)


@lru_cache(maxsize=4096)
def _metadata_of_stamp(path: Path, stamp: tuple[int, ...]) -> dict[str, str]:
    metadata = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}
