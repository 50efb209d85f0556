"""Checks of flags that need no heavy package, so that a wrong value is refused at once."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.core import TyperGroup

from bench.errors import UserError


class CheckedGroup(TyperGroup):
    """The command line with all its commands; refuses empty values, which would otherwise mean the default."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parses the arguments of the whole command line.

        Raises:
            UserError: the value of a flag, or an argument, is empty.
        """
        for number, text in enumerate(args):
            flag, equals, value = text.partition("=")
            if not text.strip():
                before = args[number - 1] if number else "the command line"
                raise UserError(f"{before}: the value is empty; give one, or omit the flag")
            if flag.startswith("--") and equals and not value.strip():
                raise UserError(f"{flag}: the value is empty; give one, or omit the flag")
        return super().parse_args(ctx, args)


def require_folder(flag: str, path: Path | None) -> None:
    """Raises UserError if the path of a flag exists and is not a folder."""
    if path is not None and path.exists() and not path.is_dir():
        raise UserError(f"{flag} {path}: is a file; give a folder")
