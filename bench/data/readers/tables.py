"""Reader of the CSV files that publishers ship with their images, with error messages that name the line."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from bench.data.readers.images import SUFFIXES
from bench.errors import MissingData, UserError
from bench.text.media import from_csv


@dataclass(frozen=True)
class Row:
    """Row of a CSV file: the values of the requested columns by name."""

    file: Path
    line: int
    values: Mapping[str, str]

    def integer(self, column: str) -> int:
        """Returns the value of a column, for example a grade; ``1.0`` counts as 1.

        Raises:
            UserError: the value is not a whole number.
        """
        text = self.values[column]
        try:
            number = float(text)
            if number != int(number):
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(f"{self.file}, line {self.line}: {column} is {text!r}, not a whole number") from None
        return int(number)


def read_records(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Reads a table as spreadsheets write it: UTF-8, UTF-16 or cp1252, with commas, semicolons or tabs.

    Returns:
        The column names, and per row its line and its values, all without outer spaces; empty rows are left out.

    Raises:
        UserError: the file is a workbook or cannot be read; a column is there twice; or a row has more values
            than there are columns.
    """
    try:
        lines = list(io.StringIO(_text_of(file.read_bytes()), newline=""))
        if lines and lines[0].lower().startswith("sep="):  # Excel's own way to state the separator
            lines[0] = "\n"
        header = next((line for line in lines if line.strip()), "")
        separator = max(",;\t", key=header.count)
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t")
        rows = [(reader.line_num, [from_csv(value.strip()) for value in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as CSV ({error}); save it as CSV in UTF-8") from error
    rows = [(line, row) for line, row in rows if any(row)]
    names = rows[0][1] if rows else []
    if again := next((name for name in names if name and names.count(name) > 1), ""):
        raise UserError(f"{file}: the column {again!r} is there twice; keep one")
    for line, row in rows[1:]:
        if any(row[len(names) :]):
            reason = f"{len(row)} values for {len(names)} columns; quote values that contain a separator"
            raise UserError(f"{file}, line {line}: {reason}")
    return names, [(line, dict(zip_longest(names, row[: len(names)], fillvalue=""))) for line, row in rows[1:]]


def _text_of(raw: bytes) -> str:
    if raw.startswith(b"PK"):
        raise csv.Error("it is a workbook or archive")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    if b"\0" in raw[:200]:
        return raw.decode("utf-16-be" if raw[0] == 0 else "utf-16-le")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252")


def read_rows(file: Path, columns: Sequence[str]) -> list[Row]:
    """Reads the rows of a CSV file, with the values of these columns stripped of spaces; empty rows are left out.

    Raises:
        MissingData: the file does not exist.
        UserError: the file cannot be read, or lacks a column.
    """
    if not file.exists():
        raise MissingData(f"{file} not found; a CSV file with the columns {', '.join(columns)} is expected")
    found, records = read_records(file)
    if absent := [column for column in columns if column not in found]:
        raise UserError(f"{file}: no column {', '.join(absent)}; found {', '.join(found) or 'nothing'}")
    rows = [Row(file, line, {column: record[column] for column in columns}) for line, record in records]
    return [row for row in rows if any(row.values.values())]  # spreadsheets append empty ones


def key_of(name: str) -> str:
    """Returns the key of an image: its name in lower case, with its folders and without its suffix.

    ``13_left.png`` and ``13_left.jpeg`` have the same key, ``test/CNV/CNV-1-2.png`` keeps ``test/cnv/``.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in (*SUFFIXES, ".dcm") else path).lower()


def read_labels(file: Path, image: str, label: str, classes: int) -> dict[str, int]:
    """Reads two columns of a CSV file: image key (``key_of``) -> class, in the order of the file.

    Args:
        file: the CSV file.
        image: name of the column with the names of the images.
        label: name of the column with their classes.
        classes: C; a class is 0 to C - 1.

    Raises:
        MissingData: the file does not exist.
        UserError: as ``read_rows``; or an image has no name, appears twice, or has a class outside this range.
    """
    labels: dict[str, int] = {}
    for row in read_rows(file, (image, label)):
        name, number, where = row.values[image], row.integer(label), f"{file}, line {row.line}"
        key = key_of(name)
        if not name:
            raise UserError(f"{where}: {image} is empty, the name of an image is expected")
        if key in labels:
            raise UserError(f"{where}: {name} appears twice")
        if not 0 <= number < classes:
            raise UserError(f"{where}: {label} of {name} is {number}, 0 to {classes - 1} is expected")
        labels[key] = number
    return labels
