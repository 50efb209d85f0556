"""Cascading randomisation of a classifier.

Weights are replaced by random ones from the head down to the input, so that a study can see whether maps change too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.seeds import seed_of


def cascade(classifier: Classifier, images: Tensor, blocks: int, *names: object) -> Iterator[tuple[str, Classifier]]:
    """Yields (stage, classifier) with weights randomised cumulatively from the head to the input.

    Random weights are drawn from each layer's own initialisation; layers without one get their weights shuffled.
    Randomised batch norms take their running statistics from ``images``: with the statistics of the learned weights, or
    without any, signals would vanish or saturate, and maps would change for another reason than the lost weights.
    ``classifier`` itself is not changed. Every stage yields the same copy of it.

    Args:
        classifier: the trained classifier.
        images: (N,3,H,W) normalised.
        blocks: number of contiguous parts of the feature extractor that are randomised one after the other.
        *names: names that seed the random weights.

    Source:
        arXiv:1810.03292, sec. 4.1 (cascading randomisation). Deviation: a few parts instead of every layer.
    """
    fresh = copy.deepcopy(classifier)
    for name, layers in stages(fresh, blocks):
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed_of(*names, name))
            for layer in layers:
                _renew(layer, images.device)
        _measure_norms(fresh, layers, images)
        yield name, fresh


def stages(classifier: Classifier, blocks: int) -> list[tuple[str, list[nn.Module]]]:
    """Lists (name of the stage, layers that it randomises) from the head to the input; each layer is in one stage.

    The features are cut between modules into parts of about equal numbers of layers, in order of registration.
    """
    total = len(_layers(classifier.features))
    groups: list[list[nn.Module]] = [[] for _ in range(blocks)]
    passed = 0
    for unit in _units(classifier.features, total / blocks):
        middle = passed + len(unit) / 2
        groups[min(int(blocks * middle / max(total, 1)), blocks - 1)] += unit
        passed += len(unit)
    filled = [group for group in reversed(groups) if group]
    names = [f"head + {place}/{len(filled)}" for place in range(1, len(filled))] + ["all"] * bool(filled)
    return [("head", _layers(classifier.head)), *zip(names, filled, strict=True)]


def _layers(module: nn.Module) -> list[nn.Module]:
    """Lists the modules with parameters or statistics of their own, in order of registration."""
    return [part for part in module.modules() if _is_layer(part)]


def _is_layer(module: nn.Module) -> bool:
    return bool([*module.parameters(recurse=False), *module.buffers(recurse=False)])


def _units(module: nn.Module, most: float) -> list[list[nn.Module]]:
    """Groups layers by the largest modules that hold at most ``most`` layers; other layers stay single."""
    layers, children = _layers(module), list(module.children())
    if len(layers) <= most or not children:
        return [layers] if layers else []
    own = [[module]] if _is_layer(module) else []
    return own + [unit for child in children for unit in _units(child, most)]


def _renew(layer: nn.Module, device: torch.device) -> None:
    """Draws random weights in place, on the CPU, so that they are the same on every machine."""
    layer.cpu()
    if callable(reset := getattr(layer, "reset_parameters", None)):
        reset()
    else:
        for weight in layer.parameters(recurse=False):
            weight.data = weight.data.flatten()[torch.randperm(weight.numel())].reshape(weight.shape)
    layer.to(device)


def _measure_norms(classifier: Classifier, layers: list[nn.Module], images: Tensor) -> None:
    """Sets the running statistics of the batch norms among ``layers`` to the statistics of these images."""
    norms: list[Any] = [layer for layer in layers if getattr(layer, "running_mean", None) is not None]
    classifier.eval()
    for norm in norms:
        norm.momentum = None  # the statistics of this one pass, not a moving mean
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        classifier(images)
    classifier.eval()
