"""Tasks that train: an epoch of the harness, and a bare loop over the same images, normalised in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from bench.commands.speed.scene import CLASSES, Scene, Task, synthetic_split
from bench.configs.sections import TrainingSection
from bench.contracts import Classifier
from bench.data.prepare import TrainingData
from bench.data.split import Split, normalise
from bench.devices import training_autocast
from bench.registry import HEADS
from bench.training.loop import TrainingLoop

GROUP = "training"
BARE, EPOCH, AUGMENTED = "bare loop", "epoch", "epoch, light augmentation"
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def training_tasks(scene: Scene) -> list[Task]:
    """Lists the tasks, each of which trains its own copy of the same black box."""
    split, size = _split(scene), scene.setting.batch
    plain = TrainingSection(batch_size=size, augmentation="none")
    augmented = TrainingSection(batch_size=size, augmentation="light")
    return [
        Task(GROUP, BARE, _bare(scene, split), "limit"),
        Task(GROUP, EPOCH, _epoch(scene, split, plain)),
        Task(GROUP, AUGMENTED, _epoch(scene, split, augmented)),
    ]


def _split(scene: Scene) -> Split:
    """Returns random images in full batches, at least as many as are occluded."""
    batch, size = scene.setting.batch, scene.setting.size
    count = -(-scene.setting.images // batch) * batch
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return synthetic_split(pixels, CLASSES)


def _trainable(scene: Scene) -> Classifier:
    return copy.deepcopy(scene.plain).to(memory_format=torch.channels_last).requires_grad_(True).train()


def _bare(scene: Scene, split: Split) -> Callable[[], int]:
    network = _trainable(scene)
    ready = normalise(split.batch(np.arange(len(split))).to(scene.device), _MEAN, _STD)
    batches = [part.contiguous(memory_format=torch.channels_last) for part in torch.split(ready, scene.setting.batch)]
    labels = torch.split(torch.as_tensor(split.labels, device=scene.device), scene.setting.batch)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def run() -> int:
        for images, targets in zip(batches, labels, strict=True):
            optimizer.zero_grad(set_to_none=True)
            with training_autocast(scene.device):
                logits = network(images)
            torch.autograd.backward(F.cross_entropy(logits.float(), targets))
            optimizer.step()
        return len(ready)

    return run


def _epoch(scene: Scene, split: Split, recipe: TrainingSection) -> Callable[[], int]:
    network = _trainable(scene)
    data = TrainingData(split, split, "other", _MEAN, _STD)
    loop = TrainingLoop(network, HEADS["blackbox"](), data, recipe, scene.device)

    def run() -> int:
        loop.run_epoch(0)
        return len(split)

    return run
