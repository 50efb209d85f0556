"""Check of ``--out`` before a run writes anything, because any folder may be named there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import DamagedFile
from bench.store.record_files import CELL_FILE, RUN_FILE, read_record
from bench.store.records import CellRecord, RunRecord
from bench.store.run_lock import LOCK_FILE, OWNER_FILE, names_owner

#: Keys of a run.json, whatever its layout.
_RECORD = {"config", "cells", "datasets"}


def check_run_folder(folder: Path) -> str:
    """Checks that a folder is new, empty, or one that a run of this version was written to.

    Returns:
        The damage of its run.json, which the run writes again; empty if there is none.

    Raises:
        UserError: it is something else, cannot be read, or holds records of another version.
    """
    if not folder.exists():
        return ""
    if not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder that is new, empty or holds a run")
    try:
        if (folder / RUN_FILE).is_file():
            return _damage_of_record(folder)
        if not all(_is_of_a_stopped_run(path) for path in folder.iterdir()) and not any(_cells(folder)):
            raise UserError(f"--out {folder} is not a run folder and not empty; use --out {folder / 'new-name'}")
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose another --out") from error
    return ""


def _damage_of_record(folder: Path) -> str:
    record = _json(folder / RUN_FILE)
    if not (isinstance(record, dict) and (record.keys() >= _RECORD or "format" in record)) and not any(_cells(folder)):
        advice = f"use --out {folder / 'new-name'}"
        raise UserError(f"--out {folder} holds a run.json that no run wrote and is not a run folder; {advice}")
    try:
        read_record(folder / RUN_FILE, RunRecord)
    except DamagedFile as error:
        return error.why
    return ""


def _is_of_a_stopped_run(path: Path) -> bool:
    """Returns whether a run that was killed at its very start leaves such a file."""
    is_lock = path.name == LOCK_FILE and path.stat().st_size == 0
    is_temporary = path.match(f".{RUN_FILE}.*.tmp") or path.match(f".{OWNER_FILE}.*.tmp")
    is_owner = path.name == OWNER_FILE and names_owner(path)
    return path.is_file() and not path.is_symlink() and (is_lock or is_owner or is_temporary)


def _cells(folder: Path) -> Iterator[Path]:
    """Yields records of cells, by which a run folder is known that has lost its run.json.

    Raises:
        UserError: another version wrote them.
    """
    for file in folder.glob(f"cells/*/*/{CELL_FILE}"):
        record = _json(file)
        if isinstance(record, dict) and "status" in record:
            with suppress(DamagedFile):
                read_record(file, CellRecord)
            yield file


def _json(file: Path) -> Any:
    """Reads a file; None where it is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
