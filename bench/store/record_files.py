"""Reading and writing of records; a damaged file or one of another version gives one line that names it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bench.errors import UserError
from bench.files import DamagedFile, json_digest, write_text
from bench.store.code_digest import described
from bench.store.records import FORMAT, CellRecord, RunRecord
from bench.store.stored_files import file_stamp

RUN_FILE, CELL_FILE = "run.json", "cell.json"
#: Keys of every ``run.json`` of layout 1.
_FIRST_LAYOUT = {"config", "cells", "datasets"}
#: Key of the digest of everything else in a record.
_DIGEST = "sha256"

Stored = TypeVar("Stored", RunRecord, CellRecord)


def write_record(file: Path, record: RunRecord | CellRecord) -> None:
    """Replaces a record; that of a cell is written without what is not known."""
    facts = record.model_dump(exclude_defaults=isinstance(record, CellRecord))
    values = json.loads(json.dumps({"format": FORMAT} | facts, default=described))
    write_text(file, json.dumps(values | {_DIGEST: json_digest(values)}, indent=2) + "\n")


def read_record(file: Path, kind: type[Stored]) -> Stored | None:
    """Reads a record; None where there is none. An unchanged file is parsed once per process.

    Raises:
        DamagedFile: the file is damaged or cannot be read.
        UserError: another version wrote it.
    """
    return _record_of_stamp(file, kind, file_stamp(file))


@lru_cache(maxsize=4096)
def _record_of_stamp(file: Path, kind: type[Stored], stamp: tuple[int, ...]) -> Stored | None:
    try:
        if file.exists() and not file.is_file():
            raise _damaged(file, "it is not a file")
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _damaged(file, str(error.strerror)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, str(error).splitlines()[0]) from error
    noted = values.pop(_DIGEST, None) if isinstance(values, dict) else None
    if noted not in (None, json_digest(values)):
        raise _damaged(file, "it was changed since it was written")
    check_format(file, values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
        if noted is None:
            raise _damaged(file, why) from error
        raise UserError(
            f"{file} was written by another version ({why}); choose another --out or use that version"
        ) from error


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


def _damaged(file: Path, why: str) -> DamagedFile:
    return DamagedFile(f"{file} is damaged ({why}); {_way_out(file)}", why)


def _way_out(file: Path) -> str:
    if file.name == RUN_FILE:
        return "repeat the command that wrote it, which keeps its cells"
    return "repeat the command that wrote it"
