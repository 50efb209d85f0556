"""Classifiers built from names, for training or from saved weights.

A classifier is rebuilt from its weights without the data set, so that an exported file is enough to use it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from bench.contracts import Channels, Classifier, Head
from bench.errors import UserError
from bench.registry import BACKBONES, HEADS
from bench.seeds import seed_of


def build_classifier(
    names: tuple[str, str, str, int], head: Head, num_classes: int, pretrained: bool
) -> tuple[Classifier, str]:
    """Builds a classifier before its training.

    Classifiers of one seed start from the same backbone weights, whatever their heads. Torch's global generator
    remains seeded afterwards.

    Args:
        names: data set, backbone, head and seed, which seed the initial weights.
        head: builds the classifier on the backbone.
        num_classes: C.
        pretrained: start from the backbone's pretrained weights, if it has any.

    Returns:
        The classifier, and the origin of the weights of its backbone.

    Raises:
        UserError: the head does not fit the backbone.
    """
    dataset, backbone, head_name, seed = names
    torch.manual_seed(seed_of("backbone", dataset, backbone, seed))
    model, origin = BACKBONES[backbone].build(pretrained)
    torch.manual_seed(seed_of("head", *names))
    try:
        return head.build(model, num_classes), origin
    except ValueError as error:
        raise UserError(f"head {head_name!r} does not fit backbone {backbone!r}: {error}") from error


def rebuild(backbone: str, head: Head, tensors: dict[str, torch.Tensor], num_classes: int) -> Classifier:
    """Builds a classifier from its weights, in evaluation mode and without gradients.

    Args:
        backbone: registered name.
        head: head of the classifier.
        tensors: its state dict.
        num_classes: C.

    Raises:
        UserError: the weights do not fit the head and backbone.
    """
    with torch.random.fork_rng(devices=[]):
        classifier = _without_weights(backbone, head, num_classes)
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the weights do not fit head {head.name!r} on backbone {backbone!r}: {reason}") from error
    return classifier.eval().requires_grad_(False)


def _without_weights(backbone: str, head: Head, num_classes: int) -> Classifier:
    if head.converts:
        return head.convert(_without_weights(backbone, HEADS[head.converts](), num_classes))
    return build_classifier(("", backbone, head.name, 0), head, num_classes, pretrained=False)[0]


def normalisation(backbone: str, pretrained: bool, mean: Channels, std: Channels) -> tuple[Channels, Channels]:
    """Returns the mean and std of values in [0, 1] for a backbone.

    They are those that the backbone or its pretrained weights need, otherwise ``mean`` and ``std`` of the data set.
    """
    info = BACKBONES[backbone]
    return (info.mean, info.std) if (pretrained or info.always) and info.mean and info.std else (mean, std)


def weights_digest(classifier: nn.Module) -> str:
    """Computes the SHA-256 of the names, types and values of all weights and buffers."""
    content = hashlib.sha256()
    for name, value in classifier.state_dict().items():
        values = value.detach().cpu().contiguous()
        content.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        content.update(values.flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


def load_classifier(path: Path | str) -> tuple[Classifier, dict[str, Any]]:
    """Reads an exported ``model.safetensors``; backbone and head must be registered (``run_benchmark.register()``).

    Returns:
        The classifier, in evaluation mode, and its description in the file: dataset, backbone, head, parameters, seed,
        classes, mean, std, size, geometry (of the feature map, None if unknown) and training (the fingerprint).

    Raises:
        UserError: the file was not written by ``export``, or a name in it is not registered.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        head = HEADS[about["head"]](**about["parameters"])
        return rebuild(about["backbone"], head, tensors, len(about["classes"])), about
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a weights file of export ({type(error).__name__}: {error})") from error
