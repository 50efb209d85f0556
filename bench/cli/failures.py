"""Failures of a command: which of them are one line, and with which exit code."""

from __future__ import annotations

from typing import Any

import typer

from bench.cli.checks import CheckedGroup
from bench.errors import PluginError, UserError, disk_fault, one_line


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
