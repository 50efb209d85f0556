"""Errors caused by the input, and any error as one line.

They have a module without heavy imports because the command line starts with it.
"""

from __future__ import annotations

import errno
import os
import re
import sysconfig
import traceback
from pathlib import Path

#: Faults of the disk, which end a run: whatever is written next fails too.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_NUMBER = re.compile(r"\b(?:errno|os error) (\d+)", re.IGNORECASE)


class UserError(Exception):
    """Bad input; one line that says what is wrong, where, and what to do. Shown without a traceback."""


class NotApplicable(UserError):
    """Undefined for this combination; recorded as skipped with the reason, never as a failure."""


class MissingData(UserError):
    """Absent files or packages; says what was looked for, where, and how to get it."""


class PluginError(UserError):
    """Fault of a plugin that leaves nothing to do; the command ends with exit code 1."""


def one_line(error: BaseException) -> str:
    """Returns the message of a ``UserError`` unchanged, and any other error with its type, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if text else ''}{text}; try --workers 1, smaller images or a smaller --batch-size"
    if isinstance(error, SystemExit):
        return f"it tried to end the program with exit code {error.code or 0}"
    return text if isinstance(error, UserError) else f"{type(error).__name__}{': ' if text else ''}{text}"


def place_of(error: BaseException) -> str:
    """Returns file and line of the plugin in which an error occurred, the start of its line; empty if unknown."""
    if isinstance(error, SyntaxError):  # its text names them
        return ""
    ours = str(Path(__file__).parent)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith((ours, "<"))]
    own = [one for one in frames if not one.filename.startswith(_LIBRARIES)]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""


def is_stop(error: BaseException) -> bool:
    """Returns whether an exception stops the program: Ctrl-C, but nothing else that a plugin can raise."""
    return isinstance(error, KeyboardInterrupt)


def disk_fault(error: BaseException | None) -> str:
    """Returns the system's words for a full, read-only or defective disk that caused an error; empty otherwise."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        number = error.errno if isinstance(error, OSError) else None
        if number is None and not isinstance(error, UserError) and (said := _NUMBER.search(str(error))):
            number = int(said[1])  # libraries that write files by themselves give the number in words only
        if number in _OF_THE_DISK:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return ""
