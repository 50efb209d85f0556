"""Expected image passes of the steps of a data set, from which the time left follows once passes are measured."""

from __future__ import annotations

from collections import defaultdict

from bench.config import Config
from bench.data.prepare import Prepared
from bench.evaluation.metric_inputs import OCCLUDED
from bench.progress import Progress
from bench.run.plan import Plan
from bench.training.classifier import step_of
from bench.training.penalty_search import PlannedHead

#: Passes of one map, as a mean over the shipped explainers on a compact network (results/reference/tables/cost.md).
_PER_MAP = 15


def weigh_steps(progress: Progress, plan: Plan, name: str, prepared: Prepared) -> None:
    """States the passes of trainings and explainers of a data set.

    Args:
        progress: display that estimates the time left.
        plan: of the run.
        name: the data set.
        prepared: its images.
    """
    trainings: dict[str, list[float]] = defaultdict(list)
    for key, planned in plan.cells.items():
        if key.dataset == name:
            config = plan.configs[name].for_dataset(plan.spec(name), key.backbone)
            trainings[step_of(planned)].append(training_passes(planned, config, prepared))
    for step, passes in trainings.items():
        progress.weigh(step, sum(passes) / len(passes))
    for explainer in plan.explainers:
        progress.weigh(explainer, explainer_passes(plan, name, prepared))


def training_passes(planned: PlannedHead, config: Config, prepared: Prepared) -> float:
    """Returns the passes of a training and of the search of its penalty; a conversion takes almost none."""
    if planned.head.converts or planned.head.given:
        return 1.0
    recipe = config.training
    searched = recipe.search_epochs * recipe.search_steps if planned.head.searched else 0
    epoch = 3.0 * len(prepared.data.train) + len(prepared.data.val)  # a backward pass counts as two
    return (recipe.epochs + searched) * epoch


def explainer_passes(plan: Plan, name: str, prepared: Prepared) -> float:
    """Returns the passes of the maps and of the occlusion curves of an explainer on one classifier."""
    curves = {(need, one.variant) for one in plan.metrics for need in OCCLUDED & set(one.info.needs)}
    occluded = prepared.explained.faithful * (plan.configs[name].explain.steps + 1) * len(curves)
    return float(len(prepared.explained.indices) * _PER_MAP + occluded)
