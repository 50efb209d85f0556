"""All tasks of a run, in the order of the table."""

from __future__ import annotations

from bench.commands.speed.explainers import Costs, explainer_tasks
from bench.commands.speed.forward import forward_tasks
from bench.commands.speed.occlusion import occlusion_tasks
from bench.commands.speed.scene import Scene, Task
from bench.commands.speed.training import training_tasks


def all_tasks(scene: Scene, costs: Costs) -> list[Task]:
    """Lists every task of a run; ``costs`` comes from ``count_passes``."""
    return [
        *forward_tasks(scene),
        *explainer_tasks(scene, costs),
        *occlusion_tasks(scene),
        *training_tasks(scene),
    ]
