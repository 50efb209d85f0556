"""Adaptation of foreign models: any image classifier of PyTorch as a ``Classifier``, found by measurement.

Models are recognised by what they compute and not by their classes, so that no library is a dependency.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.errors import UserError
from bench.given.models.hooked import candidates, cut_at
from bench.given.models.known import show_logits, stated_size
from bench.given.models.outputs import (
    Unwrapped,
    check_logits,
    check_single,
    find_logits,
    is_single,
    probe,
    with_two_outputs,
)
from bench.models.feature_extraction import split_classifier
from bench.models.two_classes import as_two_classes
from bench.outputs import SOFTMAX, Outputs

_SIDE = 224


def adapt(
    model: nn.Module, feature_layer: str | None = None, size: int | None = None, outputs: Outputs = SOFTMAX
) -> Classifier:
    """Turns a trained image classifier into a ``Classifier``; the model itself is copied and not changed.

    Its logits may be a tensor, an item of a tuple or dict, or an attribute ``logits``; it may read one channel. One
    output z, the logit of a sigmoid, becomes two classes with the logits (−z/2, z/2). The cut between features and head
    is found in its computation, or after ``feature_layer``. Sigmoid and calibration of torchxrayvision's models are
    switched off.

    Args:
        model: images (N,3,H,W) or (N,1,H,W) -> logits (N,C), or a ``Classifier``.
        feature_layer: name of the layer whose output is the feature map, such as "layer4.1"; None = found.
        size: side of the images in pixels; None = the one that the model states, otherwise 224.
        outputs: meaning of the logits; a single one becomes two classes only if classes exclude each other.

    Returns:
        A classifier in evaluation mode, in float32, on the device of the model. Its attribute ``found`` says how the
        model was read.

    Raises:
        UserError: it does not return logits with gradients, cannot read images of this size, is spread over devices or
            cannot be cut.

    Example:
        >>> from torchvision.models import resnet18
        >>> adapt(resnet18(num_classes=2), size=64).found
        'ResNet: 2 logits in a tensor; feature map of 512 channels and 2×2 cells, the input of its pooling'
    """
    name = type(unwrapped(model)).__name__
    copied = _copied(model, name)
    off = show_logits(copied)
    side = size or stated_size(copied) or _SIDE
    weight = next(copied.parameters(), torch.zeros(0))
    noise = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(weight.device)
    logits, text = _with_plain_output(copied, noise, name, outputs)
    if isinstance(logits, Classifier):
        classifier, how = logits, "given as a Classifier"
    elif feature_layer is not None:
        classifier, how = cut_at(logits, _full(logits, feature_layer), noise), f"layer {feature_layer!r}"
    else:
        classifier, how = _cut(logits, noise, name)
    classifier = classifier.eval().requires_grad_(False)
    with torch.no_grad():
        channels, height, width = classifier.forward_features(noise).shape[1:]
    vars(classifier)["found"] = (
        f"{name}: {text}{off}; feature map of {channels} channels and {height}×{width} cells, {how}"
    )
    return classifier


def device_of(model: nn.Module) -> torch.device:
    """Returns the one device of a model.

    Raises:
        UserError: its weights are on several devices, or on none.
    """
    devices = {one.device for one in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        named = ", ".join(sorted(map(str, devices)))
        raise UserError(
            f"the weights of {type(model).__name__} are on several devices ({named}); move it to one: .to()"
        )
    device = next(iter(devices), torch.device("cpu"))
    if device.type == "meta":
        raise UserError(f"{type(model).__name__} has no weights yet (device meta); load them first")
    return device


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the model inside of torch.compile and DataParallel."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def _copied(model: nn.Module, name: str) -> nn.Module:
    """Returns a copy in float32 and evaluation mode, without gradients of the weights.

    Raises:
        UserError: gradients are switched off here, or the model cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise UserError(
            f"the model is a {type(model).__name__}; give a torch.nn.Module, or a file of weights and builder="
        )
    if not torch.is_grad_enabled():
        raise UserError(
            "gradients are switched off here (torch.no_grad or inference_mode), and explanations need them; call this "
            "outside of that block"
        )
    device_of(model)
    try:
        copied = copy.deepcopy(unwrapped(model))
    except Exception as error:  # a foreign module may hold anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name} cannot be copied ({reason}); give a file of its weights and builder=") from error
    for weight in copied.parameters():
        weight.grad = None
    return copied.float().eval().requires_grad_(False)


def _with_plain_output(model: nn.Module, noise: Tensor, name: str, outputs: Outputs) -> tuple[nn.Module, str]:
    """Returns the model, wrapped unless it maps (N,3,H,W) to a tensor of logits already, and words about its output."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    grey = first is not None and first.in_channels == 1 and not isinstance(model, Classifier)
    given = noise[:, :1] if grey else noise
    output = probe(model, given.clone(), name)
    place = find_logits(output, name)
    logits = place.read(output)
    check_logits(logits, len(noise), name, outputs)
    single, text = is_single(logits), f"{logits.shape[-1]} logits in {place}"
    paired = single and not outputs.multilabel and outputs.fewest > 1
    if paired:
        check_single(model, place, given, name)
        text = f"one logit z in {place}, read as two classes (1: z, 0: −z)"
        folded = None if isinstance(model, Classifier) else with_two_outputs(model, place, given, logits)
        if folded is not None:
            model, single, paired = folded, False, False
    elif single:
        text = f"one output in {place}"
    text += ", one channel" if grey else ""
    if isinstance(model, Classifier):
        return (as_two_classes(model) if paired else model), text
    wrapped = grey or single or place.kind != "tensor"
    return (Unwrapped(model, place, grey, single, paired).eval() if wrapped else model), text


def _full(model: nn.Module, layer: str) -> str:
    return f"model.{layer}" if isinstance(model, Unwrapped) else layer


def _cut(model: nn.Module, noise: Tensor, name: str) -> tuple[Classifier, str]:
    """Cuts a model at its global pooling, otherwise after its last layer that returns a map.

    Raises:
        UserError: neither gives a cut that computes the same as the model.
    """
    num_classes = model(noise).shape[1]
    try:
        parts = split_classifier(model)
        classifier = parts.classifier(num_classes).eval()
        with torch.no_grad():
            same = torch.allclose(classifier(noise), model(noise), rtol=1e-4, atol=1e-5)
            features = classifier.forward_features(noise)
        if same and features.ndim == 4 and features[0, 0].numel() > 1:
            return classifier, "the input of its pooling" if not parts.beside_map else "its patch tokens"
        reason = f"its feature map of images of {noise.shape[-1]} pixels has one cell" if same else "its cut differs"
    except (ValueError, UserError) as error:
        reason = " ".join(str(error).split())
    layers = candidates(model, noise)
    try:
        if layers:
            shown = layers[-1].removeprefix("model.") if isinstance(model, Unwrapped) else layers[-1]
            return cut_at(model, layers[-1], noise), f"layer {shown!r} (found; choose another by feature_layer)"
    except UserError as error:
        reason += f"; {error}"
    raise UserError(
        f"{name} cannot be cut into features and head: {reason}; name the layer of its map: feature_layer=…"
    )
