"""Classifiers from names: for a training, and again from their weights alone, without a single image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from bench.contracts import Channels, Classifier, Head, UserError
from bench.registry import BACKBONES, HEADS
from bench.seeds import seed_of


def build_classifier(
    names: tuple[str, str, str, int], head: Head, num_classes: int, pretrained: bool
) -> tuple[Classifier, str]:
    """A classifier before its training, and where the weights of its backbone come from.

    Twins of one seed start from the same backbone weights, whatever their heads. Torch's generator is left seeded.

    Args:
        names: data set, backbone, head and seed: what the initial weights are drawn from.

    Raises:
        UserError: the head does not fit on the backbone.
    """
    dataset, backbone, head_name, seed = names
    torch.manual_seed(seed_of("backbone", dataset, backbone, seed))
    model, origin = BACKBONES[backbone].build(pretrained)
    torch.manual_seed(seed_of("head", *names))
    try:
        return head.build(model, num_classes), origin
    except ValueError as error:
        raise UserError(f"head {head_name!r} cannot stand on {backbone!r}: {error}") from error


def rebuild(backbone: str, head: Head, tensors: dict[str, torch.Tensor], num_classes: int) -> Classifier:
    """The classifier that these weights were taken from, in evaluation mode and without gradients."""
    with torch.random.fork_rng(devices=[]):
        classifier = _without_weights(backbone, head, num_classes)
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"these weights are not of {head.name!r} on {backbone!r} as they are today: {error}") from error
    return classifier.eval().requires_grad_(False)


def _without_weights(backbone: str, head: Head, num_classes: int) -> Classifier:
    if head.converts:
        return head.convert(_without_weights(backbone, HEADS[head.converts](), num_classes))
    return build_classifier(("", backbone, head.name, 0), head, num_classes, pretrained=False)[0]


def normalisation(backbone: str, pretrained: bool, mean: Channels, std: Channels) -> tuple[Channels, Channels]:
    """Mean and std of values in [0, 1]: those that the backbone or its pretrained weights need, else the data set's."""
    info = BACKBONES[backbone]
    return (info.mean, info.std) if (pretrained or info.always) and info.mean and info.std else (mean, std)


def load_classifier(path: Path | str) -> tuple[Classifier, dict[str, Any]]:
    """Read an exported ``model.safetensors``; backbone and head must be registered (``run_benchmark.register()``).

    Returns:
        The classifier, in evaluation mode, and what the file says about it: dataset, backbone, head, parameters, seed,
        classes, mean, std, size and training (the fingerprint).

    Raises:
        UserError: the file is none that ``export`` wrote, or a name in it is not registered.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        head = HEADS[about["head"]](**about["parameters"])
        return rebuild(about["backbone"], head, tensors, len(about["classes"])), about
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no weights file that export wrote ({type(error).__name__}: {error})") from error
