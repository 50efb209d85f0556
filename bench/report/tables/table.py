"""The table type that every table of the report is built from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.statistics.intervals import ALIKE, Estimate, with_ties


@dataclass(frozen=True)
class Column:
    """One metric of a table; ``better`` is None where neither direction is, ``parts`` are what the CSV tells.

    ``mark`` refers to a note below the table; of a column that is not ``ranked`` no row is the best.
    """

    name: str
    better: bool | None
    parts: tuple[str, ...] = ("mean", "low", "high", "n", "undefined")
    mark: str = ""
    ranked: bool = True

    @property
    def title(self) -> str:
        """Name with its mark and an arrow that points to the better end."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.better]
        return self.name.replace("_", " ") + self.mark + arrow


@dataclass
class TableData:
    """A table before it is written.

    Attributes:
        keys: names of the columns that say what a row is.
        columns: the metrics.
        rows: key values and one ``Estimate`` (or None) a column name; what others report instead has no interval.
        competes: whether each row may be the best; controls may not.
        within: how many of the first keys rows have in common among which the best is marked.
        directions: of each row, where the columns are data sets instead of metrics.
        notes: lines below the table.
        reading: how to read the table, and the facts of the run that this takes; shown on the page only.
        marked: text of a key -> the same with its mark, which refers to a note; CSV files stay without.
    """

    caption: str
    keys: list[str]
    columns: list[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    competes: list[bool] = field(default_factory=list)
    within: int = 1
    directions: list[bool | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marked: dict[str, str] = field(default_factory=dict)
    reading: str = ""

    def copy(self) -> TableData:
        """Returns a table with the same rows that can be changed without changing this one."""
        rows = [dict(row) for row in self.rows]
        return replace(self, columns=[*self.columns], rows=rows, notes=[*self.notes], marked=dict(self.marked))

    def best(self) -> set[tuple[int, str]]:
        """(row, column) of the best means (ties are all best) of each data set and column among rows that compete."""
        found: set[tuple[int, str]] = set()
        rivals: dict[tuple[Any, ...], list[int]] = {}
        for index, row in enumerate(self.rows):
            if self.competes[index]:
                rivals.setdefault(tuple(row[key] for key in self.keys[: self.within]), []).append(index)
        for indices in rivals.values():
            for column in [column for column in self.columns if column.ranked]:
                better = self.directions[indices[0]] if self.directions else column.better
                means = {
                    index: self.rows[index][column.name].mean * (1 if better else -1)
                    for index in indices
                    if better is not None and is_number(self.rows[index].get(column.name))
                }
                if len(means) > 1:
                    ends = with_ties(np.array(list(means.values())), ALIKE)
                    found |= {(at, column.name) for at, mean in zip(means, ends, strict=True) if mean == ends.max()}
        return found

    def numbers(self) -> pd.DataFrame:
        """The table as plain numbers: mean, low, high, n and undefined of every column (or its own parts)."""
        rows = []
        for row in self.rows:
            flat = {key: row[key] for key in self.keys}
            for column in self.columns:
                estimate = row.get(column.name)
                for part in column.parts:
                    flat[f"{column.name}_{part}"] = getattr(estimate, part, np.nan)
            rows.append(flat)
        return pd.DataFrame(rows)


def is_number(estimate: Estimate | None) -> bool:
    return estimate is not None and np.isfinite(estimate.mean)


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
