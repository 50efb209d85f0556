"""Cuts any image classifier into a feature extractor and a head, by what it does and not by its class name.

A model that states its own cut, as all of timm do, is cut there and measured; any other by its computation graph.
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
        classifying: the last linear layer (or 1×1 convolution, behind the pooling), a submodule of ``head``.
        not_linear: "" if the head is global average pooling and that one layer, else what it is instead.
        beside_map: "" or why the logits are no function of the feature map; ``features`` is then a ``FeatureMap``, and
            ``head`` reads its ``native`` features (tokens, of which some are no patches).
    """

    features: nn.Module
    head: nn.Module
    classifying: Classifying
    not_linear: str
    beside_map: str = ""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image that the features certainly take."""
        return getattr(self.features, "image_size", (128, 128))

    def classifier(self, num_classes: int) -> Classifier:
        """The two parts as one classifier of ``num_classes``, which is what ``head`` must give."""
        if self.beside_map and isinstance(self.features, FeatureMap):
            return TokenClassifier(self.features, self.head, num_classes, self.beside_map)
        return Classifier(self.features, self.head, num_classes)


def split_classifier(model: nn.Module) -> ClassifierParts:
    """Cut ``model`` (images (N,3,H,W) -> logits (N,C)) at its feature map; weights are shared.

    A ``Classifier`` is cut already. A model with timm's ``forward_features``, ``forward_head`` and ``get_classifier``
    is cut between the first two, any other at the input of its first global pooling.

    Raises:
        ValueError: there is no one linear classifying layer, or no feature map, or the model cannot be traced, or the
            two parts in turn are not the model.
    """
    if isinstance(model, Classifier):
        return _dissect_classifier(model)
    if all(callable(getattr(model, name, None)) for name in ("forward_features", "forward_head", "get_classifier")):
        return _dissect_declared(model)
    return _dissect_graph(model)


def _dissect_graph(model: nn.Module) -> ClassifierParts:
    """Cut at the input of the first global pooling in the computation graph."""
    name = type(model).__name__
    linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linears:
        raise ValueError(f"{name} has no linear layer that could be its classifier")
    graph = _trace(model, linears[-1], name)
    parts = dict(model.named_modules())
    cut = next((node for node in graph.nodes if collapses(node, parts)), None)
    if cut is None:
        raise ValueError(f"{name} never pools its feature map; a global pooling before the classifier was expected")
    feature_map = cut.all_input_nodes[0]
    features, head = split(model, graph, feature_map)
    return ClassifierParts(features, head, linears[-1], why_not_linear(cut, graph, parts))


def _trace(model: nn.Module, classifying: nn.Module, name: str) -> fx.Graph:
    try:
        with evaluating(model):  # a trace keeps the branches it took; dropout must not be among them
            return HeadTracer(classifying).trace(model)
    except Exception as error:  # whatever a foreign forward() raises when it is given a proxy
        raise ValueError(f"the forward pass of {name} cannot be traced: {error}") from error


class _DeclaredHead(nn.Module):
    """A model's own ``forward_head``, on features that ``layout`` brings into its layout (None: that are in it)."""

    def __init__(self, model: Any, layout: Layout | None) -> None:
        super().__init__()
        self.model, self.layout = model, layout
        self.training = model.training

    def forward(self, features: Tensor) -> Tensor:
        """Features -> logits (N,C)."""
        return self.model.forward_head(self.layout.to_native(features) if self.layout else features)


def _dissect_declared(model: Any) -> ClassifierParts:
    """Cut between ``forward_features`` and ``forward_head``; neither part holds modules of the other."""
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
        beside = layout.prefix > 0 and bool(head(feature_map).isnan().any())
    if feature_map[0, 0].numel() == 1:
        raise ValueError(f"{name} gives one feature vector for an image of this size, not a map (N,D,h,w)")
    if beside:
        reason = "its logits depend on a class or register token, which is beside the grid of patches"
        head = _declared_head(model, classifying, None)
        _check_composition(head, native, logits, name)
        return ClassifierParts(features, head, classifying, reason, reason)
    _check_composition(head, feature_map, logits, name)
    return ClassifierParts(features, head, classifying, _measure_not_linear(head, classifying, feature_map))


