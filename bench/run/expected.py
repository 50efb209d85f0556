"""Expected image passes of the steps of a data set, from which the time left follows once passes are measured."""

from __future__ import annotations

import math
from collections import defaultdict

from bench.config import Config
from bench.evaluation.metric_inputs import OCCLUDED
from bench.progress import RunProgress
from bench.run.plan import Plan
from bench.run.tasks import Task
from bench.store.records import CellKey, DatasetFacts
from bench.training.penalty_search import PlannedHead

#: Passes of one map, as a mean over the shipped explainers of a family (results/reference/tables/cost.md).
_PER_MAP = {"inherent": 1, "post-hoc": 20, "control": 0}


def weigh_steps(progress: RunProgress, plan: Plan, name: str, facts: DatasetFacts) -> None:
    """States the passes of trainings and shares of a data set.

    Args:
        progress: display that estimates the time left.
        plan: of the run.
        name: the data set.
        facts: about its images.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for key, planned in plan.cells.items():
        if key.dataset == name:
            config = plan.configs[name].for_dataset(plan.spec(name), key.backbone)
            found[Task("train", name, key).step].append(training_passes(planned, config, facts))
            found[Task("score", name, key).step].append(share_passes(plan, key, facts))
    for step, passes in found.items():
        progress.weigh(step, sum(passes) / len(passes))


def training_passes(planned: PlannedHead, config: Config, facts: DatasetFacts) -> float:
    """Returns the passes of a training and of the search of its penalty; a conversion takes almost none."""
    if planned.head.converts or planned.head.given:
        return 1.0
    recipe = config.training
    searched = recipe.search_epochs * recipe.search_steps if planned.head.searched else 0
    train, val = (sum(facts.images.get(split, [])) for split in ("train", "val"))
    return (recipe.epochs + searched) * (3.0 * train + val)  # a backward pass counts as two


def shares_of(plan: Plan, name: str, facts: DatasetFacts) -> int:
    """Returns the number of shares of a cell of a data set."""
    return max(1, math.ceil(_explained(facts) / plan.configs[name].explain.batch_size))


def share_passes(plan: Plan, key: CellKey, facts: DatasetFacts) -> float:
    """Returns the passes of the maps and of the occlusion curves of one share with all explainers."""
    curves = {(need, one.variant) for one in plan.metrics for need in OCCLUDED & set(one.info.needs)}
    faithful = (facts.explained_faithful or 0) / (facts.folds or 1)
    occluded = faithful * (plan.configs[key.dataset].explain.steps + 1) * len(curves)
    per_map = [_PER_MAP[one.family] for one in plan.explainers_of(key).values()]
    return (_explained(facts) * sum(per_map) + occluded * len(per_map)) / shares_of(plan, key.dataset, facts)


def _explained(facts: DatasetFacts) -> float:
    """Returns the number of explained images of one cell, which has a fold of them with cross-validation."""
    return ((facts.explained_diseased or 0) + (facts.explained_healthy or 0)) / (facts.folds or 1)
