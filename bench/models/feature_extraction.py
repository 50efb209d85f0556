"""Separation of an image classifier into ``ClassifierParts``: a feature extractor and a head.

``split_classifier`` finds the cut from the computation and not from class names, so that it works for foreign models. A
model that declares its own cut, as all timm models do, is cut there; any other by its computation graph. Every cut is
measured: on random images, both parts in turn must give the logits of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from torch import Tensor, fx, nn

from bench.contracts import Classifier
from bench.models.cutting.checks import (
    LinearHead,
    compare,
    count_weights,
    hooked,
    is_channels_last,
    other_layers,
    refuse_dropped_weights,
    why_not_linear,
    why_not_plain,
)
from bench.models.cutting.graph import Traced, ancestors, is_layer, trace, trace_head, way_out
from bench.models.cutting.split import split
from bench.models.cutting.trial import ImageSize, Trial, image_size_of, is_linear, try_out, undisturbed, unwrap
from bench.models.feature_layout import FeatureMap, Layout, NativeFeatures, TokenClassifier

Classifying = nn.Linear | nn.Conv2d
_NOT_LAST = "its logits are not the output of its last linear layer, which a fresh one would replace"


@dataclass(frozen=True)
class ClassifierParts:
    """A classifier cut where its feature map loses its spatial axes.

    Attributes:
        features: images (N,3,H,W) -> feature map (N,D,h,w).
        head: feature map (N,D,h,w) -> logits (N,C).
        classifying: the last linear layer (or 1×1 convolution, after the pooling), a submodule of ``head``.
        not_linear: "" if the head is global average pooling and that one layer, otherwise the difference.
        shape: (1, D, h, w) of the feature map of the trial images.
        trial: random images on which both parts were compared with the model.
        difference: largest difference of the parts' logits from the model's there, relative to the largest logit.
        weights: number of weights in ``features``, and in both parts.
        fixed_last: "" if the output of ``classifying`` is the logits, so that a fresh layer can replace it.
        any_grid: for a linear head, whether it averages maps of any size, and not only of that of ``shape``.
        beside_map: "" or the reason why the logits are not a function of the feature map; ``features`` is then a
            ``FeatureMap``, and ``head`` reads its ``native`` features (all tokens, including those without a patch).
    """

    features: nn.Module
    head: nn.Module
    classifying: Classifying
    not_linear: str
    shape: tuple[int, ...]
    trial: Trial = field(repr=False)
    difference: float = 0.0
    weights: tuple[int, int] = (0, 0)
    fixed_last: str = ""
    any_grid: bool = True
    beside_map: str = ""

    @property
    def in_channels(self) -> int:
        """Number of channels of the images."""
        return self.trial.images.shape[1]

    @property
    def kept(self) -> str:
        """The weights that a new head on the features keeps, such as ``11,176,512 of 11,689,512 weights (96 %)``."""
        features, both = self.weights
        return f"{features:,} of {both:,} weights ({features / max(both, 1):.0%})"

    def classifier(self, num_classes: int) -> Classifier:
        """Joins the two parts to a classifier of ``num_classes``, the number of outputs of ``head``."""
        if self.beside_map and isinstance(self.features, FeatureMap):
            joined: Classifier = TokenClassifier(self.features, self.head, num_classes, self.beside_map)
        else:
            joined = Classifier(self.features, self.head, num_classes)
        joined.in_channels = self.in_channels
        return joined

    def require_grid(self, smallest: int, name: str) -> None:
        """Refuses a feature map that is too coarse to show where anything is.

        Raises:
            ValueError: a side of the map of the trial images has fewer than ``smallest`` cells.
        """
        rows, columns = self.shape[2:]
        if min(rows, columns) < smallest:
            size = "×".join(map(str, self.trial.size))
            raise ValueError(
                f"the feature map of {name} has {rows}×{columns} cells for images of {size} pixels, too few to explain "
                f"by; use larger images (image_size says which), or allow it by smallest_grid={min(rows, columns)}"
            )


def split_classifier(model: nn.Module, image_size: ImageSize | None = None) -> ClassifierParts:
    """Cuts ``model`` (images (N,3,H,W) -> logits (N,C)) at its feature map; weights are shared.

    A ``Classifier`` is cut already. A model with timm's ``forward_features``, ``forward_head`` and ``get_classifier``
    is cut between the first two, any other at the last map that all its logits depend on. ``DataParallel``,
    ``DistributedDataParallel`` and ``torch.compile`` are unwrapped.

    Args:
        model: reads as many channels as its first convolution has.
        image_size: side or (height, width) of the images that it will read; None = what it states, otherwise 128
            pixels or another common size that it can read.

    Raises:
        ValueError: the model has no linear classifying layer or no feature map, cannot be traced, differs from its two
            parts applied in turn, or computes further maps behind its feature map.
    """
    for wrapper in (model, unwrap(model)):
        if wrapper._forward_hooks or wrapper._forward_pre_hooks:
            raise ValueError(f"{type(wrapper).__name__} has forward hooks, which its parts would lose; remove them")
    model = unwrap(model)
    name, size = type(model).__name__, image_size_of(image_size)
    if not any(is_linear(part) for part in model.modules()):
        raise ValueError(f"{name} has no linear layer as its classifier; one linear layer is needed")
    if isinstance(model, Classifier):
        return _split_cut(model, size)
    if all(callable(getattr(model, name, None)) for name in ("forward_features", "forward_head", "get_classifier")):
        return _split_declared(model, size)
    return _split_graph(model, size)


def _split_graph(model: nn.Module, size: tuple[int, int] | None) -> ClassifierParts:
    """Cuts at the last map in the computation graph that all logits depend on."""
    name = type(model).__name__
    trial = try_out(model, size, name)
    traced = trace_head(model, trial.images[:1], name)
    if traced.cut is None:
        raise ValueError(
            f"{name} never pools its feature map: its logits do not all depend on one map (N,D,h,w) of several cells "
            f"behind the images; {way_out(name)}"
        )
    refuse_dropped_weights(traced, traced.backbone, name)
    features, head = split(traced, traced.cut)
    shape = traced.shapes[traced.cut]
    if is_channels_last(head, shape):
        features, head = split(traced, traced.cut, channels_last=True)
        shape = (shape[0], shape[3], shape[1], shape[2])
    called: list[Classifying] = [
        part for part in map(traced.part, traced.head) if isinstance(part, Classifying) and is_linear(part)
    ]
    if not called:
        raise ValueError(f"{name} has no linear layer as its classifier; one linear layer is needed behind its map")
    return _measured(model, ClassifierParts(features, head, called[-1], why_not_linear(traced), shape, trial))


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


def _split_declared(model: Any, size: tuple[int, int] | None) -> ClassifierParts:
    """Cuts between ``forward_features`` and ``forward_head``; neither part holds modules of the other."""
    name = type(model).__name__
    _last_linear(model.get_classifier(), name)
    trial = try_out(model, size, name)
    classifying = _called_in(model.get_classifier(), trial, name)
    with undisturbed(model):
        native = model.forward_features(trial.images[:1])
    layout = _layout(native, model, name)
    traced = _declared_head(model, classifying, layout, layout.to_map(native, *trial.size), name)
    head = fx.GraphModule(traced.model, traced.graph)
    features = FeatureMap(NativeFeatures(_without(model, head)), layout, trial.size)
    refuse_dropped_weights(traced, [features], name)
    with _evaluating(features, head):
        feature_map = features(trial.images[:1])
        uses_prefix = layout.prefix > 0 and bool(head(feature_map).isnan().any())
    shape = tuple(feature_map.shape)
    if shape[2:] == (1, 1):
        raise ValueError(f"{name} returns one feature vector for an image of this size, not a map (N,D,h,w)")
    if uses_prefix:
        reason = "its logits depend on a class or register token, which is not part of the grid of patches"
        traced = _declared_head(model, classifying, None, native, name)
        head = fx.GraphModule(traced.model, traced.graph)
        return _measured(model, ClassifierParts(features, head, classifying, reason, shape, trial, beside_map=reason))
    return _measured(model, ClassifierParts(features, head, classifying, "", shape, trial))


def _declared_head(model: nn.Module, last: nn.Module, layout: Layout | None, features: Tensor, name: str) -> Traced:
    """Traces the model's ``forward_head``, whose graph then has only the modules that it uses."""
    head = _DeclaredHead(model, layout)
    unweighted = [part for part in model.modules() if next(part.parameters(), None) is None and not is_layer(part)]
    return trace(head, features, [head, *ancestors(head, last), *unweighted], name)


