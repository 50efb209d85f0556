"""Atomic reading and writing of files, and messages about damaged ones.

An interrupted run must never leave a file that exists but is incomplete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from bench.errors import UserError

#: Context that yields a temporary file to write and then moves it to its final path: ``replacing(path)``.
Place = AbstractContextManager[Path]


#: Called with the path of a damaged file and the kind of damage.
Listener = Callable[[Path, str], object]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


class DamagedFile(UserError):
    """A stored file that is not what was written.

    Args:
        text: the line for the user.
        why: kind of damage alone.
    """

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__(text)
        self.why = why


@contextmanager
def telling(listener: Listener) -> Iterator[None]:
    """Calls ``listener`` for every damaged file that is met in the block, which is then treated as absent."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell_damage(path: Path, why: str) -> None:
    """Tells the listener about a damaged file.

    Raises:
        DamagedFile: there is no listener.
    """
    listener = _LISTENER.get()
    if listener is None:
        raise DamagedFile(f"{path} is damaged ({why}); repeat the command that wrote it")
    listener(path, why)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file to write, which replaces ``path`` if the block ends without an error.

    Raises:
        UserError: a file is in the place of the folder, or a folder with content in the place of the file.
    """
    _make_room(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # a link of this name would be written through
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Removes the temporary files of ``replacing`` that processes left in or below a folder when they were killed."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _make_room(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{_first_file(path.parent)} is a file in the place of a folder; move it away") from error
    except OSError as error:
        if not path.is_dir():
            raise
        raise UserError(f"{path} is a folder in the place of a file; move it away") from error


def _first_file(folder: Path) -> Path:
    """Returns the first part of a path that exists and is not a folder."""
    return next((one for one in (*reversed(folder.parents), folder) if one.exists() and not one.is_dir()), folder)


def file_digest(path: Path) -> str:
    """Computes the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Computes the SHA-256 of a value as JSON holds it, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; returns None if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
