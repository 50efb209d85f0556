"""Atomic reading and writing of files.

An interrupted run must never leave a file that exists but is incomplete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

#: Context that yields a temporary file to write and then moves it to its final path: ``replacing(path)``.
Place = AbstractContextManager[Path]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file to write, which replaces ``path`` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def write_if_new(file: Path, frame: pd.DataFrame) -> None:
    """Writes a frame unless the file holds it already.

    An unchanged file keeps its modification time, by which the report knows that it is up to date.
    """
    if not (file.exists() and pd.read_parquet(file).equals(frame)):
        with replacing(file) as temporary:
            frame.to_parquet(temporary, index=False)
