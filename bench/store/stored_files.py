"""Files of a folder with their digests, so that every reader tells a good file from an absent and a damaged one.

The SHA-256 of a file is appended to ``.digests.jsonl`` of its folder before the file takes its place. A process that is
killed at any moment leaves only files with a noted digest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd

from bench.errors import UserError
from bench.files import file_digest, replacing, tell_damage, telling

Value = TypeVar("Value")
NOTES = ".digests.jsonl"
#: Noted for a file that was removed, so that a file that somebody else removed is told from it.
_REMOVED = ""
_MISSING = "it is missing"


@dataclass
class _Notes:
    """Content of a file of notes: name -> digests, the latest last; ``stamp`` tells whether the file has changed."""

    stamp: tuple[int, ...]
    digests: dict[str, list[str]]


_KNOWN: dict[Path, _Notes] = {}
_MOST_KNOWN = 1000  # files of notes; every share of a cell has one


@dataclass(frozen=True)
class StoredFiles:
    """Files in or below a folder.

    Attributes:
        folder: holds the notes.
        root: run folder, which no file may lie outside of, through a link or otherwise.
    """

    folder: Path
    root: Path

    @contextmanager
    def writing(self, path: Path) -> Iterator[Path]:
        """Yields a temporary file to write, which replaces ``path`` and is noted if the block ends without an error.

        Raises:
            UserError: ``path`` leads out of the run folder, or a folder or file is in its way.
        """
        require_inside(self.root, path.parent)
        with replacing(path) as temporary:
            yield temporary
            self._note(path, file_digest(temporary))

    def write_frame(self, path: Path, frame: pd.DataFrame) -> None:
        """Writes a frame as parquet unless the file holds it already.

        An unchanged file keeps its modification time, by which the report knows that it is up to date.
        """
        stored = self.read(path, pd.read_parquet)
        if stored is None or not stored.equals(frame):
            with self.writing(path) as temporary:
                frame.to_parquet(temporary, index=False)

    def state(self, path: Path) -> Literal["good", "absent", "damaged"]:
        """Returns whether a file is as it was written, was never written or was removed here, or is damaged."""
        fault = self.fault(path)
        return "good" if fault == "" else "absent" if fault is None else "damaged"

    def fault(self, path: Path) -> str | None:
        """Returns the damage of a file in words; empty for a good file, None for an absent one.

        A file without a note, as other programs write it, is good until a reader finds otherwise.
        """
        noted = self._notes().digests.get(self._name(path), [])
        try:
            if not os.path.lexists(path):
                return _MISSING if noted and noted[-1] != _REMOVED else None
            if path.is_symlink() or not _is_inside(self.root, path):
                return "it is a link or reached through one"
            if not path.is_file():
                return "it is not a file"
            if not noted or stored_digest(path) in noted:
                return ""
            return "it is empty" if path.stat().st_size == 0 else "it was changed since it was written"
        except OSError as error:
            return f"{error.strerror}"

    def is_noted(self, path: Path) -> bool:
        """Returns whether the digest of a file is known; one without it is good as far as a reader finds."""
        return bool(self._notes().digests.get(self._name(path)))

    def read(self, path: Path, parse: Callable[[Path], Value]) -> Value | None:
        """Returns ``parse(path)`` of a good file, and None for one that is absent or damaged.

        Raises:
            DamagedFile: the file is damaged, and nothing listens (``bench.files.telling``).
        """
        fault = self.fault(path)
        if fault == "":
            try:
                return parse(path)
            except Exception as error:  # libraries raise errors of many types for such files
                if self._notes().digests.get(self._name(path)):
                    raise
                fault = f"{type(error).__name__}"
        if fault:
            tell_damage(path, fault)
        return None

    def is_good(self, path: Path, parse: Callable[[Path], object]) -> bool:
        """Returns whether ``parse`` can read a file; a damaged one is told as in ``read``.

        A file with its noted digest is as it was written and is not parsed.
        """
        if self.is_noted(path) and self.fault(path) == "":
            return True
        return self.read(path, lambda file: (parse(file),)) is not None

    def remove(self, path: Path) -> None:
        """Removes a file, or a folder with all its files."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            self._compact()
        elif os.path.lexists(path):
            path.unlink()
            self._note(path, _REMOVED)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _note(self, path: Path, digest: str) -> None:
        """Appends a note unless it is the last one of this file."""
        notes, name = self._notes(), self._name(path)
        earlier = notes.digests.setdefault(name, [])
        if earlier[-1:] == [digest]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        before, line = sum(notes.stamp[:1]), _line(name, digest)
        with (self.folder / NOTES).open("ab") as file:
            file.write(line)
        earlier.append(digest)
        notes.stamp = file_stamp(self.folder / NOTES)
        if notes.stamp[:1] == (before + len(line),):
            _KNOWN[self.folder / NOTES] = notes
        else:  # another process has added notes at the same moment, which must be read
            _KNOWN.pop(self.folder / NOTES, None)

    def _notes(self) -> _Notes:
        file = self.folder / NOTES
        stamp = file_stamp(file)
        if file not in _KNOWN or _KNOWN[file].stamp != stamp:
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            _KNOWN[file] = _Notes(stamp, _read_notes(file))
        return _KNOWN[file]

    def _compact(self) -> None:
        """Forgets files that are gone, and all but the last two digests of the others."""
        found = self._notes().digests
        kept = {name: digests[-2:] for name, digests in found.items() if os.path.lexists(self.folder / name)}
        with replacing(self.folder / NOTES) as temporary:
            temporary.write_bytes(b"".join(_line(name, one) for name, digests in kept.items() for one in digests))
        _KNOWN.pop(self.folder / NOTES, None)


