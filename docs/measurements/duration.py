"""Estimate of the duration of a config on this machine, from the number of its image passes and a few timings.

    python docs/measurements/duration.py --config paper --device cuda

It needs no data: numbers of images are the published ones, and images are noise. Reading images, figures and statistics
are not included, and hours are extrapolated from seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

sys.path.insert(0, str(Path(__file__).parents[2]))
import run_benchmark
from bench.config import Config, load_config
from bench.contracts import Batch, Classifier, Explainer, Head
from bench.devices import choose_device, describe_machine, training_autocast
from bench.evaluation.metric_inputs import OCCLUDED
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.result import CostMeter
from bench.models.factory import build_classifier
from bench.registry import DATASETS, EXPLAINERS, HEADS

_REPEATS = 3
_SMALL = 96  # side of the images on which passes per map are counted, because they do not depend on it


@dataclass
class Passes:
    """Image passes of one data set on one backbone."""

    training: float
    scoring: float


def count(config: Config, name: str, backbone: str, per_map: Callable[[str, str], float]) -> Passes:
    """Counts the passes of all heads and seeds; ``per_map(head, explainer)`` gives the forward passes of one map."""
    section = config.for_dataset(name, backbone)
    sizes = {split: sum(classes) for split, classes in DATASETS[name].published.items()}
    classes = DATASETS[name].published["test"]
    healthy = min(section.explain.healthy or classes[0], classes[0])
    diseased = min(section.explain.diseased or sum(classes[1:]), sum(classes[1:]))
    faithful = min(section.explain.faithful or diseased, diseased)
    curves = {
        (need.replace("hits", "curve"), request.variant)
        for request in resolve_metrics(section.run.metrics)
        for need in OCCLUDED & set(request.info.needs)
    }
    total = Passes(0, 0)
    for head in section.run.heads:
        if not HEADS[head].converts:
            total.training += sizes["train"] * section.training.epochs
            total.scoring += sizes["val"] * section.training.epochs
        total.scoring += sizes["test"]
        for explainer in _explainers_of(section, head):
            total.scoring += (diseased + healthy) * per_map(head, explainer)
            total.scoring += faithful * section.explain.steps * len(curves)
    seeds = len(section.run.seeds)
    return Passes(total.training * seeds, total.scoring * seeds)


def _explainers_of(config: Config, head: str) -> list[str]:
    """Lists the explainers of a head, like ``Plan.explainers_of``."""
    own = [name for name in config.run.explainers if EXPLAINERS[name].family == "inherent"]
    if HEADS[head].family == "inherent":
        return own + [name for name in config.run.on_inherent if name not in own]
    return [name for name in config.run.explainers if name not in own]


def map_passes(classifier: Classifier, explainer: Explainer, device: torch.device) -> float:
    """Counts the forward passes of one map; a backward pass counts as two."""
    images = torch.rand(1, 3, _SMALL, _SMALL, device=device)
    masks = torch.ones(1, _SMALL, _SMALL, dtype=torch.bool, device=device)
    if explainer.applies_to(classifier):
        return 0.0
    meter = CostMeter(classifier, device)
    with meter:
        explainer.explain_batch(classifier, Batch(images, torch.tensor([1], device=device), masks, (0,)))
    meter.cost.images += 1
    cost = meter.cost.per_map()
    return cost["forwards_per_map"] + 2 * cost["backwards_per_map"]


def images_per_second(step: Callable[[], int], device: torch.device) -> float:
    """Computes the median rate over repeats, after one that warms up."""
    rates = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        images = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(images / (time.perf_counter() - started))
    return sorted(rates[1:])[_REPEATS // 2]


def rates(classifier: Classifier, config: Config, device: torch.device) -> tuple[float, float]:
    """Measures images per second in training and in scoring, at the size and batch of the config."""
    size = config.data.size
    shape = (config.training.batch_size, 3, size, size)
    images = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(shape[0], dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-3, momentum=0.9, nesterov=True)

    def train() -> int:
        with training_autocast(device):
            logits = classifier.forward_training(images)[0]
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return len(images)

    def score() -> int:
        with torch.inference_mode():
            classifier(images)
        return len(images)

    training = images_per_second(train, device)
    classifier.eval()
    return training, images_per_second(score, device)


class Backbone:
    """A classifier per trained head on one backbone, and the measurements of them."""

    def __init__(self, name: str, heads: list[str], device: torch.device) -> None:
        self.device = device
        trained = [head for head in heads if not HEADS[head].converts]
        self.classifiers = {head: _build(name, HEADS[head](), device) for head in trained}
        self._passes: dict[str, float] = {}
        self._rates: dict[int, tuple[float, float]] = {}

    def passes(self, head: str, explainer: str) -> float:
        """Returns the forward passes of one map, counted once per explainer."""
        if explainer not in self._passes:
            source = self.classifiers.get(head) or list(self.classifiers.values())[-1]
            self._passes[explainer] = map_passes(source.eval(), EXPLAINERS[explainer](), self.device)
        return self._passes[explainer]

    def rates(self, config: Config) -> tuple[float, float]:
        """Returns ``rates``, measured once per size."""
        if config.data.size not in self._rates:
            classifier = next(iter(self.classifiers.values())).train()
            self._rates[config.data.size] = rates(classifier, config, self.device)
        return self._rates[config.data.size]


def main(
    config: Annotated[str, typer.Option(help="a shipped config or a TOML file")] = "paper",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
) -> None:
    """Prints hours per data set and backbone."""
    run_benchmark.register()
    settings, where = load_config(config), choose_device(device)
    machine = describe_machine(where)
    print(f"config {config} on {machine['gpu'] if where.type == 'cuda' else machine['cpu']}")
    print("| data set | backbone | size | training images/s | scored images/s | training h | scoring h |")
    print("|---|---|---|---|---|---|---|")
    total = 0.0
    for name in settings.run.backbones:
        backbone = Backbone(name, settings.run.heads, where)
        for dataset in settings.run.datasets:
            section = settings.for_dataset(dataset, name)
            passes, speed = count(settings, dataset, name, backbone.passes), backbone.rates(section)
            hours = [passes.training / speed[0] / 3600, passes.scoring / speed[1] / 3600]
            total += sum(hours)
            print(
                f"| {dataset} | {name} | {section.data.size} | {speed[0]:.1f} | {speed[1]:.1f} "
                f"| {hours[0]:,.0f} | {hours[1]:,.0f} |"
            )
    print(f"about {total:,.0f} hours in total, extrapolated from these rates")


def _build(backbone: str, head: Head, device: torch.device) -> Classifier:
    classifier, _ = build_classifier(("duration", backbone, head.name, 0), head, 2, pretrained=False)
    return classifier.to(device).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    typer.run(main)
