"""Separation of an image classifier into ``ClassifierParts``: a feature extractor and a head.

``split_classifier`` finds the cut from the computation and not from class names, so that it works for foreign models. A
model that declares its own cut, as all timm models do, is cut there and checked; any other by its computation graph.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bench.contracts import Classifier
from bench.models.eval_mode import evaluating
from bench.models.feature_layout import FeatureMap, Layout, NativeFeatures, TokenClassifier
from bench.models.graph import IDENTITY_IN_EVAL, HeadTracer, collapses, split, why_not_linear

Classifying = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class ClassifierParts:
    """A classifier cut where its feature map loses its spatial axes.

    Attributes:
        features: images (N,3,H,W) -> feature map (N,D,h,w).
        head: feature map (N,D,h,w) -> logits (N,C).
        classifying: the last linear layer (or 1×1 convolution, after the pooling), a submodule of ``head``.
        not_linear: "" if the head is global average pooling and that one layer, otherwise the difference.
        beside_map: "" or the reason why the logits are not a function of the feature map; ``features`` is then a
            ``FeatureMap``, and ``head`` reads its ``native`` features (all tokens, including those without a patch).
    """

    features: nn.Module
    head: nn.Module
    classifying: Classifying
    not_linear: str
    beside_map: str = ""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image that the features are known to support."""
        size: tuple[int, int] = getattr(self.features, "image_size", (128, 128))
        return size

    def classifier(self, num_classes: int) -> Classifier:
        """Joins the two parts to a classifier of ``num_classes``, the number of outputs of ``head``."""
        if self.beside_map and isinstance(self.features, FeatureMap):
            return TokenClassifier(self.features, self.head, num_classes, self.beside_map)
        return Classifier(self.features, self.head, num_classes)


def split_classifier(model: nn.Module) -> ClassifierParts:
    """Cuts ``model`` (images (N,3,H,W) -> logits (N,C)) at its feature map; weights are shared.

    A ``Classifier`` is cut already. A model with timm's ``forward_features``, ``forward_head`` and ``get_classifier``
    is cut between the first two, any other at the input of its first global pooling.

    Raises:
        ValueError: the model has no single linear classifying layer or no feature map, cannot be traced, or differs
            from its two parts applied in turn.
    """
    if isinstance(model, Classifier):
        return _split_cut(model)
    if all(callable(getattr(model, name, None)) for name in ("forward_features", "forward_head", "get_classifier")):
        return _split_declared(model)
    return _split_graph(model)


def _split_graph(model: nn.Module) -> ClassifierParts:
    """Cuts at the input of the first global pooling in the computation graph."""
    name = type(model).__name__
    linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linears:
        raise ValueError(f"{name} has no linear layer that could be its classifier")
    graph = _trace(model, linears[-1], name)
    modules = dict(model.named_modules())
    cut = next((node for node in graph.nodes if collapses(node, modules)), None)
    if cut is None:
        raise ValueError(f"{name} never pools its feature map; a global pooling before the classifier was expected")
    feature_map = cut.all_input_nodes[0]
    features, head = split(model, graph, feature_map)
    return ClassifierParts(features, head, linears[-1], why_not_linear(cut, graph, modules))


def _trace(model: nn.Module, classifying: nn.Module, name: str) -> fx.Graph:
    try:
        with evaluating(model):  # a trace keeps the branches it took; dropout must not be among them
            return HeadTracer(classifying).trace(model)
    except Exception as error:  # a foreign forward() may raise any error on a proxy
        raise ValueError(f"the forward pass of {name} cannot be traced: {error}") from error


class _DeclaredHead(nn.Module):
    """A model's own ``forward_head``; ``layout`` converts its input to the model's layout (None = not needed)."""

    def __init__(self, model: Any, layout: Layout | None) -> None:
        super().__init__()
        self.model, self.layout = model, layout
        self.training = model.training

    def forward(self, features: Tensor) -> Tensor:
        """Maps features to logits (N,C)."""
        logits: Tensor = self.model.forward_head(self.layout.to_native(features) if self.layout else features)
        return logits


def _split_declared(model: Any) -> ClassifierParts:
    """Cuts between ``forward_features`` and ``forward_head``; neither part holds modules of the other."""
    name = type(model).__name__
    classifying = _last_linear(model.get_classifier(), name)
    image = _example_image(model)
    logits = _logits(model, image, name)
    with evaluating(model), torch.no_grad():
        native = model.forward_features(image)
    layout = _layout(native, model, name)
    head = _declared_head(model, classifying, layout)
    features = FeatureMap(NativeFeatures(_without(model, head)), layout, (image.shape[2], image.shape[3]))
    with evaluating(features), evaluating(head), torch.no_grad():
        feature_map = features(image)
        uses_prefix = layout.prefix > 0 and bool(head(feature_map).isnan().any())
    if feature_map[0, 0].numel() == 1:
        raise ValueError(f"{name} returns one feature vector for an image of this size, not a map (N,D,h,w)")
    if uses_prefix:
        reason = "its logits depend on a class or register token, which is not part of the grid of patches"
        head = _declared_head(model, classifying, None)
        _check_composition(head, native, logits, name)
        return ClassifierParts(features, head, classifying, reason, reason)
    _check_composition(head, feature_map, logits, name)
    return ClassifierParts(features, head, classifying, _measure_not_linear(head, classifying, feature_map))


