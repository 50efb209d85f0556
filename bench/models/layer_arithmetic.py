"""Positions of feature cells from the arithmetic of layers, because padding and strides shift the grid of a network.

A forward pass is watched at the level of ATen operations, the closed set to which every module comes down, so that
neither the class of a layer nor the control flow of a model matters. Operations that are not known here are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from bench.models.eval_mode import evaluating

aten = torch.ops.aten


class AxisField(NamedTuple):
    """The cells of one axis: centre of the first in input pixels (pixel p has its centre at p + ½), step and extent."""

    start: float
    stride: float
    extent: float

    def window(self, kernel: int, stride: int, before: int, dilation: int = 1) -> AxisField:
        """Cells behind a sliding window with ``before`` padded cells at its start."""
        reach = dilation * (kernel - 1)
        start = self.start + (reach / 2 - before) * self.stride
        return AxisField(start, self.stride * stride, self.extent + reach * self.stride)


#: Axis of a tensor -> its cells; axes that are not spatial have no entry.
Fields = dict[int, AxisField]


class UnknownLayer(ValueError):
    """An operation whose effect on the positions of cells is not known, or that has no one answer."""


def computed_fields(module: nn.Module, forward: Callable[[Tensor], Tensor], image: Tensor) -> tuple[AxisField, ...]:
    """Rows and columns of the feature map (N,D,h,w) that ``forward``, a method of ``module``, makes of ``image``.

    Raises:
        UnknownLayer: the arithmetic does not tell.
    """
    watch = _Watch(image)
    with torch.no_grad(), evaluating(module), watch:
        features = forward(image)
    fields: Fields = watch.fields.get(features, {})
    if features.ndim != 4 or set(fields) != {2, 3}:
        raise UnknownLayer(f"features of shape {tuple(features.shape)} are not laid out over both axes of the image")
    return fields[2], fields[3]


class _Watch(TorchDispatchMode):
    """Notes the fields of every tensor that depends on the image."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fields: Any = WeakTensorKeyDictionary()
        self.fields[image] = {axis: AxisField(0.5, 1, 1) for axis in (2, 3)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bound = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | kwargs
        inputs = [(tuple(one.shape), self.fields[one]) for one in _tensors(bound.values()) if self.fields.get(one)]
        result = func(*args, **kwargs)
        if inputs:
            outputs = list(_tensors([result]))
            if outputs:
                self._note(func, bound, inputs, outputs)
        return result

    def _note(self, func: Any, bound: dict[str, Any], inputs: list[Any], outputs: list[Tensor]) -> None:
        rule = _RULES.get(func.overloadpacket) or (_pointwise if torch.Tag.pointwise in func.tags else None)
        if rule is None:
            raise UnknownLayer(f"the effect of {func} on positions is not known")
        call = _Call(bound, inputs, tuple(outputs[0].shape))
        fields = rule(call)
        for output in outputs[:1] if func.overloadpacket in _FIRST_OUTPUT_ONLY else outputs:
            self.fields[output] = fields


class _Call(NamedTuple):
    """One operation: arguments by name, (shape, fields) of the inputs that have fields, and shape of the output."""

    bound: dict[str, Any]
    inputs: list[tuple[tuple[int, ...], Fields]]
    shape: tuple[int, ...]

    @property
    def first(self) -> tuple[tuple[int, ...], Fields]:
        return self.inputs[0]

    def axis(self, name: str = "dim") -> int:
        return int(self.bound.get(name, 0)) % len(self.first[0])


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _keep(call: _Call) -> Fields:
    return call.first[1]


def _pointwise(call: _Call) -> Fields:
    """Union of the fields of all inputs, which are broadcast: an axis of one cell gates or shifts all cells alike."""
    merged: Fields = {}
    for shape, fields in call.inputs:
        for axis, field in fields.items():
            at = axis + len(call.shape) - len(shape)
            if shape[axis] == call.shape[at]:
                merged[at] = _union(merged.get(at, field), field)
    return merged


def _union(one: AxisField, other: AxisField) -> AxisField:
    if (one.start, one.stride) != (other.start, other.stride):
        raise UnknownLayer(f"paths meet whose cells lie apart, at {one.start} and {other.start}")
    return max(one, other)


def _cat(call: _Call) -> Fields:
    merged = _pointwise(call._replace(inputs=[(call.shape, fields) for _, fields in call.inputs]))
    if call.axis() in merged:
        raise UnknownLayer("cells are concatenated along an axis of the image")
    return merged


def _pair(values: Any) -> tuple[int, int]:
    one, *others = values if isinstance(values, list | tuple) else [values]
    return one, others[0] if others else one


def _window(kernel: Sequence[int], call: _Call) -> Fields:
    """Convolution or pooling over the last two axes."""
    bound, (shape, fields) = call.bound, call.first
    strides = _pair(bound.get("stride") or kernel)
    padding, dilation = _pair(bound.get("padding", 0)), _pair(bound.get("dilation", 1))
    first = len(shape) - 2
    if bound.get("transposed") or not set(fields) <= {first, first + 1}:
        raise UnknownLayer("a transposed convolution, or a window over channels")
    return {
        axis: field.window(kernel[axis - first], strides[axis - first], padding[axis - first], dilation[axis - first])
        for axis, field in fields.items()
    }


def _convolution(call: _Call) -> Fields:
    if len(call.bound["weight"].shape) != 4 or not isinstance(call.bound["input"], Tensor):
        raise UnknownLayer("a convolution that is not two-dimensional")
    return _window(call.bound["weight"].shape[2:], call)


def _pool(call: _Call) -> Fields:
    return _window(_pair(call.bound["kernel_size"]), call)


def _adaptive_pool(call: _Call) -> Fields:
    """Global pooling leaves no axis of the image; to a whole fraction of the cells it is an ordinary pooling."""
    shape, fields = call.first
    kept: Fields = {}
    for axis, field in fields.items():
        if call.shape[axis] == 1:
            continue
        kernel, rest = divmod(shape[axis], call.shape[axis])
        if rest:
            raise UnknownLayer(f"{shape[axis]} cells are pooled to {call.shape[axis]} of unequal size")
        kept[axis] = field.window(kernel, kernel, 0)
    return kept


def _reduction(call: _Call) -> Fields:
    (shape, fields), dims = call.first, call.bound.get("dim")
    gone = set(range(len(shape))) if dims is None else {one % len(shape) for one in _as_list(dims)}
    if call.bound.get("keepdim"):
        return {axis: field for axis, field in fields.items() if axis not in gone}
    return _renumbered(fields, [axis for axis in range(len(shape)) if axis not in gone])


def _as_list(values: Any) -> list[int]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _renumbered(fields: Fields, old: Sequence[int]) -> Fields:
    """Fields of a tensor whose axes are these ``old`` ones of the input."""
    return {new: fields[axis] for new, axis in enumerate(old) if axis in fields}


def _permute(call: _Call) -> Fields:
    shape, fields = call.first
    return _renumbered(fields, [axis % len(shape) for axis in call.bound["dims"]])


def _transpose(call: _Call) -> Fields:
    axes = list(range(len(call.shape)))
    one, other = call.axis("dim0"), call.axis("dim1")
    axes[one], axes[other] = other, one
    return _renumbered(call.first[1], axes)


def _pad(call: _Call) -> Fields:
    """Padding, given from the last axis on, as (before, after) for each."""
    fields, pads = dict(call.first[1]), call.bound.get("pad", call.bound.get("padding"))
    for axis, field in fields.items():
        place = 2 * (len(call.shape) - 1 - axis)
        before = pads[place] if pads and place < len(pads) else 0
        fields[axis] = field._replace(start=field.start - before * field.stride)
    return fields


def _slice(call: _Call) -> Fields:
    (shape, fields), axis = call.first, call.axis()
    if axis not in fields:
        return fields
    begin, _, step = slice(call.bound.get("start"), call.bound.get("end"), call.bound.get("step", 1)).indices(
        shape[axis]
    )
    field = fields[axis]
    return fields | {axis: field._replace(start=field.start + begin * field.stride, stride=field.stride * step)}


def _split(call: _Call) -> Fields:
    if call.axis() in call.first[1]:
        raise UnknownLayer("the map is split along an axis of the image")
    return call.first[1]


def _without_axis(call: _Call) -> Fields:
    shape, fields = call.first
    if call.axis() in fields:
        raise UnknownLayer("one row of cells is selected")
    return _renumbered(fields, [axis for axis in range(len(shape)) if axis != call.axis()])


def _unsqueeze(call: _Call) -> Fields:
    new = int(call.bound["dim"]) % len(call.shape)
    return {axis + (axis >= new): field for axis, field in call.first[1].items()}


def _view(call: _Call) -> Fields:
    """A new shape: an axis of the image stays one if it has its length, and as many values behind it, as before."""
    (shape, fields), kept = call.first, dict[int, AxisField]()
    for axis, field in fields.items():
        place = [shape[axis], _count(shape[axis + 1 :])]
        same = [new for new in range(len(call.shape)) if [call.shape[new], _count(call.shape[new + 1 :])] == place]
        free = [new for new in same if new not in kept]
        if not free:
            raise UnknownLayer(f"the axes of the image are lost from shape {shape} to {call.shape}")
        kept[free[0]] = field
    return kept


def _count(lengths: Sequence[int]) -> int:
    return torch.Size(lengths).numel()


_GROUPS: list[tuple[Callable[[_Call], Fields], str]] = [
    (_keep, "clone detach alias _to_copy contiguous hardswish hardswish_ threshold_ _prelu_kernel native_dropout"),
    (_keep, "native_batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit cudnn_batch_norm"),
    (_keep, "_batch_norm_no_update miopen_batch_norm native_layer_norm native_group_norm"),
    (lambda call: {}, "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty"),
    (_convolution, "convolution"),
    (_pool, "max_pool2d_with_indices avg_pool2d max_pool2d"),
    (_adaptive_pool, "_adaptive_avg_pool2d adaptive_max_pool2d"),
    (_reduction, "mean sum amax amin var var_mean std linalg_vector_norm norm"),
    (_permute, "permute"),
    (_transpose, "transpose"),
    (_pad, "constant_pad_nd reflection_pad2d replication_pad2d"),
    (_slice, "slice"),
    (_split, "split split_with_sizes chunk"),
    (_without_axis, "select unbind"),
    (_unsqueeze, "unsqueeze"),
    (_view, "view _unsafe_view reshape"),
    (_cat, "cat"),
]
_RULES: dict[Any, Callable[[_Call], Fields]] = {
    getattr(aten, name): rule for rule, names in _GROUPS for name in names.split()
}
_FIRST_OUTPUT_ONLY = {packet for packet, rule in _RULES.items() if rule is _keep}
