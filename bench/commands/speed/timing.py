"""Timing of tasks.

Tasks take turns, so that other processes on the machine disturb all of them equally.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from bench.commands.speed.scene import Task
from bench.statistics.intervals import Floats

#: Seconds that stand out from noise, and seconds that are long enough to hide the effect of the previous task.
_SHORTEST, _LONG = 0.1, 1.0


def seconds_per_image(
    tasks: Sequence[Task], repeats: int, device: torch.device, on_round: Callable[[int], None]
) -> dict[str, Floats]:
    """Times every task once per round.

    Args:
        tasks: the tasks, in the order in which each round runs them.
        repeats: number of rounds that count, after one that warms up.
        device: device of the tasks, which is waited for.
        on_round: called with the number of each finished round; round 0 warms up.

    Returns:
        Name of the task -> seconds per image (repeats,).
    """
    rounds: dict[str, list[float]] = {task.name: [] for task in tasks}
    for number in range(repeats + 1):
        for task in tasks:
            rounds[task.name].append(_once(task, device))
        on_round(number)
    return {name: np.array(values[1:]) for name, values in rounds.items()}


def _once(task: Task, device: torch.device) -> float:
    """Times a task in seconds per image: one run if it is long, otherwise several after the first, which warms up."""
    elapsed, images = _runs(task, device, 0.0)
    if elapsed < _LONG:
        elapsed, images = _runs(task, device, _SHORTEST)
    return elapsed / images


def _runs(task: Task, device: torch.device, shortest: float) -> tuple[float, int]:
    """Runs a task at least once and until the shortest time has passed -> seconds and images."""
    _wait(device)
    started, images, elapsed = time.perf_counter(), 0, 0.0
    while not images or elapsed < shortest:
        images += task.run()
        _wait(device)
        elapsed = time.perf_counter() - started
    return elapsed, images


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def multiples(seconds: Mapping[str, Floats], task: str, reference: str, factor: float = 1.0) -> Floats:
    """Computes the cost (repeats,) of a task as a multiple of ``factor`` times the reference, within each round."""
    return seconds[task] / (factor * seconds[reference])
