"""How long will a config take here? Counts the image passes that it asks for and times a few of each kind.

python docs/measurements/duration.py --config paper --device cuda

Needs no data: the numbers of images are the published ones, the images are noise. An estimate, for reading images,
figures and statistics are left out, and a few seconds stand for hours.
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
_SMALL = 96  # passes a map are counted on small images: they do not depend on the size


@dataclass
class Work:
    """Image passes of one data set on one backbone."""

    training: float
    scoring: float


def count(config: Config, name: str, backbone: str, passes: Callable[[str, str], float]) -> Work:
    """Passes of all heads and seeds; ``passes(head, explainer)`` is what one map costs in forward passes."""
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
    work = Work(0, 0)
    for head in section.run.heads:
        if not HEADS[head].converts:
            work.training += sizes["train"] * section.training.epochs
            work.scoring += sizes["val"] * section.training.epochs
        work.scoring += sizes["test"]
        for explainer in _explaining(section, head):
            work.scoring += (diseased + healthy) * passes(head, explainer)
            work.scoring += faithful * section.explain.steps * len(curves)
    seeds = len(section.run.seeds)
    return Work(work.training * seeds, work.scoring * seeds)


def _explaining(config: Config, head: str) -> list[str]:
    """As ``Plan.explainers_of``."""
    own = [name for name in config.run.explainers if EXPLAINERS[name].family == "inherent"]
    if HEADS[head].family == "inherent":
        return own + [name for name in config.run.on_inherent if name not in own]
    return [name for name in config.run.explainers if name not in own]


def map_passes(classifier: Classifier, explainer: Explainer, device: torch.device) -> float:
    """Forward passes of one map; a backward pass counts as two."""
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
    """Median over repeats, after one that warms up."""
    rates = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        done = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(done / (time.perf_counter() - started))
    return sorted(rates[1:])[_REPEATS // 2]


def rates(classifier: Classifier, config: Config, device: torch.device) -> tuple[float, float]:
    """Images a second in training and in scoring, at the size and batch of the config."""
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
    """A classifier of each trained head on one backbone, and what was measured on them."""

    def __init__(self, name: str, heads: list[str], device: torch.device) -> None:
        self.device = device
        trained = [head for head in heads if not HEADS[head].converts]
        self.classifiers = {head: _build(name, HEADS[head](), device) for head in trained}
        self._passes: dict[str, float] = {}
        self._rates: dict[int, tuple[float, float]] = {}

    def passes(self, head: str, explainer: str) -> float:
        """Forward passes of one map, counted once for each explainer."""
        if explainer not in self._passes:
            source = self.classifiers.get(head) or list(self.classifiers.values())[-1]
            self._passes[explainer] = map_passes(source.eval(), EXPLAINERS[explainer](), self.device)
        return self._passes[explainer]

    def rates(self, config: Config) -> tuple[float, float]:
        """As ``rates``, measured once for each size."""
        if config.data.size not in self._rates:
            classifier = next(iter(self.classifiers.values())).train()
            self._rates[config.data.size] = rates(classifier, config, self.device)
        return self._rates[config.data.size]


def main(
    config: Annotated[str, typer.Option(help="a shipped config or a TOML file")] = "paper",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
) -> None:
    """Print hours by data set and backbone."""
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
            work, speed = count(settings, dataset, name, backbone.passes), backbone.rates(section)
            hours = [passes / rate / 3600 for passes, rate in zip((work.training, work.scoring), speed, strict=True)]
            total += sum(hours)
            print(
                f"| {dataset} | {name} | {section.data.size} | {speed[0]:.1f} | {speed[1]:.1f} "
                f"| {hours[0]:,.0f} | {hours[1]:,.0f} |"
            )
    print(f"about {total:,.0f} hours in all: an estimate from these rates")


def _build(backbone: str, head: Head, device: torch.device) -> Classifier:
    classifier, _ = build_classifier(("duration", backbone, head.name, 0), head, 2, pretrained=False)
    return classifier.to(device).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    typer.run(main)
