"""Tasks that explain images: every registered explainer, shared passes for all classes, and other libraries.

Each explainer is timed alone, as a user would call it; explainers that share passes are also timed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch

from bench.commands.speed.forward import precisions
from bench.commands.speed.scene import Scene, Task
from bench.contracts import Batch, Classifier, Explainer
from bench.evaluation.result import Cost, CostMeter
from bench.models.shared_features import SharedFeatures
from bench.registry import EXPLAINERS

BLACK_BOX, ON_SOFTCAM = "one map of the black box", "one map of the SoftCAM"
ALL_CLASSES = "maps of all classes together"
SCORECAM = "scorecam"
SOFTCAM = "softcam"
CAMS = "all feature-map CAMs"
_SMALL = 64
#: Group of tasks -> explainer -> passes of one map.
Costs = dict[str, dict[str, Cost]]


def explainer_tasks(scene: Scene, costs: Costs) -> list[Task]:
    """Lists one task per explainer that applies, on either classifier, and the tasks for all classes."""
    singles = [
        _single(scene, group, name, cost) for group, by_name in costs.items() for name, cost in sorted(by_name.items())
    ]
    return [*singles, *_all_classes(scene, costs[BLACK_BOX])]


def count_passes(scene: Scene) -> Costs:
    """Counts the passes of one map by every explainer that applies; ``quick`` skips the slow ones."""
    costs: Costs = {BLACK_BOX: {}, ON_SOFTCAM: {}}
    for group, by_name in costs.items():
        for name in EXPLAINERS:
            explainer = EXPLAINERS[name]()
            classifier = _classifier(scene, group, explainer)
            if explainer.applies_to(classifier) or (explainer.variant_of and group == ON_SOFTCAM):
                continue
            cost = passes(scene, classifier, explainer)
            if not scene.setting.quick or _weight(cost) <= scene.setting.batch:
                by_name[name] = cost
    return costs


def _classifier(scene: Scene, group: str, explainer: Explainer) -> Classifier:
    """Returns the classifier to explain: other libraries get the network as their users have it."""
    if group == ON_SOFTCAM:
        return scene.softcam
    return scene.plain if explainer.variant_of else scene.blackbox


def is_feature_map_cam(explainer: Explainer, cost: Cost) -> bool:
    """Returns whether the map needs only feature map and head: one forward, no backward pass through the features."""
    return (
        explainer.family == "post-hoc"
        and not explainer.variant_of
        and cost.forwards == cost.images
        and cost.backwards == 0
    )


def passes(scene: Scene, classifier: Classifier, explainer: Explainer) -> Cost:
    """Counts the passes of one map on a corner of an image, because they do not depend on the size."""
    meter, batch = CostMeter(classifier, scene.device), _batch(scene, classifier, 1)
    assert batch.masks is not None
    corner = replace(batch, images=batch.images[..., :_SMALL, :_SMALL], masks=batch.masks[..., :_SMALL, :_SMALL])
    with meter:
        explainer.explain_batch(classifier, corner)
    meter.cost.images = 1
    return meter.cost


def _weight(cost: Cost) -> int:
    """Returns the passes of one map; a backward pass counts as two."""
    return cost.forwards + 2 * cost.backwards


def _images_of(scene: Scene, cost: Cost) -> int:
    """Returns the images that need about one batch of passes: a map of hundreds of passes is timed on one image."""
    return max(1, scene.setting.batch // max(1, _weight(cost) // 3))


def _single(scene: Scene, group: str, name: str, cost: Cost) -> Task:
    explainer = EXPLAINERS[name]()
    classifier = _classifier(scene, group, explainer)
    run = partial(_explain, explainer, classifier, _batch(scene, classifier, _images_of(scene, cost)))
    return Task(group, name, run, "peer" if explainer.variant_of else "ours")


def _explain(explainer: Explainer, classifier: Classifier, batch: Batch) -> int:
    """Computes one map per image -> number of images."""
    explainer.explain_batch(classifier, batch)
    return len(batch.images)


def _explain_classes(explainers: list[Explainer], classifier: Classifier, batch: Batch) -> int:
    """Computes maps of every class by all explainers from one pass, as the harness does -> number of images."""
    batch = replace(batch, shared=SharedFeatures(classifier, batch.images))
    for explainer in explainers:
        explainer.explain_classes(classifier, batch)
    return len(batch.images)


def scorecam_in(precision: str) -> str:
    """Returns Score-CAM's name on the command line in this precision."""
    return SCORECAM if precision == "float32" else f"{SCORECAM}@precision={precision}"


def _all_classes(scene: Scene, costs: Mapping[str, Cost]) -> list[Task]:
    explainers = {name: EXPLAINERS[name]() for name in costs}
    cams = [one for name, one in explainers.items() if is_feature_map_cam(one, costs[name])]
    batch = partial(_batch, scene, scene.blackbox)
    tasks = [
        Task(ALL_CLASSES, SOFTCAM, _evidence(scene)),
        Task(ALL_CLASSES, CAMS, partial(_explain_classes, cams, scene.blackbox, batch(scene.setting.batch))),
    ]
    if SCORECAM in costs:
        few = batch(_images_of(scene, costs[SCORECAM]))
        make: Callable[..., Explainer] = EXPLAINERS[SCORECAM]
        for precision in precisions(scene):
            run = partial(_explain_classes, [make(precision=precision)], scene.blackbox, few)
            tasks.append(Task(ALL_CLASSES, scorecam_in(precision), run))
    return tasks


def _evidence(scene: Scene) -> Callable[[], int]:
    images, _ = scene.batch(scene.setting.batch)

    def run() -> int:
        with torch.inference_mode():
            return len(scene.softcam.forward_evidence(images))

    return run


def _batch(scene: Scene, classifier: Classifier, count: int) -> Batch:
    images, targets = scene.batch(count)
    if classifier is scene.plain:
        images = images.contiguous()
    masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)
    masks[:, ::2] = True
    return Batch(images, targets, masks, tuple(range(len(images))))
