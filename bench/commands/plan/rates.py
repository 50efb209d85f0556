"""Images per second on this device, measured with the classifiers that a run would train, on images of noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from bench.commands.plan.passes import map_passes
from bench.config import Config
from bench.contracts import Classifier
from bench.devices import training_autocast
from bench.models.factory import build_classifier
from bench.run.plan import Plan, plan_head, source_of
from bench.store.records import CellKey
from bench.training.penalty_search import PlannedHead

_REPEATS = 3


@dataclass
class Trials:
    """Classifiers with random weights, and what was measured with them; everything is measured once.

    Attributes:
        config: of the run.
        plan: of the run.
        device: to measure on.
    """

    config: Config
    plan: Plan
    device: torch.device
    _classifiers: dict[tuple[str, str], Classifier] = field(default_factory=dict)
    _passes: dict[tuple[str, str, str], float | None] = field(default_factory=dict)
    _rates: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    def classifier(self, key: CellKey) -> Classifier:
        """Returns a classifier with the backbone and the head of a cell, in evaluation mode."""
        names = key.backbone, key.head
        if names not in self._classifiers:
            planned = self._planned(key)
            source = source_of(planned, key)
            if planned.head.converts and source:
                made = planned.head.convert(self.classifier(source))
            else:
                made, _ = build_classifier(("plan", key.backbone, planned.base, 0), planned.head, 2, pretrained=False)
            self._classifiers[names] = made.to(self.device).to(memory_format=torch.channels_last).eval()
        return self._classifiers[names]

    def weights(self, key: CellKey) -> int:
        """Returns the number of weights."""
        return sum(weight.numel() for weight in self.classifier(key).parameters())

    def passes(self, key: CellKey, explainer: str) -> float | None:
        """Returns the passes of one map; None if the explainer does not apply."""
        names = key.backbone, key.head, explainer
        if names not in self._passes:
            self._passes[names] = map_passes(self.classifier(key), self.plan.explainers[explainer], self.device)
        return self._passes[names]

    def rates(self, key: CellKey) -> tuple[float, float]:
        """Returns images per second in training and in a forward pass, at the size and batch of the config."""
        config = self.config.for_dataset(self.plan.spec(key.dataset), key.backbone)
        names = key.backbone, config.data.size
        if names not in self._rates:
            self._rates[names] = measured_rates(self.classifier(self._trained(key)), config, self.device)
        return self._rates[names]

    def _planned(self, key: CellKey) -> PlannedHead:
        return self.plan.cells.get(key) or plan_head(self.config, key, self.plan.spec(key.dataset))

    def _trained(self, key: CellKey) -> CellKey:
        """Returns the cell itself, or the one that it is converted from, which can be trained."""
        source = source_of(self._planned(key), key)
        return self._trained(source) if source and self._planned(key).head.converts else key


def measured_rates(classifier: Classifier, config: Config, device: torch.device) -> tuple[float, float]:
    """Measures images per second in training and in a forward pass; the classifier keeps its mode, not its weights."""
    shape = (config.training.batch_size, 3, config.data.size, config.data.size)
    images = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(shape[0], dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-3, momentum=0.9, nesterov=True)

    def train() -> int:
        with training_autocast(device):
            logits = classifier.forward_training(images)[0]
        torch.autograd.backward(F.cross_entropy(logits.float(), labels))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return len(images)

    def predict() -> int:
        with torch.inference_mode():
            classifier(images)
        return len(images)

    classifier.train()
    training = images_per_second(train, device)
    classifier.eval()
    return training, images_per_second(predict, device)


def images_per_second(step: Callable[[], int], device: torch.device) -> float:
    """Computes the median rate over repeats, after one that warms up."""
    found = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        images = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(images / (time.perf_counter() - started))
    return sorted(found[1:])[_REPEATS // 2]
