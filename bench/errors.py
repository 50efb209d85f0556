"""Errors as one line for the user."""

from __future__ import annotations

from bench.contracts import UserError


def one_line(error: BaseException) -> str:
    """What to tell the user: the line of a ``UserError`` as it is, any other error with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
