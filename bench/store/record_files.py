"""Reading and writing of records; a damaged file or one of another version gives one line that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bench.errors import UserError
from bench.files import write_json
from bench.store.records import FORMAT, CellRecord, RunRecord

RUN_FILE, CELL_FILE = "run.json", "cell.json"
#: Keys of every ``run.json`` of layout 1.
_FIRST_LAYOUT = {"config", "cells", "datasets"}

Stored = TypeVar("Stored", RunRecord, CellRecord)


def write_record(file: Path, record: RunRecord | CellRecord) -> None:
    """Replaces a record; that of a cell is written without what is not known."""
    facts = record.model_dump(exclude_defaults=isinstance(record, CellRecord))
    write_json(file, {"format": FORMAT} | facts)


def read_record(file: Path, kind: type[Stored]) -> Stored | None:
    """Reads a record; None where there is none.

    Raises:
        UserError: the file is damaged, or another version wrote it.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; make it readable or choose another --out") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged ({str(error).splitlines()[0]}); {_way_out(file)}") from error
    check_format(file, values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{file} is damaged ({key or 'record'}: {first['msg']}); {_way_out(file)}") from error


def check_format(file: Path, values: Any) -> None:
    """Raises ``UserError`` if these values of a record were written by a version with another layout."""
    if not isinstance(values, dict):
        return
    is_first = values.keys() >= _FIRST_LAYOUT if file.name == RUN_FILE else values != {}
    found = values.get("format", 1 if is_first else FORMAT)
    if found == FORMAT:
        return
    age, advice = "an earlier", "keep that version to read it"
    if isinstance(found, int) and found > FORMAT:
        age, advice = "a later", "use that version to read it"
    raise UserError(
        f"{file} was written by {age} version of this benchmark (record format {found}, this version reads {FORMAT}); "
        f"choose another --out or {advice}"
    )


def _way_out(file: Path) -> str:
    if file.name == RUN_FILE:
        return "delete it and repeat the command of the run, which keeps its cells"
    return "delete it and repeat the command of the run, which trains this cell again"
