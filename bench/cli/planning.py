"""The command ``plan``: what a run would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench.cli.flags import console, option, register_all, workers_of


def plan(
    context: typer.Context,
    config: Annotated[str | None, option("shipped config or TOML file [quick; standard on CUDA]")] = None,
    datasets: Annotated[str | None, option("data sets, comma separated; their files need not be there")] = None,
    backbones: Annotated[str | None, option("backbones, comma separated")] = None,
    heads: Annotated[str | None, option("heads, comma separated")] = None,
    explainers: Annotated[str | None, option("explainers, comma separated; all")] = None,
    metrics: Annotated[str | None, option("metrics, comma separated; all; name@operator")] = None,
    seeds: Annotated[str | None, option("seeds, comma separated")] = None,
    size: Annotated[int | None, option("input side in pixels")] = None,
    folds: Annotated[int | None, option("cross-validation in so many parts; 1 = none")] = None,
    epochs: Annotated[int | None, option("epochs of every training")] = None,
    explain: Annotated[str | None, option("diseased images to explain: N or all")] = None,
    workers: Annotated[str | None, option("a further number of workers to show; gpus")] = None,
    data_root: Annotated[Path, option("folder of the downloaded data sets [data]")] = Path("data"),
    plugins: Annotated[str | None, option("Python files that add methods, metrics or data sets")] = None,
    batch_size: Annotated[int | None, option("batch size for training and explaining")] = None,
    device: Annotated[str, option("cpu, cuda or auto [auto]")] = "auto",
) -> None:
    """Print what a run would cost: cells, image passes, hours, disk, and the gain from more workers."""
    problems = register_all(context.obj, plugins)
    import torch

    from bench.cli.overrides import Flags, merged_values, stated_by
    from bench.commands.plan.command import show_plan
    from bench.config import parse_config
    from bench.devices import choose_device
    from bench.run.own_data import adapt

    for problem in problems:
        console.print(Text(problem, style="red"))
    chosen = choose_device(device)
    name = config if config is not None else ("standard" if chosen.type == "cuda" else "quick")
    flags = Flags.of(context.params)
    number = workers_of(workers, None)
    count = torch.cuda.device_count() if number == "gpus" else number
    settings, _ = adapt(parse_config(merged_values(name, flags), name), stated_by(name, flags), data_root)
    show_plan(settings, data_root, chosen, count, console)
