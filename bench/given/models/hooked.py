"""Cut of a model at a named layer, by hooks: for models whose forward pass cannot be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.errors import UserError
from bench.models.eval_mode import evaluating
from bench.models.feature_layout import FeatureMap, Layout, NativeFeatures, TokenClassifier

#: Most class and register tokens in front of the patches.
_PREFIX = 8


class _Reached(Exception):
    """Ends a forward pass at the layer; carries its output."""

    def __init__(self, output: Any) -> None:
        super().__init__("the layer was reached")
        self.output = output


def _tensor(output: Any) -> Any:
    """Returns the output of a layer; of several outputs, as of a block of tokens with its attention, the first."""
    return output[0] if isinstance(output, tuple) and output else output


class LayerOutput(NativeFeatures):
    """Feature extractor that runs a model up to one of its layers.

    Args:
        model: the model; all of it is a submodule.
        layer: name of the layer in ``model.named_modules()``.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__(model)
        self.layer = layer

    def hooked(self, hook: Callable[[Any], Any], images: Tensor) -> Any:
        """Runs the model with a hook on the output of the layer, which is removed in any case."""
        part = self.model.get_submodule(self.layer)
        handle = part.register_forward_hook(lambda module, given, output: hook(output))
        try:
            return self.model(images)
        finally:
            handle.remove()

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to the output of the layer.

        Raises:
            UserError: the forward pass does not use the layer.
        """

        def stop(output: Any) -> None:
            raise _Reached(_tensor(output))

        try:
            self.hooked(stop, images)
        except _Reached as reached:
            features: Tensor = reached.output
            return features
        raise UserError(f"layer {self.layer!r} of {type(self.model).__name__} is not used in its forward pass")


class RestOfModel(nn.Module):
    """Head that runs a model with the output of one layer replaced; the image that the model reads is empty.

    Args:
        features: the part up to the layer; not a submodule, because its weights would be stored twice.
        layout: converts a feature map (N,D,h,w) to the output of the layer; None if it is given as that already.
        size: (H,W) of the empty image.
    """

    def __init__(self, features: LayerOutput, layout: Layout | None, size: tuple[int, int]) -> None:
        super().__init__()
        self._features = (features,)
        self.layout, self.size = layout, size
        self.training = features.training

    def forward(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to logits (N,C)."""
        native = self.layout.to_native(features) if self.layout else features

        def put(output: Any) -> Any:
            return (native, *output[1:]) if isinstance(output, tuple) else native

        logits: Tensor = self._features[0].hooked(put, features.new_zeros(len(features), 3, *self.size))
        return logits


def cut_at(model: nn.Module, layer: str, images: Tensor) -> Classifier:
    """Cuts a model (images -> logits) at the output of a layer, and measures that the cut computes the same.

    Args:
        model: in evaluation mode; shared by the result.
        layer: name of the layer.
        images: (N,3,H,W), of the size that is evaluated.

    Returns:
        A classifier; if the logits need tokens that are not part of the map, one that has ``beside_map``.

    Raises:
        UserError: there is no such layer, its output is not a map or tokens, or the logits need more than its output.
    """
    name, size = type(model).__name__, (images.shape[2], images.shape[3])
    if layer not in dict(model.named_modules()):
        raise UserError(f"{name} has no layer {layer!r}; candidates: {', '.join(candidates(model, images)) or 'none'}")
    native = LayerOutput(model, layer)
    with evaluating(model), torch.no_grad():
        raw, logits = native(images), model(images)
        layout = _layout(raw, size)
        if layout is None:
            shape = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            found = ", ".join(candidates(model, images)) or "none"
            raise UserError(
                f"layer {layer!r} of {name} returns {shape}, not a map of several cells; candidates: {found}"
            )
        features = FeatureMap(native, layout, size)
        head = RestOfModel(native, layout, size)
        if _same(head(features(images)), logits):
            return Classifier(features, head, logits.shape[1])
        tokens = RestOfModel(native, None, size)
        if layout.prefix and _same(tokens(raw), logits):
            reason = "its logits depend on a class or register token, which is not part of the grid of patches"
            return TokenClassifier(features, tokens, logits.shape[1], reason)
    raise UserError(f"the logits of {name} need more than the output of layer {layer!r}; name a later feature_layer")


def _same(composed: Tensor, logits: Tensor) -> bool:
    return composed.shape == logits.shape and torch.allclose(composed, logits, rtol=1e-4, atol=1e-5)


def _layout(raw: Any, size: tuple[int, int]) -> Layout | None:
    """Returns the layout of the output of a layer (N,D,h,w) or (N,L,D); None if it is not a map of several cells."""
    if not isinstance(raw, Tensor) or not raw.is_floating_point():
        return None
    if raw.ndim == 4:
        return Layout("NCHW") if raw[0, 0].numel() > 1 else None
    if raw.ndim != 3:
        return None
    for prefix in range(min(_PREFIX, raw.shape[1])):
        cells = raw.shape[1] - prefix
        rows = round((cells * size[0] / size[1]) ** 0.5)
        if rows > 1 and cells % rows == 0 and abs(cells / rows / rows - size[1] / size[0]) < 0.01:
            return Layout("NLC", prefix)
    return None


def candidates(model: nn.Module, images: Tensor, most: int = 4) -> list[str]:
    """Lists layers that return a feature map of several cells, in the order of the forward pass: the last few."""
    found: dict[str, None] = {}
    size = images.shape[2], images.shape[3]

    def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, given: Any, output: Any) -> None:
            if _layout(_tensor(output), size):
                found.pop(name, None)
                found[name] = None

        return note

    handles = [part.register_forward_hook(noting(name)) for name, part in model.named_modules() if name]
    try:
        with evaluating(model), torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)[-most:]
