"""Command line.

It imports nothing heavy at the top, so that ``--help`` and errors in flags appear at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cli.checks import require_folder
from bench.cli.evaluating import evaluate
from bench.cli.failures import GuardedCommands, line_of
from bench.cli.flags import names_of, splits_of, workers_of
from bench.cli.mock_imports import mock_imports
from bench.cli.planning import plan as plan_run
from bench.cli.plugins import installed_plugins, load_plugins
from bench.errors import UserError
from bench.run.cluster.forks import start_server
from bench.text.terminal import Terminal

if TYPE_CHECKING:
    from bench.cli.listing import Listing


EPILOG = """\b
Examples:
  run_benchmark.py --datasets all
  run_benchmark.py --datasets fundus-phantom,folder:my_images
  run_benchmark.py --plugins my_method.py --out results/mine
  run_benchmark.py evaluate --model my_net.py:build --weights my.pt --datasets folder:my_images
"""

#: Options that take several names; the config's section ``run`` has the same keys.
_LISTS = ("datasets", "backbones", "heads", "explainers", "metrics", "seeds", "studies")

app = typer.Typer(cls=GuardedCommands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
#: A file or pipe has no width; the tables need about 150 columns.
console = Terminal(width=None if sys.stdout.isatty() else 150)


def _option(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


@app.callback(invoke_without_command=True, epilog=EPILOG)
def benchmark(
    context: typer.Context,
    datasets: Annotated[str | None, _option("data sets, comma separated; all; folder:PATH")] = None,
    backbones: Annotated[str | None, _option("backbones, comma separated")] = None,
    heads: Annotated[str | None, _option("heads, comma separated")] = None,
    explainers: Annotated[str | None, _option("explainers, comma separated; all")] = None,
    metrics: Annotated[str | None, _option("metrics, comma separated; all; name@operator")] = None,
    seeds: Annotated[str | None, _option("seeds, comma separated")] = None,
    studies: Annotated[str | None, _option("studies beside the scores, comma separated")] = None,
    probes: Annotated[str | None, typer.Option(hidden=True, help="old name of --studies")] = None,
    shortcut: Annotated[str | None, _option("plant a tag in every phantom: tag:0.9")] = None,
    config: Annotated[str | None, _option("shipped config or TOML file [quick; standard on CUDA]")] = None,
    data_root: Annotated[Path, _option("folder of the downloaded data sets [data]")] = Path("data"),
    splits: Annotated[Path | None, _option("folder of released split files (docs/data.md)")] = None,
    plugins: Annotated[str | None, _option("Python files that add methods, metrics or data sets")] = None,
    init: Annotated[Path | None, _option("weights that every training starts from")] = None,
    out: Annotated[Path | None, _option("run folder [results/<config>]")] = None,
    cache: Annotated[Path | None, _option("folder of decoded images [cache next to --out]")] = None,
    device: Annotated[str, _option("cpu, cuda or auto [auto]")] = "auto",
    workers: Annotated[str | None, _option("number of worker processes; gpus: one per GPU")] = None,
    cluster: Annotated[str | None, _option("jobs (.toml), tcp://host:port or scheduler.json")] = None,
    batch_size: Annotated[int | None, _option("batch size for training and explaining")] = None,
    precision: Annotated[str, _option("precision under occlusion: float32, bf16, auto")] = "auto",
    align: Annotated[str | None, _option("draw feature maps by receptive-field or by grid")] = None,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="keep every raw map as .npz")] = False,
    allow_duplicates: Annotated[bool, typer.Option("--allow-duplicates", help="accept copies in two splits")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="skip unreadable images and report how many")] = False,
) -> None:
    """Train black boxes and SoftCAM models, explain both, score the maps."""
    if context.invoked_subcommand is not None:
        return
    require_folder("--data-root", data_root)
    require_folder("--cache", cache)
    number = workers_of(workers, cluster)
    if number != 1 and not cluster and "torch" not in sys.modules:
        start_server()  # it imports what workers need while this process does
    problems = _register(context.obj, plugins)
    from bench.cli.overrides import merged_values
    from bench.config import parse_config
    from bench.devices import choose_device, device_of_cluster
    from bench.evaluation.predictor import checked_precision
    from bench.run.options import RunOptions
    from bench.run.plan import make_plan
    from bench.store.run_folder import check_run_folder

    chosen_device = device_of_cluster(device) if cluster else choose_device(device)
    name = config if config is not None else ("standard" if chosen_device.type == "cuda" else "quick")
    lists = {key: names_of(context.params[key]) for key in _LISTS}
    if probes is not None:
        if studies is not None:
            raise UserError("--probes is the old name of --studies; give --studies alone")
        lists["studies"] = names_of(probes)
    merged = parse_config(merged_values(name, lists, batch_size, init, shortcut, align, allow_duplicates), name)
    plan = make_plan(merged, data_root)
    folder = out or Path("results") / Path(name).stem
    precision = checked_precision(precision)
    options = RunOptions(
        *(data_root, folder, chosen_device, save_maps, skip_bad, splits_of(splits), cache, precision),
        *(number, cluster or ""),
    )
    check_run_folder(folder)  # before anything is announced; the run checks it again
    _announce(name, options, plan)
    _execute(merged, plan, options, problems, partial(_register, context.obj, plugins))


def _execute(config: Any, plan: Any, options: Any, problems: list[str], register: Callable[[], object]) -> None:
    """Runs and reports; exits with code 0, 1 if something failed, 130 after Ctrl-C."""
    from bench.run.runner import run

    try:
        outcome = run(config, plan, options, console, problems, register)
        from bench.report.build import build_report  # not at the top: other processes of the run do not need it

        left = build_report(options.out, console, only_if_stale=not outcome.computed, said=outcome.problems)
    except KeyboardInterrupt:  # click would say no more than "Aborted!"
        console.print(f"stopped; finished work is in {options.out}, and the same command continues from there")
        raise typer.Exit(130) from None
    for problem in outcome.problems:
        console.print(Text(problem, style="red"), soft_wrap=True)
    raise typer.Exit(1 if outcome.problems or left else 0)


def _register(register: Callable[[], object], plugins: str | None) -> list[str]:
    """Fills the registries, before other imports change their order -> one line per plugin that failed."""
    files = [Path(file) for file in names_of(plugins) or []]
    register()
    return load_plugins(files)


def _announce(name: str, options: Any, plan: Any) -> None:
    console.print(f"config {name} on {options.device}: {len(plan.cells)} classifiers on {', '.join(plan.datasets)}")
    for absent, reason in plan.absent.items():
        console.print(Text(f"skipped: {absent}: {reason}", style="yellow"), soft_wrap=True)
    console.print(f"writing to {options.out}, decoded images to {options.cache_folder}", soft_wrap=True)


@app.command("list", short_help="List what a run can name, and missing data sets.")
def list_everything(
    context: typer.Context,
    data_root: Annotated[Path, _option("folder of the downloaded data sets [data]")] = Path("data"),
    plugins: Annotated[str | None, _option("Python files that add methods, metrics or data sets")] = None,
) -> None:
    """List everything that a run can name, and which data sets are missing."""
    require_folder("--data-root", data_root)
    problems, tables = _listing(context, data_root, plugins)
    for problem in problems:
        console.print(Text(problem, style="red"))
    for title, columns, rows in tables:
        table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*row)
        console.print(table, "")


def _listing(context: typer.Context, data_root: Path, plugins: str | None) -> tuple[list[str], list[Listing]]:
    """Returns problems with plugins, and the tables; only plugins may need the heavy packages for their facts."""

    def read() -> list[Listing]:
        from bench.cli.listing import listing

        return listing(data_root)

    if plugins is None and not installed_plugins() and "torch" not in sys.modules:
        with suppress(Exception), mock_imports():  # after an exception, the real modules are imported below
            context.obj()
            return [], read()
    return _register(context.obj, plugins), read()


app.command(short_help="Explain and score a trained model of your own.")(evaluate)
app.command("plan", short_help="Print what a run would cost.")(plan_run)


@app.command()
def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="run folder, such as results/quick")],
) -> None:
    """Rebuild tables, figures and page from the stored scores."""
    context.obj()
    from bench.report.build import build_report

    raise typer.Exit(1 if build_report(run, console) else 0)


@app.command()
def export(
    context: typer.Context,
    cell: Annotated[Path, typer.Argument(help="folder of a cell: RUN/cells/DATA SET/BACKBONE-HEAD-sSEED")],
    onnx: Annotated[bool, typer.Option("--onnx", help="also write model.onnx, compared with PyTorch")] = False,
    out: Annotated[Path | None, _option("folder to write to [RUN/export/DATA SET/...]")] = None,
    plugins: Annotated[str | None, _option("Python files that add the backbone or head")] = None,
) -> None:
    """Export a trained classifier: weights, model card, ONNX."""
    for problem in _register(context.obj, plugins):
        console.print(Text(problem, style="red"))
    from bench.commands.export.command import export_cell

    for line in export_cell(cell, out, onnx):
        console.print(line, soft_wrap=True, markup=False)


@app.command(short_help="Benchmark speed against other libraries.")
def speed(
    context: typer.Context,
    backbone: Annotated[str, _option("registered backbone [resnet18]")] = "resnet18",
    size: Annotated[int, typer.Option(min=32, help="side of the images in pixels [128]", show_default=False)] = 128,
    batch: Annotated[int, typer.Option(min=1, help="images per forward pass [16]", show_default=False)] = 16,
    images: Annotated[int, typer.Option(min=1, help="images to occlude and train on [16]", show_default=False)] = 16,
    repeats: Annotated[int, typer.Option(min=3, help="timings of each task [3]", show_default=False)] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="skip slow explainers and memory")] = False,
    device: Annotated[str, _option("cpu, cuda or auto [auto]")] = "auto",
    out: Annotated[Path, _option("folder to write to [results/speed]")] = Path("results/speed"),
) -> None:
    """Benchmark speed against bare forward passes and other libraries."""
    _register(context.obj, None)
    from bench.commands.speed.command import measure_speed
    from bench.commands.speed.scene import Setting
    from bench.devices import choose_device

    setting = Setting(backbone, size, batch, images, repeats, quick=quick)
    measure_speed(setting, choose_device(device), out, console, context.obj)


@app.command("check-data", short_help="Read every image of a data set, list problems.")
def check_data(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="data set, or folder:PATH")],
    data_root: Annotated[Path, _option("folder of the downloaded data sets [data]")] = Path("data"),
    splits: Annotated[Path | None, _option("folder of released split files (docs/data.md)")] = None,
    size: Annotated[int, typer.Option(min=32, help="side of the images in pixels [256]", show_default=False)] = 256,
    seed: Annotated[int, _option("seed of a random split [0]")] = 0,
    plugins: Annotated[str | None, _option("Python files that add data sets")] = None,
    config: Annotated[str | None, _option("config whose [data] says how to read, except size and seed")] = None,
    allow_duplicates: Annotated[bool, typer.Option("--allow-duplicates", help="accept copies in two splits")] = False,
    out: Annotated[Path | None, _option("page of samples [check-<name>.png]")] = None,
) -> None:
    """Read every image of a data set, list problems (exit code 1), draw a page of samples."""
    require_folder("--data-root", data_root)
    for problem in _register(context.obj, plugins):
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
    info = plan.datasets[name]
    request = request_for(info, plan.configs[name].data, data_root, skip_bad=True, splits=splits_of(splits))
    page = out or Path(f"check-{file_name(name)}.png")
    raise typer.Exit(0 if check_dataset(info, request, page, console) else 1)


def main(register: Callable[[], None]) -> None:
    """Runs the command line; a ``UserError`` or a fault of the disk is one line and gives exit code 2.

    A failed plugin that leaves nothing to do gives exit code 1.

    Args:
        register: imports every module that registers something; not called for ``--help``.
    """
    try:
        code = app(obj=register, standalone_mode=False)  # wrong flags are one line, too
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        console.print(Text(f"error: {line[0]}", style="red"), soft_wrap=True)
        raise SystemExit(line[1]) from None
    raise SystemExit(code or 0)
