"""Commands next to a run: ``report``, ``export``, ``speed``, ``check-data``, ``merge``, ``get`` and ``config``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench.cli.early import check_dataset_name, refuse_early, without_torch
from bench.cli.failures import require_folder
from bench.cli.flags import AllFigures, console, figures_of, folder_of_splits, names_of, option, register_all
from bench.errors import UserError


def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="run folder, such as results/quick")],
    verbose: Annotated[bool, typer.Option("--verbose", help="print every score and verdict")] = False,
    all_figures: AllFigures = None,
    again: Annotated[bool, typer.Option("--again", help="rebuild every part, also those that are current")] = False,
) -> None:
    """Rebuild tables, figures and page from the stored scores, as far as these or the code have changed."""
    from bench.report.build import build_report

    left = build_report(run, console, only_if_stale=not again, verbose=verbose, figures=figures_of(all_figures))
    raise typer.Exit(1 if left else 0)


def export(
    context: typer.Context,
    cell: Annotated[Path, typer.Argument(help="folder of a cell: RUN/cells/DATA SET/BACKBONE-HEAD-sSEED")],
    onnx: Annotated[bool, typer.Option("--onnx", help="also write model.onnx, compared with PyTorch")] = False,
    out: Annotated[Path | None, option("folder to write to [RUN/export/DATA SET/...]")] = None,
    plugins: Annotated[str | None, option("Python files that add the backbone or head")] = None,
) -> None:
    """Export a trained classifier: weights, model card, ONNX."""
    for problem in register_all(context.obj, plugins):
        console.print(Text(problem, style="red"))
    from bench.commands.export.command import export_cell

    for line in export_cell(cell, out, onnx):
        console.print(line, soft_wrap=True, markup=False)


def speed(
    context: typer.Context,
    backbone: Annotated[str, option("registered backbone [resnet18]")] = "resnet18",
    size: Annotated[int, typer.Option(min=32, help="side of the images in pixels [128]", show_default=False)] = 128,
    batch: Annotated[int, typer.Option(min=1, help="images per forward pass [16]", show_default=False)] = 16,
    images: Annotated[int, typer.Option(min=1, help="images to occlude and train on [16]", show_default=False)] = 16,
    repeats: Annotated[int, typer.Option(min=3, help="timings of each task [3]", show_default=False)] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="skip slow explainers and memory")] = False,
    device: Annotated[str, option("cpu, cuda or auto [auto]")] = "auto",
    out: Annotated[Path, option("folder to write to [results/speed]")] = Path("results/speed"),
) -> None:
    """Benchmark speed against bare forward passes and other libraries."""
    register_all(context.obj, None)
    from bench.commands.speed.command import measure_speed
    from bench.commands.speed.scene import Setting
    from bench.devices import choose_device

    setting = Setting(backbone, size, batch, images, repeats, quick=quick)
    measure_speed(setting, choose_device(device), out, console, context.obj)


def check_data(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="data set, or folder:PATH")],
    data_root: Annotated[Path, option("folder of the downloaded data sets [data]")] = Path("data"),
    splits: Annotated[Path | None, option("folder of released split files (docs/data.md)")] = None,
    size: Annotated[int, typer.Option(min=32, help="side of the images in pixels [256]", show_default=False)] = 256,
    seed: Annotated[int, option("seed of a random split [0]")] = 0,
    plugins: Annotated[str | None, option("Python files that add data sets")] = None,
    config: Annotated[str | None, option("config whose [data] says how to read, except size and seed")] = None,
    allow_duplicates: Annotated[bool, typer.Option("--allow-duplicates", help="accept copies in two splits")] = False,
    out: Annotated[Path | None, option("folder to write to [results/check/<name>]")] = None,
) -> None:
    """Read every image of a data set, list problems (exit code 1), draw a page of samples."""
    require_folder("--data-root", data_root)
    refuse_early(context.obj, plugins, partial(check_dataset_name, name))
    for problem in register_all(context.obj, plugins):
        console.print(Text(problem, style="red"))
    from bench.cli.overrides import data_values
    from bench.commands.check_data.command import check_dataset
    from bench.config import parse_config
    from bench.data.prepare import request_for
    from bench.run.plan import make_plan
    from bench.specs import parse_spec
    from bench.store.folders import file_name

    if parse_spec(name).base == "all":
        raise UserError("check-data takes one data set at a time; run_benchmark.py list shows their names")
    plan = make_plan(parse_config(data_values(config, name, size, seed, allow_duplicates), "check-data"), data_root)
    ((short, info),) = plan.datasets.items()
    request = request_for(info, plan.configs[short].data, data_root, skip_bad=True, splits=folder_of_splits(splits))
    folder = _check_folder(out, file_name(parse_spec(short).base))
    raise typer.Exit(0 if check_dataset(info, request, folder, console) else 1)


def _check_folder(out: Path | None, name: str) -> Path:
    """Returns the folder that a check writes to.

    Raises:
        UserError: the name is that of a file.
    """
    if out is not None and (out.suffix in (".png", ".jpg", ".pdf", ".csv") or out.is_file()):
        raise UserError(f"--out {out}: give a folder; samples.png and tables are written into it")
    return out or Path("results/check") / name


def merge(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="run folders, such as results/mine results/yours")],
    out: Annotated[Path, typer.Option(help="folder of the merged run: new, empty or of an earlier merge")],
) -> None:
    """Merge runs with the same data and settings into one run with one report."""
    context.obj()
    from bench.commands.merge.command import merge_runs

    raise typer.Exit(1 if merge_runs(runs, out, console) else 0)


def get(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="data set")],
    data_root: Annotated[Path, option("folder of the downloaded data sets [data]")] = Path("data"),
) -> None:
    """Get a data set: clone it, or say how to get it and check it (exit code 1 if it is not there)."""
    require_folder("--data-root", data_root)
    refuse_early(context.obj, None, partial(check_dataset_name, name))
    context.obj()
    from bench.commands.check_data.command import check_dataset
    from bench.commands.get.command import get_dataset
    from bench.data.loading import Request
    from bench.registry import DATASETS
    from bench.store.folders import file_name

    info = DATASETS[name]

    def check() -> bool:
        folder = _check_folder(None, file_name(name))
        return check_dataset(info, Request(data_root, 256, 0, skip_bad=True), folder, console)

    raise typer.Exit(0 if get_dataset(info, data_root, console, check) else 1)


def config(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="shipped config, or TOML file")] = "quick",
    page: Annotated[bool, typer.Option("--page", help="print docs/config.md instead")] = False,
) -> None:
    """Print a config with all its values, as TOML."""

    def text() -> str:
        from bench.commands.config.toml import resolved_toml

        return resolved_toml(name)

    if page:
        context.obj()
        from bench.commands.config.page import config_page

        typer.echo(config_page(), nl=False)
        return
    typer.echo(without_torch(text), nl=False)


def explain(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="image file")],
    cell: Annotated[Path, typer.Option(help="folder of a cell: RUN/cells/DATA SET/BACKBONE-HEAD-sSEED")],
    target: Annotated[str | None, option("explained class [the predicted one]")] = None,
    explainers: Annotated[str | None, option("explainers; all [those of the run, without controls]")] = None,
    plugins: Annotated[str | None, option("Python files that add explainers, the backbone or head")] = None,
    out: Annotated[Path | None, option("PNG file [RUN/explain/DATA SET/CELL/IMAGE.png]")] = None,
) -> None:
    """Explain one image by a trained classifier of a run: all maps in one PNG."""
    for problem in register_all(context.obj, plugins):
        console.print(Text(problem, style="red"))
    from bench.commands.explain.command import explain_image

    for line in explain_image(image, cell, target, names_of(explainers), out):
        console.print(line, soft_wrap=True, markup=False)
