"""Everything that is measured, in the order of the table."""

from __future__ import annotations

from bench.commands.speed.explainers import Costs, explaining_tasks
from bench.commands.speed.forward import limit_tasks
from bench.commands.speed.occlusion import occluding_tasks
from bench.commands.speed.scene import Scene, Task
from bench.commands.speed.training import learning_tasks


def all_tasks(scene: Scene, costs: Costs) -> list[Task]:
    """Every task of a run; ``costs`` from ``count_passes``."""
    return [
        *limit_tasks(scene),
        *explaining_tasks(scene, costs),
        *occluding_tasks(scene),
        *learning_tasks(scene),
    ]
