"""Peak memory of a task.

It is measured in a fresh process, because memory that earlier work has left behind would hide the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from bench.commands.speed.explainers import Costs
from bench.commands.speed.scene import Setting, Task, make_scene
from bench.commands.speed.tasks import all_tasks
from bench.memory import PeakMemory

Result = TypeVar("Result")


def in_fresh_process(register: Callable[[], None], function: Callable[..., Result], *arguments: Any) -> Result:
    """Returns ``function(*arguments)``, computed in a new interpreter whose registries ``register`` has filled."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=register) as pool:
        return pool.submit(function, *arguments).result()


def peak_by_name(setting: Setting, device: str, costs: Costs, name: str) -> float:
    """Measures the peak memory in MiB of one run of the task of this name, above networks and images.

    On the CPU it is resident memory and includes what libraries set up at their first call: call it in a fresh process.
    """
    scene = make_scene(setting, torch.device(device))
    task = next(task for task in all_tasks(scene, costs) if task.name == name)
    return peak_of(task, scene.device)


def peak_of(task: Task, device: torch.device) -> float:
    """Measures the peak memory in MiB inside a task, above the memory at its start."""
    with PeakMemory(device) as memory:
        task.run()
    return memory.mebibytes
