"""The command ``get``: data sets from public repositories, and the way to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.checks import require_folder
from bench.cli.flags import console


def get(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="data set")],
    data_root: Annotated[
        Path, typer.Option(help="folder of the downloaded data sets [data]", show_default=False)
    ] = Path("data"),
) -> None:
    """Get a data set: clone it, or say how to get it and check it (exit code 1 if it is not there)."""
    require_folder("--data-root", data_root)
    context.obj()
    from bench.commands.check_data.command import check_dataset
    from bench.commands.get.command import get_dataset
    from bench.data.loading import Request
    from bench.registry import DATASETS
    from bench.store.folders import file_name

    info = DATASETS[name]

    def check() -> bool:
        page = Path(f"check-{file_name(name)}.png")
        return check_dataset(info, Request(data_root, 256, 0, skip_bad=True), page, console)

    raise typer.Exit(0 if get_dataset(info, data_root, console, check) else 1)
