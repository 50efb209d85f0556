"""Failures of single tables and figures, so that one of them never takes the rest of the report along."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from bench.errors import disk_fault, one_line
from bench.report.frames.load import Frames
from bench.report.frames.parts import without_datasets
from bench.store.folders import file_name
from bench.store.manifest import Manifest

Made = TypeVar("Made")
#: Folder of the tracebacks, in the run folder.
FOLDER = "failed"


@dataclass
class Failures:
    """Parts of a report that could not be made.

    Attributes:
        are_raised: raise every error; for callers that want all or nothing.
        tracebacks: line for the user, without the place of the traceback -> name of the part and traceback.
    """

    are_raised: bool = False
    tracebacks: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """One line per failure: what failed, why, and where its traceback is."""
        return [f"{line}; traceback: {FOLDER}/{_file(name)}" for line, (name, _) in self.tracebacks.items()]

    @contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Notes an error of the block as a failure of the part ``name``, and suppresses it.

        Raises:
            Exception: the disk is full or cannot be written to, so that whatever comes next would fail too.
        """
        try:
            yield
        except Exception as error:
            if self.are_raised or disk_fault(error):
                raise
            self._note(name, error, f"{name} could not be made")

    def making(self, name: str, frames: Frames, make: Callable[[Frames], Made]) -> Made | None:
        """Returns ``make(frames)``; if that fails, what it makes of the data sets with which it succeeds.

        Args:
            name: of the part, such as ``table cost``.
            frames: the run.
            make: may write files; those of a failed attempt are replaced by the next one.

        Returns:
            None if it fails with every data set, or only with several together.
        """
        try:
            return make(frames)
        except Exception as error:
            if self.are_raised or disk_fault(error):
                raise
            broken = _broken(frames, make)
            if not 0 < len(broken) < len(_datasets(frames)):
                self._note(name, error, f"{name} could not be made")
                return None
        for dataset, reason in broken.items():
            self._note(f"{name} of {dataset}", reason, f"{name} could not be made with {dataset}, which it leaves out")
        with self.noting(name):
            return make(without_datasets(frames, broken))
        return None

    def write(self, files: Manifest) -> None:
        """Writes the tracebacks, one file per failed part."""
        for name, text in self.tracebacks.values():
            with files.inside(FOLDER).replacing(_file(name)) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _note(self, name: str, error: Exception, said: str) -> None:
        self.tracebacks[f"{said}: {one_line(error)}"] = (name, "".join(traceback.format_exception(error)))


def _file(name: str) -> str:
    return f"{file_name(name.replace(' ', '_').replace('/', '_'))}.txt"


def _datasets(frames: Frames) -> list[str]:
    return list(dict.fromkeys(frames.cells["dataset"]))


def _broken(frames: Frames, make: Callable[[Frames], object]) -> dict[str, Exception]:
    """Returns data set -> error of those with which alone ``make`` fails."""
    names, found = _datasets(frames), dict[str, Exception]()
    for name in names if len(names) > 1 else ():
        try:
            make(without_datasets(frames, [other for other in names if other != name]))
        except Exception as error:
            if disk_fault(error):
                raise
            found[name] = error
    return found