def _without(model: nn.Module, head: fx.GraphModule) -> nn.Module:
    """Returns a copy of ``model`` on the same weights, without the modules of ``head``."""
    rest = copy.deepcopy(model, {id(weight): weight for weight in chain(model.parameters(), model.buffers())})
    for node in head.graph.find_nodes(op="call_module"):
        rest.set_submodule(str(node.target).removeprefix("model."), nn.Identity())
    return rest


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


def _split_cut(model: Classifier, size: tuple[int, int] | None) -> ClassifierParts:
    """Returns the two parts of a ``Classifier``, which is cut already; only its head is measured."""
    name = type(model).__name__
    if model.beside_map:
        raise ValueError(f"the parts of {name} cannot be separated: {model.beside_map}")
    _last_linear(model.head, name)
    trial = try_out(model, size, name)
    with undisturbed(model):
        shape = tuple(model.features(trial.images[:1]).shape)
    if len(shape) != 4:
        raise ValueError(f"{name} has features of shape {shape}; a map (N,D,h,w) was expected")
    classifying = _called_in(model.head, trial, name)
    return _measured(model, ClassifierParts(model.features, model.head, classifying, "", shape, trial))


def _last_linear(part: object, name: str) -> Classifying:
    """Returns the last linear layer or 1×1 convolution of a module; ValueError if there is none."""
    layers = [one for one in part.modules() if isinstance(one, Classifying)] if isinstance(part, nn.Module) else []
    if not layers or not is_linear(layers[-1]):
        what = f"{len(part)} classifiers" if isinstance(part, tuple | list) else "no linear layer as its classifier"
        raise ValueError(f"{name} has {what}; one linear layer is needed")
    return layers[-1]


