"""Tasks of bare forward passes: the lower bound of every harness."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.commands.speed.scene import Precision, Scene, Task
from bench.devices import has_fast_bf16

GROUP = "forward pass"


def forward_tasks(scene: Scene) -> list[Task]:
    """Lists the float32 forward pass, which is the unit of the table, and the fastest one in each precision."""
    images, _ = scene.batch(scene.setting.batch)
    plain = images.contiguous()
    tasks = [Task(GROUP, "float32", lambda: _forward(scene.plain, plain, scene, "float32"), "limit")]
    for precision in precisions(scene):
        run = _later(scene.blackbox, images, scene, precision)
        tasks.append(Task(GROUP, f"best {precision}", run, "limit"))
    return tasks


def precisions(scene: Scene) -> list[Precision]:
    """Lists float32, and bf16 if the device has it in hardware."""
    return ["float32", "bf16"] if has_fast_bf16(scene.device) else ["float32"]


def _later(network: nn.Module, images: Tensor, scene: Scene, precision: Precision) -> Callable[[], int]:
    return lambda: _forward(network, images, scene, precision)


def _forward(network: nn.Module, images: Tensor, scene: Scene, precision: Precision) -> int:
    with torch.inference_mode(), torch.autocast(scene.device.type, torch.bfloat16, enabled=precision == "bf16"):
        network(images)
    return len(images)
