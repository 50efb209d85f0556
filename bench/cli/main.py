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

from bench.cli.early import check_run, refuse_early
from bench.cli.evaluating import evaluate
from bench.cli.failures import GuardedCommands, line_of, require_folder
from bench.cli.flags import AllFigures, console, figures_of, folder_of_splits, option, register_all, workers_of
from bench.cli.mock_imports import mock_imports
from bench.cli.planning import plan as plan_run
from bench.cli.plugins import installed_plugins
from bench.cli.tools import check_data, explain, export, get, merge, report, speed
from bench.cli.tools import config as print_config
from bench.run.cluster.forks import start_server
from bench.run.finished import RECEIPT

if TYPE_CHECKING:
    from bench.cli.listing import Listing


EPILOG = """\b
Examples:
  run_benchmark.py --datasets all
  run_benchmark.py --plugins my_method.py --out results/mine
  run_benchmark.py evaluate --model my_net.py:build --weights my.pt --datasets folder:my_images
  run_benchmark.py check-data cxr --data-root data --splits released
"""

app = typer.Typer(cls=GuardedCommands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True, epilog=EPILOG)
def benchmark(
    context: typer.Context,
    datasets: Annotated[str | None, option("data sets, comma separated; all; folder:PATH")] = None,
    backbones: Annotated[str | None, option("backbones, comma separated")] = None,
    heads: Annotated[str | None, option("heads, comma separated")] = None,
    explainers: Annotated[str | None, option("explainers; all; all,-scorecam")] = None,
    metrics: Annotated[str | None, option("metrics; all; name@operator")] = None,
    seeds: Annotated[str | None, option("seeds, comma separated")] = None,
    studies: Annotated[str | None, option("additional studies, comma separated; none")] = None,
    probes: Annotated[str | None, typer.Option(hidden=True, help="old name of --studies")] = None,
    shortcut: Annotated[str | None, option("plant a tag in every phantom: tag:0.9")] = None,
    size: Annotated[int | None, option("input side in pixels")] = None,
    folds: Annotated[int | None, option("cross-validation in so many parts; 1 = none")] = None,
    epochs: Annotated[int | None, option("epochs of every training")] = None,
    pretrained: Annotated[bool | None, option("start from ImageNet weights, if any")] = None,
    explain: Annotated[str | None, option("diseased images to explain: N or all")] = None,
    config: Annotated[str | None, option("shipped config or TOML file [quick]")] = None,
    data_root: Annotated[Path, option("folder of the downloaded data sets [data]")] = Path("data"),
    splits: Annotated[Path | None, option("folder of released split files")] = None,
    plugins: Annotated[str | None, option("Python files with further methods or data")] = None,
    init: Annotated[Path | None, option("weights that every training starts from")] = None,
    out: Annotated[Path | None, option("run folder [results/<config>]")] = None,
    cache: Annotated[Path | None, option("folder of decoded images [--out/../cache]")] = None,
    device: Annotated[str, option("cpu, cuda or auto [auto]")] = "auto",
    workers: Annotated[str | None, option("worker processes, or gpus: one per GPU")] = None,
    cluster: Annotated[str | None, option("jobs.toml, tcp://HOST:PORT, scheduler.json")] = None,
    batch_size: Annotated[int | None, option("batch size for training and explaining")] = None,
    precision: Annotated[str, option("under occlusion: float32, bf16, auto")] = "auto",
    align: Annotated[str | None, option("of feature maps: receptive-field or grid")] = None,
    page_images: Annotated[str | None, option("images to explore in the page, or all [200]")] = None,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="keep every raw map as .npz")] = False,
    allow_duplicates: Annotated[bool, typer.Option("--allow-duplicates", help="accept copies in two splits")] = False,
    all_figures: AllFigures = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="skip and count unreadable images")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="print every score and verdict at the end")] = False,
) -> None:
    """Train black boxes and SoftCAM models, explain both, score the maps."""
    if context.invoked_subcommand is not None:
        return
    require_folder("--data-root", data_root)
    require_folder("--cache", cache)
    refuse_early(context.obj, plugins, partial(check_run, config or "quick", context.params))
    number = workers_of(workers, cluster)
    receipt = (out or Path("results") / Path(config or "quick").stem) / RECEIPT
    if number != 1 and not cluster and "torch" not in sys.modules and not receipt.exists():
        start_server()  # it imports what workers need while this process does
    problems = register_all(context.obj, plugins)
    from bench.cli.overrides import Flags, merged_values, stated_by
    from bench.config import parse_config
    from bench.devices import choose_device, device_of_cluster
    from bench.evaluation.predictor import checked_precision
    from bench.run.options import RunOptions
    from bench.run.own_data import adapt
    from bench.run.plan import make_plan, require_training
    from bench.store.run_folder import check_run_folder

    chosen_device = device_of_cluster(device) if cluster else choose_device(device)
    name = config if config is not None else ("standard" if chosen_device.type == "cuda" else "quick")
    flags = Flags.of(context.params)
    merged, chosen = adapt(parse_config(merged_values(name, flags), name), stated_by(name, flags), data_root)
    plan = make_plan(merged, data_root)
    require_training(plan)
    folder = out or Path("results") / Path(name).stem
    precision = checked_precision(precision)
    options = RunOptions(
        *(data_root, folder, chosen_device, save_maps, skip_bad, folder_of_splits(splits), cache, precision),
        *(number, cluster or ""),
    )
    check_run_folder(folder)  # before anything is announced; the run checks it again
    _announce(name, options, plan, chosen)
    shown = {"verbose": verbose, "figures": figures_of(all_figures)}
    _execute(merged, plan, options, problems, partial(register_all, context.obj, plugins), shown)


