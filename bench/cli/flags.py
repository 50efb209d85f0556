"""Values of flags that several commands share, and the terminal that all of them print on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.plugins import load_plugins
from bench.errors import UserError
from bench.text.terminal import Terminal

#: A file or pipe has no width; the tables need about 150 columns.
console = Terminal(width=None if sys.stdout.isatty() else 150)


AllFigures = Annotated[bool, typer.Option("--all-figures", help="draw all figures, not only the main ones")]


def option(text: str) -> Any:
    """Returns an option whose default its text tells."""
    return typer.Option(help=text, show_default=False)


def names_of(text: str | None) -> list[str] | None:
    """Splits the value of a flag at its commas; None stays None.

    Raises:
        UserError: there is no name.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"empty list of names: {text!r}; name at least one, or omit the flag")
    return names


def folder_of_splits(splits: Path | None) -> Path | None:
    """Returns the folder of released split files.

    Raises:
        UserError: there is no such folder.
    """
    if splits is not None and not splits.is_dir():
        raise UserError(f"--splits {splits}: no such folder; give the folder of the released CSV files (docs/data.md)")
    return splits


def register_all(register: Callable[[], object], plugins: str | None) -> list[str]:
    """Fills the registries, before other imports change their order -> one line per plugin that failed."""
    files = [Path(file) for file in names_of(plugins) or []]
    register()
    return load_plugins(files)