def _split_cut(model: Classifier) -> ClassifierParts:
    """Returns the two parts of a ``Classifier``, which is cut already; only its head is measured."""
    name = type(model).__name__
    if model.beside_map:
        raise ValueError(f"the parts of {name} cannot be separated: {model.beside_map}")
    classifying = _last_linear(model.head, name)
    parts = ClassifierParts(model.features, model.head, classifying, "")
    image = _noise((1, 3, *parts.image_size), classifying.weight)
    logits = _logits(model, image, name)
    with evaluating(model), torch.no_grad():
        features = model.features(image)
    _check_composition(model.head, features, logits, name)
    return replace(parts, not_linear=_measure_not_linear(model.head, classifying, features))


def _logits(model: nn.Module, image: Tensor, name: str) -> Tensor:
    try:
        with evaluating(model), torch.no_grad():
            logits: Tensor = model(image)
    except Exception as error:  # a foreign forward() may raise any error
        reason = " ".join(str(error).split())
        size = f"{image.shape[2]}×{image.shape[3]}"
        raise ValueError(f"{name} cannot read the test image of {size} pixels: {reason}") from error
    return logits


def _last_linear(part: object, name: str) -> Classifying:
    layers = [one for one in part.modules() if isinstance(one, Classifying)] if isinstance(part, nn.Module) else []
    if not layers or (isinstance(layers[-1], nn.Conv2d) and layers[-1].kernel_size != (1, 1)):
        what = f"{len(part)} classifiers" if isinstance(part, tuple | list) else "no linear layer as its classifier"
        raise ValueError(f"{name} has {what}; one linear layer is needed")
    return layers[-1]


def _noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draws normal numbers, on the device and of the type of ``like``, without touching the global random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like)


def _example_image(model: nn.Module) -> Tensor:
    """Returns one image of noise, of the size that the model states, otherwise 128×128."""
    fixed = getattr(getattr(model, "patch_embed", None), "img_size", None)
    configured = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 128, 128))[1:]
    return _noise((1, 3, *(fixed or configured)), next(model.parameters()))


def _layout(native: object, model: nn.Module, name: str) -> Layout:
    """Returns the layout of features (1,...): the axis of ``num_features``, which the model states, is the channels."""
    shape = tuple(native.shape) if isinstance(native, Tensor) else ()
    channels = getattr(model, "num_features", shape[1] if len(shape) == 4 else None)
    if len(shape) == 4 and shape[1] == channels:
        return Layout("NCHW")
    if len(shape) == 4 and shape[3] == channels:
        return Layout("NHWC")
    if len(shape) == 3 and shape[2] == channels:
        return Layout("NLC", getattr(model, "num_prefix_tokens", 0))
    what = f"features of shape {shape}" if shape else f"a {type(native).__name__} as features"
    raise ValueError(f"{name} returns {what}; one map or one sequence of tokens was expected")


def _declared_head(model: nn.Module, classifying: Classifying, layout: Layout | None) -> fx.GraphModule:
    """Returns the model's ``forward_head`` with only the modules that it uses."""
    head = _DeclaredHead(model, layout)
    graph = _trace(head, classifying, type(model).__name__)
    return fx.GraphModule(head, graph)


def _without(model: nn.Module, head: fx.GraphModule) -> nn.Module:
    """Returns a copy of ``model`` on the same weights, without the modules of ``head``."""
    rest = copy.deepcopy(model, {id(weight): weight for weight in chain(model.parameters(), model.buffers())})
    for node in head.graph.find_nodes(op="call_module"):
        rest.set_submodule(str(node.target).removeprefix("model."), nn.Identity())
    return rest


def _check_composition(head: nn.Module, features: Tensor, logits: Tensor, name: str) -> None:
    with evaluating(head), torch.no_grad():
        composed = head(features)
    if composed.shape != logits.shape or not torch.allclose(composed, logits, rtol=1e-4, atol=1e-5):
        raise ValueError(f"the head of {name} on its features does not give the logits of its forward pass")


def _measure_not_linear(head: nn.Module, classifying: Classifying, features: Tensor) -> str:
    """Returns "" if ``head`` is ``classifying`` on the mean over space, otherwise the difference.

    It is measured in float64 on noise of the shape of ``features``, with random weights in the classifying layer, for
    which nothing cancels by chance.
    """
    memory: dict[int, Any] = {}
    copied = copy.deepcopy(head, memory).double().eval()
    last = memory[id(classifying)]
    weight, noise = last.weight, 3 * _noise(features.shape, features.double())
    with torch.no_grad():
        weight.copy_(_noise(weight.shape, weight))
        logits = copied(noise)
        reads_mean = weight.shape[1] == noise.shape[1]
        if reads_mean and torch.allclose(logits, F.linear(noise.mean((2, 3)), weight.flatten(1), last.bias), rtol=1e-9):
            return ""
    plain = (*IDENTITY_IN_EVAL, nn.AdaptiveAvgPool2d)
    others = [
        f"{type(part).__name__} {name.removeprefix('model.')!r}"
        for name, part in head.named_modules()
        if part is not classifying and not isinstance(part, plain) and next(part.children(), None) is None
    ]
    return f"its head also has {others[0]}" if others else "its feature map is not averaged over space"
