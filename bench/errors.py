"""Errors of the user, and any error as one line. Imports nothing heavy: the command line starts with it."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: one line that says what is wrong, where, and what would be right. Shown without a traceback."""


class NotApplicable(UserError):
    """Something that does not exist for this combination: recorded as skipped with the reason, never as a failure."""


class MissingData(UserError):
    """A data set whose files are not there: says what was looked for, where, and how to get it."""


def one_line(error: BaseException) -> str:
    """What to tell the user: the line of a ``UserError`` as it is, any other error with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
