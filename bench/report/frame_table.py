"""Tables whose numbers are ready: a data frame with text columns, estimates and plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.report.tables import Column, TableData
from bench.statistics import Estimate


@dataclass
class FrameTable(TableData):
    """A table of which the CSV holds every column of a frame, and the other notations the chosen ones."""

    frame: pd.DataFrame = field(default_factory=pd.DataFrame)

    def numbers(self) -> pd.DataFrame:
        """The whole frame."""
        return self.frame


def frame_table(
    caption: str, frame: pd.DataFrame, keys: list[str], estimates: dict[str, str], numbers: list[str]
) -> FrameTable:
    """A table without marks; nobody is best where differences are shown.

    Args:
        caption: above the table.
        frame: with a column ``n``.
        keys: text columns.
        estimates: column that holds a mean -> prefix of the columns ``<prefix>low`` and ``<prefix>high``, and of
            ``<prefix>n`` where that is not ``n``.
        numbers: columns of plain numbers.
    """
    table = FrameTable(caption, keys, [Column(name, None) for name in [*estimates, *numbers]], frame=frame)
    for row in frame.to_dict("records"):
        cells = {key: row[key] for key in keys}
        for name, prefix in estimates.items():
            n = row.get(f"{prefix}n", row["n"])
            ends = row[f"{prefix}low"], row[f"{prefix}high"]
            cells[name] = Estimate(row[name], *ends, int(n) if np.isfinite(n) else 0)
        for name in numbers:
            cells[name] = Estimate(float(row[name]), np.nan, np.nan, int(row["n"]))
        table.rows.append(cells)
        table.competes.append(False)
    return table
