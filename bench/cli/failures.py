"""Failures of a command: bad flags that are refused at once, and which failures are one line with which exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from bench.errors import PluginError, UserError, disk_fault, one_line


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


class GuardedCommands(CheckedGroup):
    """The commands; a plugin that tries to end the program from inside one has failed."""

    def invoke(self, ctx: Any) -> Any:
        """Calls a command.

        Raises:
            PluginError: a plugin raised what only the program itself should, such as ``SystemExit``.
        """
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Exception):
            raise
        except BaseException as error:
            raise PluginError(f"a plugin failed: {one_line(error)}") from error


def line_of(error: Exception) -> tuple[str, int] | None:
    """Returns the line and the exit code for bad input, a failed plugin or the disk; None for a bug."""
    if isinstance(error, UserError):
        return " ".join(str(error).split()), 1 if isinstance(error, PluginError) else 2
    if hasattr(error, "format_message"):  # click's, of which typer may bring its own copy
        said = " ".join(error.format_message().split()).rstrip(".")
        return f"{said}; --help shows commands and flags", 2
    if isinstance(error, typer.Abort):
        return "stopped", 130
    if isinstance(error, MemoryError):
        return one_line(error), 1
    fault = disk_fault(error)
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{error.filename}: {error.strerror}; make room or name another folder, and repeat the command", 2
    return (f"{fault} while writing; make room and repeat the command", 2) if fault else None
