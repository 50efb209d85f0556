"""Errors caused by the input, and any error as one line.

They have a module without heavy imports because the command line starts with it.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input; one line that says what is wrong, where, and what to do. Shown without a traceback."""


class NotApplicable(UserError):
    """Undefined for this combination; recorded as skipped with the reason, never as a failure."""


class MissingData(UserError):
    """Absent files or packages; says what was looked for, where, and how to get it."""


def one_line(error: BaseException) -> str:
    """Returns the message of a ``UserError`` unchanged, and any other error with its type, on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
