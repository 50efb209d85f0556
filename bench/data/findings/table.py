"""Reader of ``labels.csv``: one row per image, with its patient, and one column per finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import SPLITS
from bench.data.readers.tables import read_records
from bench.data.sources.layout.names import normal
from bench.errors import UserError
from bench.text.media import is_printable

NAME = "labels.csv"
_FILES = ("file", "filename", "image", "path")
_GROUPS = ("group", "patient", "patientid", "subject", "subjectid")
_UNKNOWN = ("", "nan", "na", "none", "null")


@dataclass(frozen=True)
class Row:
    """Row of the table.

    Attributes:
        file: name of the image, as written.
        group: patient; the file if none is stated.
        split: train, val or test; empty = not stated.
        labels: 1, 0 or -1 per finding.
        line: number of the line, for errors.
    """

    file: str
    group: str
    split: str
    labels: tuple[int, ...]
    line: int


@dataclass(frozen=True)
class Table:
    """Content of ``labels.csv``.

    Attributes:
        file: the table.
        findings: F names, in the order of the columns.
        rows: N rows, in the order of the file.
        has_groups: a column names patients.
    """

    file: Path
    findings: tuple[str, ...]
    rows: tuple[Row, ...]
    has_groups: bool


def names_files(file: Path) -> bool:
    """Returns whether a table has a column that names files."""
    return any(_plain(name) in _FILES for name in read_records(file)[0])


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def read_table(file: Path) -> Table:
    """Reads the table; columns other than file, group and split are findings.

    Raises:
        UserError: a column is absent, empty or there twice; a label is none of 1, 0, -1 and nothing; a file is empty
            or listed twice; only some rows have a split; or a finding is never present.
    """
    header, records = read_records(file)
    plain = {name: _plain(name) for name in header if name}
    name_of = _only(file, "file", [name for name in plain if plain[name] in _FILES])
    group_of = _only(file, "group", [name for name in plain if plain[name] in _GROUPS])
    split_of = _only(file, "split", [name for name in plain if plain[name] == "split"])
    if not name_of:
        raise UserError(f"{file}: no column file, which names the images; found {', '.join(plain) or 'nothing'}")
    findings = tuple(name for name in plain if name not in (name_of, group_of, split_of))
    _require_findings(file, findings)
    rows = []
    for line, record in records:
        where = f"{file}, line {line}"
        if not record[name_of]:
            raise UserError(f"{where}: {name_of} is empty; write the name of an image")
        split = record.get(split_of, "").lower()
        if split not in (*SPLITS, ""):
            raise UserError(f"{where}: split {split!r} is not one of {', '.join(SPLITS)}")
        labels = tuple(_label(record[finding], finding, where) for finding in findings)
        rows.append(Row(record[name_of], record.get(group_of, "") or record[name_of], split, labels, line))
    _require_rows(file, findings, rows)
    return Table(file, tuple(map(normal, findings)), tuple(rows), bool(group_of))


def _only(file: Path, key: str, names: Sequence[str]) -> str:
    if len(names) > 1:
        raise UserError(f"{file}: {len(names)} columns name the {key}: {', '.join(names)}; keep one")
    return names[0] if names else ""


def _require_findings(file: Path, findings: Sequence[str]) -> None:
    if not findings:
        raise UserError(f"{file}: no column of a finding; add one per finding, with 1 (present), 0 (absent) or nothing")
    if wrong := next((name for name in findings if not is_printable(name) or "/" in name or "\\" in name), None):
        raise UserError(f"{file}: the column {wrong!r} cannot name a finding and its folder of masks; rename it")


def _label(text: str, finding: str, where: str) -> int:
    if text.lower() in _UNKNOWN:
        return -1
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in (-1, 0, 1):
        raise UserError(
            f"{where}: {finding} is {text!r}; write 1 (present), 0 (absent), or -1 or nothing (unknown); remove "
            f"columns that are no findings, or rename {NAME} if folders are the classes"
        )
    return int(value)


def _require_rows(file: Path, findings: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        raise UserError(f"{file}: no row; write one per image")
    seen: set[str] = set()
    for row in rows:
        if row.file in seen:
            raise UserError(f"{file}, line {row.line}: {row.file} appears twice")
        seen.add(row.file)
    stated = sum(bool(row.split) for row in rows)
    if 0 < stated < len(rows):
        one = next(row for row in rows if not row.split)
        raise UserError(f"{file}, line {one.line}: {one.file} has no split although others have one; fill all or none")
    for at, finding in enumerate(findings):
        values = {row.labels[at] for row in rows}
        if values == {-1}:
            raise UserError(f"{file}: the column {finding!r} holds no label; fill it with 1 and 0, or remove it")
        if 1 not in values:
            raise UserError(f"{file}: {finding!r} is present in no image; remove its column")
