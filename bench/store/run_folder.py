"""Check of ``--out`` before a run writes anything, because any folder may be named there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import UserError

#: What run.json of every version holds.
_RECORD = {"config", "cells", "datasets"}


def check_run_folder(folder: Path) -> None:
    """Raises ``UserError`` unless the folder is new, empty, or one that a run was written to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder that is new, empty or holds a run")
    try:
        if (folder / "run.json").is_file():
            _check_record(folder)
        elif not all(_is_of_a_stopped_run(path) for path in folder.iterdir()) and not any(_cells(folder)):
            raise UserError(f"--out {folder} is not a run folder and not empty; use --out {folder / 'new-name'}")
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose another --out") from error


def _check_record(folder: Path) -> None:
    record = _json(folder / "run.json")
    if isinstance(record, dict) and record.keys() >= _RECORD:
        return
    if any(_cells(folder)):
        raise UserError(f"{folder / 'run.json'} is damaged; delete it and repeat the command, which keeps its cells")
    raise UserError(
        f"--out {folder} holds a run.json that no run wrote and is not a run folder; use --out {folder / 'new-name'}"
    )


def _is_of_a_stopped_run(path: Path) -> bool:
    """Whether a run that was killed at its very start leaves such a file."""
    is_lock = path.name == "lock" and path.stat().st_size == 0
    return path.is_file() and not path.is_symlink() and (is_lock or path.match(".run.json.*.tmp"))


def _cells(folder: Path) -> Iterator[Path]:
    """Records of cells, by which a run folder is known that has lost its run.json."""
    for file in folder.glob("cells/*/*/cell.json"):
        record = _json(file)
        if isinstance(record, dict) and "status" in record:
            yield file


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
