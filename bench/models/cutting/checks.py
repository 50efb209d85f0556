"""Measurements of the parts of a network, because names of classes and layers do not say what they compute."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bench.models.cutting.graph import Traced, cells, dropped_weights, is_mean_over_space, is_shape, way_out
from bench.models.cutting.trial import Trial, noise, undisturbed

_IDENTITY_IN_EVAL = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity)
_PLAIN = (nn.Linear, nn.Conv2d, *_IDENTITY_IN_EVAL, nn.AdaptiveAvgPool2d, nn.AvgPool2d)
_HARMLESS = (torch.flatten, "flatten", "view", "reshape", "squeeze", F.dropout)
#: Sizes of random features on which a head is measured: what clips or saturates shows at one of them.
_SCALES = (0.01, 3.0, 1000.0)


def why_not_plain(part: nn.Module) -> str:
    """Returns "" if a layer computes what its class in PyTorch does, otherwise the reason, as a clause."""
    name = type(part).__name__
    if part._forward_hooks or part._forward_pre_hooks:
        return f"{name} has forward hooks (remove them, or the weight norm that uses them)"
    if nn.utils.parametrize.is_parametrized(part):
        return f"{name} is parametrized (call torch.nn.utils.parametrize.remove_parametrizations first)"
    base = next((one for one in _PLAIN if isinstance(part, one)), None)
    own = base and (type(part).forward is not base.forward or "forward" in vars(part))
    if base and own and not _computes_as(base, part):
        return f"its class {type(part).__module__}.{name} computes something else than {base.__name__}"
    return ""


def _computes_as(base: type[nn.Module], part: nn.Module) -> bool:
    """Measures in float64 whether a layer with a forward pass of its own gives the values of its base class."""
    channels = getattr(part, "in_channels", 8)
    shape = (4, part.in_features) if isinstance(part, nn.Linear) else (2, channels, 9, 9)
    try:
        copied = copy.deepcopy(part).to(device="cpu", dtype=torch.float64)
        with undisturbed(copied):
            for weight in copied.parameters():
                weight.copy_(noise(weight.shape, weight, seed=1))
            for scale in _SCALES:
                values = scale * noise(shape, torch.empty(0, dtype=torch.float64))
                expected: Tensor = base.forward(copied, values)
                found = copied.forward(values.clone())
                if not torch.allclose(found, expected, rtol=1e-12, atol=1e-12 * expected.abs().max().item()):
                    return False
    except Exception:  # whatever a foreign layer needs, it is not a plain one
        return False
    return True


def compare(parts: Callable[[Tensor], Tensor], model: nn.Module, trial: Trial, name: str, terms: float = 0.0) -> float:
    """Compares parts applied in turn with the network, for a batch of two and of one.

    Args:
        parts: images -> logits.
        model: the network, put into eval mode meanwhile.
        trial: images and logits of the network.
        name: its name in the message.
        terms: mean absolute value of the terms that add up to the logits; 0 if unknown.

    Returns:
        The largest difference, relative to the largest logit.

    Raises:
        ValueError: it exceeds the tolerance of the type of the weights.
    """
    if trial.images.is_meta:
        return 0.0
    with undisturbed(model):
        found = max(trial.difference(images, parts(images), terms) for images in (trial.images, trial.images[:1]))
        if found <= trial.tolerance:
            return found
    raise ValueError(
        f"the head of {name} on its features does not give the logits of its forward pass (relative difference "
        f"{found:.1e}, at most {trial.tolerance:.0e}); hooks or code outside the parts change them: {way_out(name)}"
    )


class LinearHead:
    """Measures in float64 whether a head is one linear layer on the mean over space.

    The head is copied and its last layer gets random weights, for which nothing cancels by chance.

    Attributes:
        exact: it is, on random features of several sizes.
        any_grid: it is for feature maps of other sizes, too; False for a pooling with a fixed window.
        problem: the reason why nothing could be measured; otherwise empty.
    """

    def __init__(self, head: nn.Module, classifying: nn.Linear | nn.Conv2d, shape: Sequence[int]) -> None:
        self.exact, self.any_grid, self.problem = False, False, ""
        memory: dict[int, Any] = {}
        if classifying.weight.shape[1] != shape[1]:
            return  # hidden layers, which may be too large to copy
        try:
            self._copied = copy.deepcopy(head, memory).to(device="cpu", dtype=torch.float64)
            self._last = memory[id(classifying)]
            with undisturbed(self._copied):
                self._last.weight.copy_(noise(self._last.weight.shape, self._last.weight, seed=1))
                self.exact = all(self._equals_mean(scale, shape) for scale in _SCALES)
                height, width = shape[2:]
                others = ((height + 1, width + 1), (2 * height + 1, 2 * width))
                self.any_grid = self.exact and all(self._is_general((*shape[:2], *other)) for other in others)
        except Exception as error:  # a foreign head may compute in one type only
            self.problem = f"its head cannot be measured ({' '.join(str(error).split())})"

    def _equals_mean(self, scale: float, shape: Sequence[int]) -> bool:
        weight = self._last.weight.flatten(1)
        features = scale * noise((2, *shape[1:]), weight)
        expected = F.linear(features.mean((2, 3)), weight, self._last.bias)
        logits = self._copied(features)
        if logits.shape != expected.shape:
            return False
        return bool((logits - expected).abs().max() <= 1e-9 * expected.abs().max())

    def _is_general(self, shape: Sequence[int]) -> bool:
        try:
            return self._equals_mean(1.0, shape)
        except Exception:  # a fixed window, or a view of a fixed length
            return False


def is_channels_last(head: nn.Module, shape: Sequence[int]) -> bool:
    """Measures whether a head ignores the order of places along axes 1 and 2, and not along 2 and 3: (N,h,w,D)."""
    weight = next(head.parameters(), torch.empty(0))
    if weight.is_meta or shape[1] * shape[2] * shape[3] == 0:
        return False
    features = noise(shape, weight)
    try:
        with undisturbed(head):
            logits = head(features)
            same = [_close(head(features.flip(axes)), logits) for axes in ((1, 2), (2, 3))]
    except Exception:  # whatever it is, the measurements of the whole network find it
        return False
    return same == [True, False]


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


def refuse_dropped_weights(traced: Traced, kept: Sequence[nn.Module], name: str) -> None:
    """Refuses a cut that leaves weights of the backbone in the head, which a SoftCAM replaces.

    Raises:
        ValueError: the head turns a map into another one by weights.
    """
    dropped = dropped_weights(traced)
    if dropped:
        kept_count, total = count_weights(kept), count_weights([traced.model])
        raise ValueError(
            f"the last feature map of {name} that all its logits depend on keeps {kept_count:,} of its {total:,} "
            f"weights; {traced.describe(dropped[0])} behind it computes further maps: {way_out(name)}"
        )


def count_weights(parts: Sequence[nn.Module]) -> int:
    """Returns the number of different weights in some modules."""
    return sum(weight.numel() for weight in {id(one): one for part in parts for one in part.parameters()}.values())


def why_not_linear(traced: Traced) -> str:
    """Returns the first thing in the head that is not global average pooling, dropout and one linear layer.

    It only words what ``LinearHead`` has measured; "" if nothing is found.
    """
    nodes, linears = traced.head, 0
    reading = [node for node in nodes if cells(traced.reads(node)) > 1 and not is_shape(node)]
    if reading and not is_mean_over_space(traced, reading[0]):
        return f"its feature map is not averaged over space (it goes into {traced.describe(reading[0])})"
    for node in nodes:
        part = traced.part(node)
        changed = why_not_plain(part) if part is not None else ""
        if changed:
            return f"{traced.describe(node)} is not the plain layer: {changed}"
        if isinstance(part, nn.Linear):
            linears += 1
        elif not (_is_harmless(node, part) or is_mean_over_space(traced, node)):
            return f"there is {traced.describe(node)} between the pooling and the logits"
    return "" if linears == 1 else f"it has {linears} linear layers after the pooling"


def _is_harmless(node: fx.Node, part: nn.Module | None) -> bool:
    return isinstance(part, _IDENTITY_IN_EVAL) or node.target in _HARMLESS or is_shape(node)


def other_layers(head: nn.Module, classifying: nn.Module) -> str:
    """Returns the first layer of ``head`` that is neither ``classifying`` nor plain pooling or dropout, as a clause."""
    for name, part in head.named_modules():
        if next(part.children(), None) is not None or part is classifying:
            continue
        label = f"{type(part).__name__} {name.removeprefix('model.')!r}"
        if not isinstance(part, (*_IDENTITY_IN_EVAL, nn.AdaptiveAvgPool2d)):
            return f"its head also has {label}"
        if changed := why_not_plain(part):
            return f"{label} is not the plain layer: {changed}"
    return "its feature map is not averaged over space"


def hooked(head: nn.Module) -> str:
    """Returns the module of ``head`` that a conversion would change: one with hooks or a forward pass of its own."""
    for name, part in head.named_modules():
        if reason := why_not_plain(part):
            return f"{type(part).__name__} {name.removeprefix('model.')!r} is not the plain layer: {reason}"
    return ""
