"""Tasks that occlude images: deletion curves of the harness, of a plain loop, and of Quantus' pixel flipping."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.commands.speed.forward import precisions
from bench.commands.speed.scene import Precision, Scene, Task
from bench.evaluation.predictor import Predictor
from bench.metrics import Occluder, deletion, patch_at, patch_order

GROUP = "occluded images"
LOOP, QUANTUS = "one image, one step at a time", "Quantus PixelFlipping"


def occlusion_tasks(scene: Scene) -> list[Task]:
    """Lists the tasks; their images are the forwarded variants, including the intact ones."""
    tasks = [Task(GROUP, f"harness {precision}", _curves(scene, precision)) for precision in precisions(scene)]
    tasks.append(Task(GROUP, LOOP, partial(_loop, scene, max(1, scene.setting.images // 8)), "peer"))
    if importlib.util.find_spec("quantus") is not None:
        tasks.append(Task(GROUP, QUANTUS, _quantus(scene), "peer"))
    return tasks


def maps(scene: Scene) -> Tensor:
    """Returns maps of noise (N,H,W), so that every image is occluded in an order of its own."""
    return scene.images[: scene.setting.images, 0]


def _curves(scene: Scene, precision: Precision) -> Callable[[], int]:
    images, _ = scene.batch(scene.setting.images)
    patch = patch_at(scene.setting.size)
    predictor = Predictor(scene.blackbox, precision, scene.setting.batch)

    def run() -> int:
        order = patch_order(maps(scene), patch)
        occluder = Occluder(predictor.predict, images, patch, batch_size=predictor.batch_size, dtype=predictor.dtype)
        occluder.logits(deletion(order, scene.setting.steps, "zero"))
        return sum(min(order.shape[1], scene.setting.steps) + 1 for _ in images)

    return run


def _loop(scene: Scene, count: int) -> int:
    """Occludes as simple scripts do: patches set to 0 in numpy, one forward pass per step -> number of passes."""
    patch = patch_at(scene.setting.size)
    scores, passes = maps(scene).cpu().numpy(), 0
    for image, score in zip(scene.images[:count].cpu().numpy(), scores, strict=False):
        occluded = image.copy()
        ranked = _ranked(score, patch)
        passes += _probability(scene, occluded)
        for top, left in ranked[: scene.setting.steps]:
            occluded[:, top : top + patch, left : left + patch] = 0
            passes += _probability(scene, occluded)
    return passes


def _ranked(score: np.ndarray, patch: int) -> list[tuple[int, int]]:
    """Sorts the top left corners of the patches of a map (H,W), highest value first."""
    height, width = score.shape
    corners = [(top, left) for top in range(0, height, patch) for left in range(0, width, patch)]
    highest = [score[top : top + patch, left : left + patch].max() for top, left in corners]
    return [corners[index] for index in np.argsort(highest)[::-1]]


def _probability(scene: Scene, image: np.ndarray) -> int:
    with torch.no_grad():
        return len(scene.plain(torch.from_numpy(image).unsqueeze(0).to(scene.device)).softmax(dim=1).cpu().numpy())


def _quantus(scene: Scene) -> Callable[[], int]:
    """Returns a run of Quantus, whose steps are pixels: so many per step that there are about as many steps."""
    import quantus

    count, side = scene.setting.images, scene.setting.size
    values = 3 * side * side
    step = min(_divisors(side * side), key=lambda size: abs(values / size - scene.setting.steps))
    metric = quantus.PixelFlipping(features_in_step=step, perturb_baseline="black", disable_warnings=True)
    images, targets = scene.images[:count].cpu().numpy(), scene.targets[:count].cpu().numpy()
    attributions = maps(scene).unsqueeze(1).cpu().numpy()

    def run() -> int:
        metric(scene.plain, images, targets, attributions, device=str(scene.device), batch_size=scene.setting.batch)
        return count * (values // step)

    return run


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]
