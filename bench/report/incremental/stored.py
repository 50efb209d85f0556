"""Tables of a topic as JSON, from which a later report takes them instead of computing them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.report.contents import Part
from bench.report.gaps import Missing
from bench.report.tables.reported import Reported
from bench.report.tables.table import Column, FrameTable, TableData
from bench.statistics.intervals import Estimate
from bench.store.manifest import Manifest

#: Folder of these files in a run folder.
FOLDER = ".report"
_PLAIN = ("caption", "keys", "competes", "within", "directions", "notes", "marked", "reading")


def read_part(folder: Path, name: str, key: str) -> Part | None:
    """Reads the part of a topic that was made from the inputs ``key``; None if there is none or it is damaged."""
    try:
        stored = json.loads((folder / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        if stored["key"] != key:
            return None
        tables = {one: _table(values) for one, values in stored["tables"].items()}
        missing = [Missing(**values | {"studies": tuple(values["studies"])}) for values in stored["missing"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Part(tables, missing)


def write_part(files: Manifest, name: str, key: str, part: Part) -> None:
    """Writes the part of a topic for later reports."""
    content = {
        "key": key,
        "tables": {one: _values(table) for one, table in part.tables.items()},
        "missing": [asdict(one) for one in part.missing],
    }
    with files.inside(FOLDER).replacing(f"{name}.json") as temporary:
        temporary.write_text(json.dumps(content, default=_plain), encoding="utf-8")


def _values(table: TableData) -> dict[str, Any]:
    found = {name: getattr(table, name) for name in _PLAIN}
    found["columns"] = [asdict(column) for column in table.columns]
    found["rows"] = [{name: _entry(value) for name, value in row.items()} for row in table.rows]
    if isinstance(table, FrameTable):
        found["frame"] = [[name, str(values.dtype), values.tolist()] for name, values in table.frame.items()]
    return found


def _entry(value: Any) -> Any:
    for kind in (Estimate, Reported):
        if isinstance(value, kind):
            return {
                kind.__name__: [_plain(one) if isinstance(one, np.generic) else one for one in vars(value).values()]
            }
    return value


def _plain(value: Any) -> Any:
    """Returns a number of numpy as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _table(values: Mapping[str, Any]) -> TableData:
    known = {name: values[name] for name in _PLAIN}
    columns = [Column(**one | {"parts": tuple(one["parts"])}) for one in values["columns"]]
    rows = [{name: _value(entry) for name, entry in row.items()} for row in values["rows"]]
    if "frame" not in values:
        return TableData(columns=columns, rows=rows, **known)
    frame = pd.DataFrame({name: _series(kind, entries) for name, kind, entries in values["frame"]})
    return FrameTable(columns=columns, rows=rows, frame=frame, **known)


def _value(entry: Any) -> Any:
    if isinstance(entry, dict):
        ((kind, values),) = entry.items()
        return {"Estimate": Estimate, "Reported": Reported}[kind](*values)
    return entry


def _series(kind: str, entries: Iterable[Any]) -> pd.Series:
    return pd.Series(entries, dtype=object if kind in ("object", "category") else kind)
