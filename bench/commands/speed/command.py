"""Command ``speed``: measures time and memory of every task, and writes a table and a figure."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from bench.commands.speed.explainers import Costs, count_passes
from bench.commands.speed.memory import in_fresh_process, peak_by_name, peak_of
from bench.commands.speed.scene import Scene, Setting, Task, make_scene
from bench.commands.speed.tables import FILES, rows
from bench.commands.speed.tables import write as write_tables
from bench.commands.speed.targets import targets
from bench.commands.speed.tasks import all_tasks
from bench.commands.speed.timing import seconds_per_image
from bench.devices import describe_machine
from bench.store.manifest import Manifest

PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "torchcam", "quantus")


def measure_speed(
    setting: Setting, device: torch.device, out: Path, console: Console, register: Callable[[], None]
) -> None:
    """Measures every task in one setting and writes ``speed.{csv,md,png,pdf}`` to a folder.

    Args:
        setting: backbone, sizes and number of repeats.
        device: device that is measured.
        out: folder to write to.
        console: shows the progress.
        register: fills the registries in the fresh processes that measure memory.

    Raises:
        UserError: There is no such backbone, SoftCAM does not fit it, or one of the files exists and was not written by
            this command.
    """
    files = Manifest(out)
    files.require(*FILES)
    console.print(f"speed: {about(setting)}; random weights, images of noise", soft_wrap=True)
    scene = make_scene(setting, device)
    costs = count_passes(scene)
    tasks = all_tasks(scene, costs)
    seconds = seconds_per_image(tasks, setting.repeats, device, lambda number: _say(console, number, setting.repeats))
    memory = {} if setting.quick else _memory(scene, tasks, costs, console, register)
    table = rows(tasks, seconds, targets(scene, seconds), memory)
    caption = f"{about(setting)}. {machine(device)}."
    write_tables(table, caption, _notes(setting, device), files)
    console.print(f"wrote {out / 'speed.md'}, and the same as .csv, .png and .pdf", soft_wrap=True)


def about(setting: Setting) -> str:
    """Describes the setting in one line."""
    return f"{setting.backbone}, {setting.size} px, batch {setting.batch}, {setting.repeats} repeats"


def machine(device: torch.device) -> str:
    """Describes processor or GPU, threads, and the versions of the compared packages."""
    facts = describe_machine(device)
    what = facts["gpu"] if device.type == "cuda" else f"{facts['cpu']}, {facts['threads']} threads"
    return f"{what}; {', '.join(_version(name) for name in PACKAGES)}"


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {name}"


def _say(console: Console, number: int, repeats: int) -> None:
    console.print("warmed up" if number == 0 else f"round {number} of {repeats}")
    sys.stdout.flush()


def _memory(
    scene: Scene, tasks: list[Task], costs: Costs, console: Console, register: Callable[[], None]
) -> dict[str, float]:
    console.print("measuring peak memory")
    if scene.device.type == "cuda":  # the allocator counts per process
        return {task.name: peak_of(task, scene.device) for task in tasks}
    where = scene.setting, str(scene.device), costs
    return {task.name: in_fresh_process(register, peak_by_name, *where, task.name) for task in tasks}


def _notes(setting: Setting, device: torch.device) -> list[str]:
    notes = [
        "Median over the rounds [lowest, highest]. All tasks run in turn in every round, and ratios are taken within a "
        "round. Weights are random and images are noise, so the table says nothing about the quality of maps.",
        "Maps that need many passes are timed on fewer images, at least one. Single maps and methods of other "
        "libraries are timed for one class.",
        f"An occluded image is one forward pass of a curve of {setting.steps} steps, or of the intact image, including "
        "the ranking of patches. Quantus removes pixels in about as many steps.",
    ]
    if device.type == "cpu" and not setting.quick:
        notes.append("Peak memory is the resident memory of one run in a fresh process, above networks and images.")
    return notes
