"""Every score of a run in one file, for whoever goes on with it."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.files import Place
from bench.report.frames import CELL, Frames
from bench.store import SCORE_SCHEMA

_ABOUT = {name: pa.int64() if name == "seed" else pa.string() for name in (*CELL, "explainer", "family")}


def write_long_frame(frames: Frames, derived: pd.DataFrame, place: Place) -> None:
    """One row an image, method, metric and step, without those of the cost; one explainer is read at a time.

    Args:
        derived: rows of ``frames.scores`` that no explainer's file holds.
        place: of the file.
    """
    schema = pa.schema([*SCORE_SCHEMA, *_ABOUT.items()])
    with place as temporary, pq.ParquetWriter(temporary, schema) as writer:
        if len(derived):
            writer.write_table(pa.Table.from_pandas(derived, schema=schema, preserve_index=False))
        for row in frames.explained.itertuples():
            file = frames.cell(row).scores_file(str(row.explainer))
            table = pq.read_table(file, filters=pc.field("image") != "")
            for name, kind in _ABOUT.items():
                table = table.append_column(name, pa.repeat(pa.scalar(getattr(row, name), kind), len(table)))
            writer.write_table(table.cast(schema))
