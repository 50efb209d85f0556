"""Record of the files that were written to a folder, so that only those are ever replaced or removed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from bench.errors import UserError
from bench.files import replacing

NAME = ".written.jsonl"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_FOREIGN = "was not written by this benchmark"
_CHANGED = "was changed since it was written"


@dataclass
class Manifest:
    """A folder whose files are noted by name and SHA-256 in ``.written.jsonl`` when they are written.

    A file is ours if its name is noted with the digest of its present content. The note is appended before the
    finished file takes its place: a process that is killed at any moment leaves only files that are recognised.

    Attributes:
        folder: holds the notes; it may be a link, nothing inside it may.
        lenient: a file that must not be replaced is left as it is and entered in ``kept``; otherwise it is an error.
        below: prefix of the names that the methods are given, such as ``figures/``.
        written: names of the files that were written through this object.
        kept: file or folder that was in the way -> reason.
    """

    folder: Path
    lenient: bool = False
    below: str = ""
    written: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    _notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether anything was ever noted here."""
        return (self.folder / NAME).exists()

    def inside(self, name: str) -> Manifest:
        """The same notes, for names in a subfolder."""
        return replace(self, below=f"{self.below}{name}/")

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Gives a temporary file to write, which takes the place of ``name`` when the block ends without an error.

        Raises:
            UserError: the file exists and is not ours, or is reached through a link; not where this is ``lenient``.
        """
        name = self.below + name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{name!r} leads out of {self.folder} and is not written")
        if obstacle := self._obstacle(name):
            if not self.lenient:
                raise UserError(self._refusal(*obstacle))
            self.kept[obstacle[0]] = obstacle[1]
            with TemporaryDirectory() as spare:  # the caller writes all the same, and goes on with its other files
                yield Path(spare) / PurePosixPath(name).name
            return
        with replacing(self.folder / name) as temporary:
            self._note(temporary.relative_to(self.folder).as_posix(), "")
            yield temporary
            self._note(name, _digest(temporary))
        self.written.add(name)

    def keep(self, *names: str) -> None:
        """Counts files as written through this object, because they are as they would be written."""
        self.written |= {self.below + name for name in names}

    def require(self, *names: str) -> None:
        """Raises ``UserError`` where one of the files could not be written; for a check before a long computation."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f"{self.folder} is not a folder; choose another --out")
            obstacles = [self._obstacle(self.below + name) for name in names]
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror}; choose another --out") from error
        for obstacle in filter(None, obstacles):
            raise UserError(self._refusal(*obstacle))

    def is_ours(self, name: str) -> bool:
        """Whether the file was written here and not changed since. A link is not ours."""
        return self._owns(self.below + name)

    def was_written(self, name: str) -> bool:
        """Whether a file of this name was once written here, and is no link; it may have been changed since."""
        return name in self._read() and not self._link(name) and (self.folder / name).is_file()

    def _owns(self, name: str) -> bool:
        path = self.folder / name
        if self._link(name) or not path.is_file():
            return False
        digest = _digest(path)
        if digest not in self._notes.get(name, ()):
            self._notes.update(self._read())  # another process may have written it
        return digest in self._notes.get(name, ())

    def remove(self, name: str) -> None:
        """Delete a file if it is ours, and its folders below this one if that leaves them empty."""
        name = self.below + name
        if not self._owns(name) and not self._is_unfinished(name):
            return
        (self.folder / name).unlink(missing_ok=True)
        for parent in list(PurePosixPath(name).parents)[:-1]:
            try:
                (self.folder / parent).rmdir()
            except OSError:
                return

    def _is_unfinished(self, name: str) -> bool:
        """Whether a file is a temporary one, which a process noted before it wrote it and was killed."""
        is_temporary = PurePosixPath(name).match(".*.tmp") and set(self._notes.get(name, ())) == {""}
        return is_temporary and not self._link(name) and (self.folder / name).is_file()

    def tidy(self, *folders: str) -> list[str]:
        """Remove every file of ours in these folders that was not written through this object.

        Returns:
            The other files in them, which stay. Links are among them, hidden files are not.
        """
        self._notes.update(self._read())
        for name in list(self._notes):
            if name.split("/")[0] in folders and name not in self.written:
                self.remove(name)
        found: list[str] = []
        for top in (self.folder / folder for folder in folders if not (self.folder / folder).is_symlink()):
            for where, inner, files in os.walk(top, followlinks=False):
                inner[:] = [name for name in inner if not name.startswith(".")]
                linked = [name for name in inner if (Path(where) / name).is_symlink()]
                shown = [Path(where) / name for name in (*files, *linked) if not name.startswith(".")]
                found += [path.relative_to(self.folder).as_posix() for path in shown]
        return sorted(set(found) - self.written - set(self.kept))

    def compact(self) -> None:
        """Forget files that are gone and earlier contents of those that were written through this object."""
        self._notes.update(self._read())
        kept = {name: notes for name, notes in self._notes.items() if os.path.lexists(self.folder / name)}
        latest = {name: notes[-1:] if name in self.written else notes for name, notes in kept.items()}
        with replacing(self.folder / NAME) as temporary:
            temporary.write_bytes(b"".join(_line(name, digest) for name in latest for digest in latest[name]))
        self._notes.clear()
        self._notes.update(latest)

    def _obstacle(self, name: str) -> tuple[str, str] | None:
        """The file or folder because of which a file must not be written, and the reason."""
        if link := self._link(name):
            return link, "is a link"
        for parent in list(PurePosixPath(name).parents)[:-1]:
            if (self.folder / parent).exists() and not (self.folder / parent).is_dir():
                return str(parent), "is not a folder"
        if not (self.folder / name).exists() or self._owns(name):
            return None
        return name, _CHANGED if name in self._notes else _FOREIGN

    def _link(self, name: str) -> str:
        """The first link on the way from this folder to a file, the file included; empty where there is none."""
        steps = [*reversed(list(PurePosixPath(name).parents)[:-1]), PurePosixPath(name)]
        return next((str(step) for step in steps if (self.folder / step).is_symlink()), "")

    def _refusal(self, name: str, why: str) -> str:
        return f"{self.folder / name} {why} and is not overwritten; rename it or choose another --out"

    def _note(self, name: str, digest: str) -> None:
        """Append a note in one write, because a second process may do the same."""
        try:
            file = os.open(self.folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o666)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            os.write(file, _line(name, digest))
        finally:
            os.close(file)
        self._notes.setdefault(name, []).append(digest)

    def _read(self) -> dict[str, list[str]]:
        """Name -> digests, the latest last. A line that a crash cut off is left out."""
        try:
            file = os.open(self.folder / NAME, os.O_RDONLY | _NO_LINK)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        notes: dict[str, list[str]] = {}
        with os.fdopen(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    note = json.loads(line)
                    name, digest = PurePosixPath(note["file"]), str(note["sha256"])
                except (ValueError, TypeError, KeyError):
                    continue
                if not name.is_absolute() and ".." not in name.parts:  # nothing outside of this folder is ours
                    notes.setdefault(str(name), []).append(digest)
        return notes

    def _unusable(self, error: OSError) -> OSError | UserError:
        if error.errno != errno.ELOOP:
            return error
        return UserError(f"{self.folder / NAME} is a link; remove it, files that were written here are noted in it")


def set_aside(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Rename files and folders that were written before there were notes -> the folder they are in now.

    Links stay where they are; None where there is nothing else.
    """
    found = [folder / name for name in names if (folder / name).exists() and not (folder / name).is_symlink()]
    if not found:
        return None
    number, aside = 1, folder / "derived-by-an-earlier-version"
    while os.path.lexists(aside):
        number += 1
        aside = aside.with_name(f"derived-by-an-earlier-version-{number}")
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    return aside


def _line(name: str, digest: str) -> bytes:
    """A note; it begins with the line break, which ends a line that a crash cut off."""
    return b"\n" + json.dumps({"file": name, "sha256": digest}).encode()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
