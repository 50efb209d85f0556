"""Image passes of every cell of a plan, counted from the config and from a trial of each explainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config import Config
from bench.contracts import Batch, Classifier, DatasetInfo, Explainer
from bench.data.loading import build_samples
from bench.data.prepare import request_for
from bench.data.splitting import FRACTIONS
from bench.errors import UserError
from bench.evaluation.metric_inputs import OCCLUDED
from bench.evaluation.result import CostMeter
from bench.run.plan import Plan
from bench.store.records import CellKey

#: Side of the images on which the passes of a map are counted, because they do not depend on it.
_SMALL = 96
#: Bytes per stored row of scores, as docs/measurements/scaling.py measures them; bytes of a weight, and of a pixel.
_ROW, _WEIGHT, _PIXEL = 18, 4, 3
#: Images per split of a data set whose size is unknown before it is read.
_UNKNOWN = {"train": 1000, "val": 200, "test": 200}
#: Share of the images outside a test fold that a classifier is trained on; the others are for validation.
_TRAINED = FRACTIONS["train"] + FRACTIONS["test"]


@dataclass(frozen=True)
class Images:
    """Numbers of images of a data set.

    Attributes:
        train, val, test: per split.
        explained: explained images.
        faithful: how many of these are occluded.
        is_known: whether the numbers are stated by the data set or the config.
    """

    train: int
    val: int
    test: int
    explained: int
    faithful: int
    is_known: bool


@dataclass(frozen=True)
class CellPasses:
    """Image passes of one cell.

    Attributes:
        training: images through forward and backward pass and optimiser step.
        validation: forward passes during the training.
        prediction: forward passes of the test and explained images.
        share: passes of one share, with all explainers; a backward pass counts as two.
        shares: number of shares.
        rows: stored rows of scores.
    """

    training: int
    validation: int
    prediction: int
    share: float
    shares: int
    rows: int


def images_of(info: DatasetInfo, config: Config, root: Path) -> Images:
    """Returns the numbers of images of a cell, published ones or those of a folder, as far as the config wants them.

    Of a data set that states none, half of the test images count as diseased. With cross-validation, a cell is a fold.
    """
    data, section = config.data, config.explain.part(1, config.data.folds) if config.data.folds else config.explain
    published = {split: sum(classes) for split, classes in info.published.items()} or _counted(info, config, root)
    wanted = {"train": data.train, "val": data.val, "test": data.test}
    sizes = {split: min(wanted[split] or 10**9, published.get(split, 10**9)) for split in wanted}
    is_known = max(sizes.values()) < 10**9
    sizes = {split: _UNKNOWN[split] if size == 10**9 else size for split, size in sizes.items()}
    if data.folds:
        total, test = sum(sizes.values()), math.ceil(sum(sizes.values()) / data.folds)
        train = round(_TRAINED * (total - test))
        sizes = {"train": train, "val": total - test - train, "test": test}
    classes = info.published.get("test", ())
    share = classes[info.healthy] / sum(classes) if classes and info.healthy is not None else 0.5
    healthy, diseased = round(sizes["test"] * share), sizes["test"] - round(sizes["test"] * share)
    healthy = min(healthy if section.healthy is None else section.healthy, healthy)
    diseased = min(section.diseased or diseased, diseased)
    faithful = min(diseased if section.faithful is None else section.faithful, diseased)
    return Images(sizes["train"], sizes["val"], sizes["test"], healthy + diseased, faithful, is_known)


def _counted(info: DatasetInfo, config: Config, root: Path) -> dict[str, int]:
    """Counts the images of a folder by split; of other data sets, and of a folder that cannot be read, none."""
    if not info.name.startswith("folder:"):
        return {}
    request = request_for(info, config.data, root, skip_bad=True, splits=None)
    try:
        return {split: len(build_samples(info, request, split)) for split in info.splits}
    except UserError:  # the run says what is wrong
        return {}


def cell_passes(plan: Plan, key: CellKey, images: Images, per_map: Callable[[str], float | None]) -> CellPasses:
    """Counts the passes of a cell.

    Args:
        plan: the plan.
        key: names the cell.
        images: of its data set.
        per_map: explainer -> passes of one map; None if it does not apply.
    """
    config, planned = plan.configs[key.dataset].for_dataset(plan.spec(key.dataset), key.backbone), plan.cells[key]
    recipe, section = config.training, config.explain
    epochs = 0 if planned.head.converts or planned.head.given else recipe.epochs
    if planned.head.searched:
        epochs = recipe.search_epochs * recipe.search_steps
    curves = {(need, one.variant) for one in plan.metrics for need in OCCLUDED & set(one.info.needs)}
    curves = {(need.replace("hits", "curve"), variant) for need, variant in curves}
    costs = [cost for name in plan.explainers_of(key) if (cost := per_map(name)) is not None]
    shares = max(1, math.ceil(images.explained / section.batch_size))
    occluded = images.faithful * (section.steps + 1) * len(curves)
    rows = images.explained * len(plan.metrics) + images.faithful * (section.steps + 1) * len(curves)
    return CellPasses(
        training=epochs * images.train,
        validation=epochs * images.val,
        prediction=images.test + images.explained,
        share=sum(images.explained * cost + occluded for cost in costs) / shares,
        shares=shares,
        rows=rows * len(costs),
    )


def disk_bytes(
    plan: Plan, passes: dict[CellKey, CellPasses], weights: dict[tuple[str, str], int], images: dict[str, Images]
) -> tuple[float, float]:
    """Estimates the bytes of the run folder without maps of all images, and of the decoded images.

    Args:
        plan: the plan.
        passes: of every cell.
        weights: (backbone, head) -> number of weights.
        images: data set -> numbers of images.
    """
    scores = sum(one.rows * _ROW + weights[key.backbone, key.head] * _WEIGHT for key, one in passes.items())
    side = {name: plan.configs[name].data.size for name in images}
    decoded = sum((one.train + one.val + one.test) * _PIXEL * side[name] ** 2 for name, one in images.items())
    return scores, decoded


def map_passes(classifier: Classifier, explainer: Explainer, device: torch.device) -> float | None:
    """Counts the passes of one map by computing one; a backward pass counts as two. None if it does not apply."""
    images = torch.rand(1, 3, _SMALL, _SMALL, device=device)
    masks = torch.ones(1, _SMALL, _SMALL, dtype=torch.bool, device=device)
    if explainer.applies_to(classifier):
        return None
    meter = CostMeter(classifier, device)
    with meter:
        explainer.explain_batch(classifier, Batch(images, torch.tensor([0], device=device), masks, (0,)))
    meter.cost.images += 1
    cost = meter.cost.per_map()
    return cost["forwards_per_map"] + 2 * cost["backwards_per_map"]
