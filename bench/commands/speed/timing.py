"""Seconds of every task, taken in turns so that a noisy neighbour hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from bench.commands.speed.scene import Task
from bench.statistics.intervals import Floats

#: Seconds: what can be told from noise, and what is long enough not to show what the task before has left behind.
_SHORTEST, _LONG = 0.1, 1.0


def seconds_per_image(
    tasks: Sequence[Task], repeats: int, device: torch.device, on_round: Callable[[int], None]
) -> dict[str, Floats]:
    """Name of the task -> seconds an image (repeats,), one value a round; a first round, which warms up, is left out.

    Args:
        on_round: called with the number of each finished round, from 0, which warms up.
    """
    rounds: dict[str, list[float]] = {task.name: [] for task in tasks}
    for number in range(repeats + 1):
        for task in tasks:
            rounds[task.name].append(_once(task, device))
        on_round(number)
    return {name: np.array(values[1:]) for name, values in rounds.items()}


def _once(task: Task, device: torch.device) -> float:
    """Seconds an image: a single run where that is long, else those behind the first, which warms up."""
    elapsed, images = _runs(task, device, 0.0)
    if elapsed < _LONG:
        elapsed, images = _runs(task, device, _SHORTEST)
    return elapsed / images


def _runs(task: Task, device: torch.device, shortest: float) -> tuple[float, int]:
    """Seconds and images of as many runs, one at least, as fill the shortest time."""
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
    """Cost of a task as a multiple of ``factor`` times the reference's (repeats,), each within its own round."""
    return seconds[task] / (factor * seconds[reference])
