"""Tables before they are written: one type for all of them, so that every table has the same rules for bold and n."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.statistics.intervals import ALIKE, Estimate, with_ties


@dataclass(frozen=True)
class Column:
    """One metric of a table.

    Attributes:
        name: of the metric.
        better: True if higher is better, False if lower is, None if neither is.
        parts: attributes of an entry that the CSV file holds.
        mark: refers to a note below the table.
        ranked: False if no row is the best.
    """

    name: str
    better: bool | None
    parts: tuple[str, ...] = ("mean", "low", "high", "n", "undefined")
    mark: str = ""
    ranked: bool = True

    @property
    def title(self) -> str:
        """Name with its mark and an arrow that points to the better direction."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.better]
        return self.name.replace("_", " ") + self.mark + arrow


@dataclass
class TableData:
    """A table before it is written.

    Attributes:
        caption: one sentence above the table.
        keys: names of the columns that name a row.
        columns: the metrics.
        rows: key values and one ``Estimate`` (or None) per column; a reported value has no interval.
        competes: True for each row that may be the best; controls may not.
        within: number of leading keys that rows share among which the best is marked.
        directions: direction of each row, if the columns are data sets instead of metrics.
        notes: lines below the table: facts of the run, results in words, and gaps.
        reading: how to read the table, and the facts of the run that this takes; shown on the page only.
        marked: text of a key -> the same with a mark that refers to a note; CSV files have no marks.
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
        """Returns (row, column) of the best means among the rows that compete; ties are all best."""
        found: set[tuple[int, str]] = set()
        rivals: dict[tuple[Any, ...], list[int]] = {}
        for index, row in enumerate(self.rows):
            if self.competes[index]:
                rivals.setdefault(tuple(row[key] for key in self.keys[: self.within]), []).append(index)
        for indices in rivals.values():
            signs = self._signs(indices[0])
            means = [[_mean(self.rows[index].get(name)) * sign for index in indices] for name, sign in signs.items()]
            for name, ends in zip(signs, with_ties(np.array(means), ALIKE), strict=True):
                if np.isfinite(ends).sum() > 1:
                    found |= {(indices[place], name) for place in np.flatnonzero(ends == np.nanmax(ends))}
        return found

    def _signs(self, index: int) -> dict[str, int]:
        """Returns column -> 1 if higher is better in this row, otherwise -1; without columns that have no best row."""
        directions = {one.name: self.directions[index] if self.directions else one.better for one in self.columns}
        ranked = [one.name for one in self.columns if one.ranked and directions[one.name] is not None]
        return {name: 1 if directions[name] else -1 for name in ranked}

    def numbers(self) -> pd.DataFrame:
        """Returns the table as plain numbers: mean, low, high, n and undefined of every column (or its own parts)."""
        rows = []
        for row in self.rows:
            flat = {key: row[key] for key in self.keys}
            for column in self.columns:
                estimate = row.get(column.name)
                for part in column.parts:
                    flat[f"{column.name}_{part}"] = getattr(estimate, part, np.nan)
            rows.append(flat)
        return pd.DataFrame(rows)


def _mean(estimate: Estimate | None) -> float:
    return estimate.mean if estimate is not None and is_number(estimate) else math.nan


def is_number(estimate: Estimate | None) -> bool:
    """Returns True if there is a finite mean."""
    return estimate is not None and math.isfinite(estimate.mean)


@dataclass
class FrameTable(TableData):
    """A table whose CSV file holds every column of a frame, and whose other notations hold the chosen ones."""

    frame: pd.DataFrame = field(default_factory=pd.DataFrame)

    def numbers(self) -> pd.DataFrame:
        """Returns the whole frame."""
        return self.frame


def frame_table(
    caption: str, frame: pd.DataFrame, keys: list[str], estimates: dict[str, str], numbers: list[str]
) -> FrameTable:
    """Returns a table of a frame in which no row is best, because it shows differences.

    Args:
        caption: one sentence above the table.
        frame: with a column ``n``.
        keys: text columns.
        estimates: column that holds a mean -> prefix of the columns ``<prefix>low`` and ``<prefix>high``, and of
            ``<prefix>n`` if there is one; otherwise ``n`` is used.
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