def _execute(
    config: Any, plan: Any, options: Any, problems: list[str], register: Callable[[], object], shown: dict[str, Any]
) -> None:
    """Runs and reports; exits with code 0, 1 if something failed, 130 after Ctrl-C."""
    from bench.run.runner import run

    try:
        outcome = run(config, plan, options, console, problems, register)
        from bench.report.build import build_report  # not at the top: other processes of the run do not need it

        left = build_report(options.out, console, only_if_stale=True, said=outcome.problems, **shown)
    except KeyboardInterrupt:  # click would say no more than "Aborted!"
        console.print(f"stopped; finished work is in {options.out}, and the same command continues from there")
        raise typer.Exit(130) from None
    for problem in outcome.problems:
        console.print(Text(problem, style="red"), soft_wrap=True)
    raise typer.Exit(1 if outcome.problems or left else 0)


def _announce(name: str, options: Any, plan: Any, chosen: list[str]) -> None:
    console.print(f"config {name} on {options.device}: {len(plan.cells)} classifiers on {', '.join(plan.datasets)}")
    for line in chosen:
        console.print(Text(line), soft_wrap=True)
    if plan.absent:
        line = f"left out, files not there: {', '.join(plan.absent)} (run_benchmark.py list says what is missing)"
        console.print(Text(line), soft_wrap=True)
    console.print(f"writing to {options.out}, decoded images to {options.cache_folder}", soft_wrap=True)


@app.command("list", short_help="List what a run can name, and missing data sets.")
def list_everything(
    context: typer.Context,
    data_root: Annotated[Path, option("folder of the downloaded data sets [data]")] = Path("data"),
    plugins: Annotated[str | None, option("Python files with further methods or data")] = None,
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
    return register_all(context.obj, plugins), read()


app.command(short_help="Explain and score a trained model of your own.")(evaluate)
app.command("plan", short_help="Print what a run would cost.")(plan_run)
app.command(short_help="Merge runs with the same data into one report.")(merge)
app.command(short_help="Get a data set, or say how to.")(get)


app.command(short_help="Rebuild what is stale of tables, figures and page.")(report)
app.command(short_help="Explain one image: all maps in one PNG.")(explain)
app.command(short_help="Export a trained classifier: weights, model card, ONNX.")(export)
app.command(short_help="Benchmark speed against other libraries.")(speed)
app.command("config", short_help="Print a config with all its values.")(print_config)
app.command("check-data", short_help="Read every image of a data set, list problems.")(check_data)


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