def _called_in(part: nn.Module, trial: Trial, name: str) -> Classifying:
    """Returns the linear layer of ``part`` that the forward pass called last, whatever else it holds."""
    if trial.last is None or not any(one is trial.last for one in part.modules()):
        raise ValueError(f"{name} never calls {_last_linear(part, name)} last, which it states as its classifier")
    return trial.last


def _measured(model: nn.Module, parts: ClassifierParts) -> ClassifierParts:
    """Compares the parts with ``model``, and measures what the head computes."""
    trial, features, head = parts.trial, parts.features, parts.head
    read = features.native if parts.beside_map and isinstance(features, FeatureMap) else features
    with _evaluating(features, head):
        difference = compare(lambda images: head(read(images)), model, trial, type(model).__name__)
    changed = why_not_plain(parts.classifying)
    not_linear, any_grid = (parts.beside_map, True) if parts.beside_map else _linearity(parts)
    return replace(
        parts,
        not_linear=not_linear,
        any_grid=any_grid,
        difference=difference,
        weights=(count_weights([features]), count_weights([features, head])),
        fixed_last=changed or ("" if trial.last is parts.classifying and trial.last_gives_logits else _NOT_LAST),
    )


def _linearity(parts: ClassifierParts) -> tuple[str, bool]:
    """Returns ``not_linear`` and ``any_grid`` of parts, whose ``not_linear`` only words what is measured here."""
    if parts.classifying.weight.is_meta:
        return parts.not_linear or "its weights are on the device meta, so that nothing can be measured", True
    linear = LinearHead(parts.head, parts.classifying, parts.shape)
    if not linear.exact:
        return parts.not_linear or linear.problem or other_layers(parts.head, parts.classifying), True
    return hooked(parts.head), linear.any_grid


@contextmanager
def _evaluating(features: nn.Module, head: nn.Module) -> Iterator[None]:
    with undisturbed(features), undisturbed(head):
        yield