def require_inside(root: Path, path: Path) -> Path:
    """Returns ``path`` if it lies in ``root`` once links are followed.

    Raises:
        UserError: it lies elsewhere.
    """
    if not _is_inside(root, path):
        raise UserError(f"{path} leads out of {root}; replace the link in it by a folder")
    return path


def _is_inside(root: Path, path: Path) -> bool:
    """Returns whether a path lies in ``root`` once links are followed; without any link below it, its name says so."""
    below = path.relative_to(root).parts if path.is_relative_to(root) else ("..",)
    steps = list(accumulate(below, os.path.join, initial=os.fspath(root)))[1:]
    if ".." not in below and not any(map(os.path.islink, steps)):
        return True
    return path.resolve().is_relative_to(root.resolve())


@contextmanager
def collecting() -> Iterator[dict[Path, str]]:
    """Yields a dictionary that receives every damaged file that is met in the block, and its damage."""
    found: dict[Path, str] = {}
    with telling(found.setdefault):
        yield found


def file_stamp(file: Path) -> tuple[int, ...]:
    """Returns size, time and inode of a file, which change when it is replaced; empty where there is none."""
    try:
        facts = file.stat(follow_symlinks=False)
    except OSError:
        return ()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def stored_digest(path: Path) -> str:
    """Computes the SHA-256 of a file; an unchanged file is read once per process."""
    return _digest_of_stamp(path, file_stamp(path))


@lru_cache(maxsize=4096)
def _digest_of_stamp(path: Path, stamp: tuple[int, ...]) -> str:
    return file_digest(path)


def _line(name: str, digest: str) -> bytes:
    """Returns a note; it begins with the line break, which ends a line that a crash cut off."""
    return b"\n" + json.dumps([name, digest]).encode()


def _read_notes(file: Path) -> dict[str, list[str]]:
    """Reads name -> digests, without lines that are damaged; empty where there is no such file."""
    notes: dict[str, list[str]] = {}
    try:
        lines = [] if file.is_symlink() else file.read_bytes().split(b"\n")
    except OSError:
        return notes
    for line in lines:
        try:
            name, digest = json.loads(line)
            notes.setdefault(name, []).append(str(digest))
        except (ValueError, TypeError, RecursionError):
            continue
    return notes
