"""Everything that is measured, in the order of the table."""

from __future__ import annotations

from bench.speed.explaining import Costs, explaining_tasks
from bench.speed.learning import learning_tasks
from bench.speed.limits import limit_tasks
from bench.speed.occluding import occluding_tasks
from bench.speed.scene import Scene, Task


def all_tasks(scene: Scene, costs: Costs) -> list[Task]:
    """Every task of a run; ``costs`` from ``count_passes``."""
    return [
        *limit_tasks(scene),
        *explaining_tasks(scene, costs),
        *occluding_tasks(scene),
        *learning_tasks(scene),
    ]
