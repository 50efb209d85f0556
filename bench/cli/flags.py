"""Values of flags that several commands share, and the terminal that all of them print on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bench.cli.plugins import load_plugins
from bench.errors import UserError
from bench.text.terminal import Terminal

#: A file or pipe has no width; the tables need about 150 columns.
console = Terminal(width=None if sys.stdout.isatty() else 150)


AllFigures = Annotated[
    bool | None, typer.Option("--all-figures/--no-figures", help="draw all figures or none [the main ones]")
]


def figures_of(all_figures: bool | None) -> Literal["", "shown", "all", "none"]:
    """Returns ``figures`` of ``bench.report.build.build_report``; "" = as the config says."""
    return "" if all_figures is None else "all" if all_figures else "none"


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


def workers_of(text: str | None, cluster: str | None) -> int | Literal["gpus"] | None:
    """Reads ``--workers``.

    Raises:
        UserError: it is neither a positive number nor ``gpus``, or there is a cluster, which has its own workers.
    """
    if text is not None and cluster:
        raise UserError("--workers is for this machine; with --cluster, its file or scheduler says how many there are")
    if text is None:
        return None
    if text == "gpus":
        return "gpus"
    if not text.isdecimal() or not int(text):
        raise UserError(f"--workers {text}: give a number from 1, or gpus for one worker per GPU")
    return int(text)


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