def _dissect_classifier(model: Classifier) -> ClassifierParts:
    """A ``Classifier`` is two parts already; what its head is, is measured."""
    name = type(model).__name__
    if model.beside_map:
        raise ValueError(f"the parts of {name} cannot be told apart: {model.beside_map}")
    classifying = _last_linear(model.head, name)
    anatomy = ClassifierParts(model.features, model.head, classifying, "")
    image = _noise((1, 3, *anatomy.image_size), classifying.weight)
    logits = _logits(model, image, name)
    with evaluating(model), torch.no_grad():
        features = model.features(image)
    _check_composition(model.head, features, logits, name)
    return replace(anatomy, not_linear=_measure_not_linear(model.head, classifying, features))


def _logits(model: nn.Module, image: Tensor, name: str) -> Tensor:
    try:
        with evaluating(model), torch.no_grad():
            return model(image)
    except Exception as error:  # whatever a foreign forward() raises
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name} cannot read {image.shape[2]}×{image.shape[3]} pixels to be measured: {reason}"
        ) from error


def _last_linear(part: object, name: str) -> Classifying:
    layers = [one for one in part.modules() if isinstance(one, Classifying)] if isinstance(part, nn.Module) else []
    if not layers or (isinstance(layers[-1], nn.Conv2d) and layers[-1].kernel_size != (1, 1)):
        what = f"{len(part)} classifiers" if isinstance(part, tuple | list) else "no linear layer as its classifier"
        raise ValueError(f"{name} has {what}, where one linear layer is needed")
    return layers[-1]


def _noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Normal numbers that leave the global random state alone, on the device and of the type of ``like``."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like)


def _example_image(model: nn.Module) -> Tensor:
    """One image of noise, of the size that the model was made for, where it says so."""
    fixed = getattr(getattr(model, "patch_embed", None), "img_size", None)
    configured = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 128, 128))[1:]
    return _noise((1, 3, *(fixed or configured)), next(model.parameters()))


def _layout(native: object, model: nn.Module, name: str) -> Layout:
    """The layout of features (1,...), told by which of their axes has the ``num_features`` that the model states."""
    shape = tuple(native.shape) if isinstance(native, Tensor) else ()
    channels = getattr(model, "num_features", shape[1] if len(shape) == 4 else None)
    if len(shape) == 4 and shape[1] == channels:
        return Layout("NCHW")
    if len(shape) == 4 and shape[3] == channels:
        return Layout("NHWC")
    if len(shape) == 3 and shape[2] == channels:
        return Layout("NLC", getattr(model, "num_prefix_tokens", 0))
    what = f"of shape {shape}" if shape else f"that are a {type(native).__name__}"
    raise ValueError(f"{name} gives features {what}; one map or one sequence of tokens was expected")


def _declared_head(model: nn.Module, classifying: Classifying, layout: Layout | None) -> fx.GraphModule:
    """The model's ``forward_head`` with the modules that it uses, and no others."""
    head = _DeclaredHead(model, layout)
    graph = _trace(head, classifying, type(model).__name__)
    return fx.GraphModule(head, graph)


def _without(model: nn.Module, head: fx.GraphModule) -> nn.Module:
    """A copy of ``model`` on the same weights, without the modules of ``head``."""
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
    """Empty if ``head`` is ``classifying`` on the mean over space, measured on noise of the shape of ``features``.

    Measured in float64 and with random weights in the classifying layer, for which nothing cancels by chance.
    """
    memory: dict[int, Any] = {}
    probe = copy.deepcopy(head, memory).double().eval()
    last = memory[id(classifying)]
    weight, noise = last.weight, 3 * _noise(features.shape, features.double())
    with torch.no_grad():
        weight.copy_(_noise(weight.shape, weight))
        logits = probe(noise)
        reads_mean = weight.shape[1] == noise.shape[1]
        if reads_mean and torch.allclose(logits, F.linear(noise.mean((2, 3)), weight.flatten(1), last.bias), rtol=1e-9):
            return ""
    plain = (*IDENTITY_IN_EVAL, nn.AdaptiveAvgPool2d)
    others = [
        f"{type(part).__name__} {name.removeprefix('model.')!r}"
        for name, part in head.named_modules()
        if part is not classifying and not isinstance(part, plain) and next(part.children(), None) is None
    ]
    return f"there is {others[0]} beside the pooling" if others else "its feature map is not averaged over space"
