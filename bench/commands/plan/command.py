"""Cells, passes, hours, disk and the gain from more workers, for a run that has not begun."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich import filesize
from rich.console import Console
from rich.table import Table

from bench.commands.plan.forecast import Forecast, forecast
from bench.commands.plan.passes import CellPasses, Images, cell_passes, disk_bytes, images_of
from bench.commands.plan.rates import Trials
from bench.config import Config
from bench.devices import describe_machine
from bench.progress import clock
from bench.run.coordinator import make_schedule
from bench.run.plan import Plan, make_plan
from bench.run.tasks import Task
from bench.store.records import CellKey

WORKERS = (1, 4, 8, 64)


@dataclass(frozen=True)
class Costs:
    """Passes and estimated seconds of every cell.

    Attributes:
        passes: cell -> image passes.
        rates: cell -> images per second in training and in a forward pass.
    """

    passes: dict[CellKey, CellPasses]
    rates: dict[CellKey, tuple[float, float]]

    def seconds(self, task: Task) -> float:
        """Estimates the seconds of a task; reading images, joining and studies are not included."""
        if task.cell is None or task.kind == "finish" or task.cell not in self.passes:
            return 0.0
        passes, (training, forward) = self.passes[task.cell], self.rates[task.cell]
        if task.kind == "score":
            return passes.share / forward
        return passes.training / training + (passes.validation + passes.prediction) / forward

    def shares(self, task: Task) -> int:
        """Returns the number of shares of the cell that a task trains."""
        return self.passes[task.cell].shares if task.cell in self.passes else 0


def show_plan(config: Config, root: Path, device: torch.device, workers: int | None, console: Console) -> None:
    """Measures a few passes and prints what a run would cost; nothing is written.

    Args:
        config: of the run.
        root: folder of the downloaded data sets, which need not be there.
        device: to measure on.
        workers: a further number of workers to show.
        console: to print to.
    """
    plan = make_plan(config, root, absent_too=True)
    machine = describe_machine(device)
    images = {name: images_of(info, plan.configs[name], root) for name, info in plan.datasets.items()}
    trials = Trials(config, plan, device)
    costs = _costs(plan, images, trials)
    weights = {(key.backbone, key.head): trials.weights(key) for key in plan.cells}
    where = machine["gpu"] if device.type == "cuda" else f"{machine['cpu']}, {machine['threads']} threads"
    console.print(f"{len(plan.cells)} cells on {where}", highlight=False)
    console.print(_table_of_cells(plan, costs), "")
    shown = sorted({*WORKERS, *([workers] if workers else [])})
    console.print(_table_of_workers(config, plan, costs, shown, device), "")
    scores, decoded = disk_bytes(plan, costs.passes, weights, images)
    console.print(
        f"disk: about {filesize.decimal(int(scores))} in the run folder without maps of all images, and "
        f"{filesize.decimal(int(decoded))} of decoded images",
        highlight=False,
    )
    console.print("extrapolated from a few passes over noise; reading images, studies and the report come on top")
    if unknown := [name for name, one in images.items() if not one.is_known]:
        console.print(f"numbers of images assumed, because they are not stated: {', '.join(unknown)}", markup=False)


def _costs(plan: Plan, images: dict[str, Images], trials: Trials) -> Costs:
    passes, rates = {}, {}
    for key in plan.cells:
        passes[key] = cell_passes(plan, key, images[key.dataset], partial(trials.passes, key))
        rates[key] = trials.rates(key)
    return Costs(passes, rates)


def _table_of_cells(plan: Plan, costs: Costs) -> Table:
    """Returns one row per data set and backbone: passes of each stage, rates, and time on one worker."""
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key in plan.cells:
        groups[key.dataset, key.backbone].append(key)
    titles = (
        "data set",
        "backbone",
        "side",
        "cells",
        "training",
        "prediction",
        "maps and curves",
        "images/s",
        "h:mm:ss",
    )
    table = Table(*titles, title="image passes, and time on one worker", title_justify="left", box=None, pad_edge=False)
    for (dataset, backbone), keys in groups.items():
        found = [costs.passes[key] for key in keys]
        took = clock(sum(_seconds_of(key, costs) for key in keys))
        training, forward = costs.rates[keys[0]]
        size = plan.configs[dataset].data.size
        passes = (
            sum(one.training for one in found),
            sum(one.validation + one.prediction for one in found),
            sum(one.share * one.shares for one in found),
        )
        counts = (f"{count:,.0f}" for count in passes)
        table.add_row(dataset, backbone, f"{size}", f"{len(keys)}", *counts, f"{training:.0f} / {forward:.0f}", took)
    return table


def _table_of_workers(config: Config, plan: Plan, costs: Costs, numbers: list[int], device: torch.device) -> Table:
    """Returns one row per number of workers, and one for as many as can be busy at all."""
    each = f"{'GPU' if device.type == 'cuda' else 'worker'} time"
    table = Table("workers", "h:mm:ss", each, "busy", title="on several workers like this one", title_justify="left")
    table.box, table.pad_edge = None, False
    most = sum(one.shares for one in costs.passes.values()) + len(plan.cells)
    for number in [*numbers, most]:
        found = _played(config, plan, costs, number)
        name = "any number (critical path)" if number == most else str(number)
        share = found.busy / (found.seconds * number) if found.seconds else 1.0
        rest = ("", "") if number == most else (clock(found.seconds * number), f"{share:.0%}")
        table.add_row(name, clock(found.seconds), *rest)
    return table


def _played(config: Config, plan: Plan, costs: Costs, workers: int) -> Forecast:
    return forecast(make_schedule(config, plan), costs.seconds, costs.shares, workers)


def _seconds_of(key: CellKey, costs: Costs) -> float:
    share = costs.seconds(Task("score", key.dataset, key)) * costs.passes[key].shares
    return costs.seconds(Task("train", key.dataset, key)) + share
