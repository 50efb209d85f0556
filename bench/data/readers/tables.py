"""CSV files that publishers ship with their images: rows, and the class of each image."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.contracts import MissingData, UserError
from bench.data.readers.images import SUFFIXES


@dataclass(frozen=True)
class Row:
    """One row of a CSV file: the columns that were asked for, by name."""

    file: Path
    line: int
    values: Mapping[str, str]

    def integer(self, column: str) -> int:
        """Value of a column, for example a grade; ``1.0`` counts as 1.

        Raises:
            UserError: it is no whole number.
        """
        text = self.values[column]
        try:
            number = float(text)
            if number != int(number):
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(f"{self.file}, line {self.line}: {column} is {text!r}, not a whole number") from None
        return int(number)


def read_rows(file: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file, with the columns of these names, stripped.

    Raises:
        MissingData: the file is not there.
        UserError: it cannot be read, or has no such column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, skipinitialspace=True)
            found = {name.strip(): name for name in reader.fieldnames or ()}
            absent = [column for column in columns if column not in found]
            if absent:
                raise UserError(f"{file}: no column {', '.join(absent)}; found {', '.join(found) or 'nothing'}")
            rows = [
                Row(file, reader.line_num, {column: (line[found[column]] or "").strip() for column in columns})
                for line in reader
            ]
    except FileNotFoundError:
        raise MissingData(f"{file} not found; a CSV file with the columns {', '.join(columns)} is expected") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as CSV ({error})") from error
    return [row for row in rows if any(row.values.values())]  # spreadsheets leave empty ones at the end


def key_of(name: str) -> str:
    """What an image is looked up by: its name without its suffix, in lower case; folders in the name are kept.

    ``13_left.png`` and ``13_left.jpeg`` have one key, ``test/CNV/CNV-1-2.png`` keeps ``test/cnv/``.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in (*SUFFIXES, ".dcm") else path).lower()


def read_labels(file: Path, image: str, label: str, classes: int) -> dict[str, int]:
    """Image key (``key_of``) -> class from 0 to ``classes`` - 1, in the order of the file; two columns of a CSV file.

    Raises:
        MissingData: the file is not there.
        UserError: as ``read_rows``; or an image has no name, is there twice, or has a class that is none of these.
    """
    labels: dict[str, int] = {}
    for row in read_rows(file, (image, label)):
        name, number, where = row.values[image], row.integer(label), f"{file}, line {row.line}"
        key = key_of(name)
        if not name:
            raise UserError(f"{where}: {image} is empty, the name of an image is expected")
        if key in labels:
            raise UserError(f"{where}: {name} is there twice")
        if not 0 <= number < classes:
            raise UserError(f"{where}: {label} of {name} is {number}, 0 to {classes - 1} is expected")
        labels[key] = number
    return labels
