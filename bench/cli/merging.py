"""The command ``merge``: one run of several people or machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import console


def merge(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="run folders, such as results/mine results/yours")],
    out: Annotated[Path, typer.Option(help="folder of the merged run: new, empty or of an earlier merge")],
) -> None:
    """Merge runs with the same data and settings into one run with one report."""
    context.obj()
    from bench.commands.merge.command import merge_runs

    raise typer.Exit(1 if merge_runs(runs, out, console) else 0)
