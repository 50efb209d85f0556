"""Geometry of feature maps: where in the image each cell looks, because few backbones look where a cell is drawn.

The convention of most libraries draws cell i of h at (i + ½)·H/h. A ResNet, whose layers are padded on both sides
before they stride, looks half a cell before that point.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.contracts import Classifier, Geometry
from bench.maps import area_average, cell_average
from bench.models.eval_mode import evaluating
from bench.models.layer_arithmetic import UnknownLayer, computed_fields

#: Weight of a tap of a planted kernel relative to that of its neighbour towards the middle: small for centres, so that
#: the gradient of a cell stays close to its centre and is not cut off by the border; equal for receptive fields.
_NARROW, _FLAT = 0.002, 1.0
#: Cells that an axis needs to be measured: three inside, one on either side.
_CELLS = 5
#: Share of a gradient that must lie within 1.5 cells of its centroid, and largest error of the straight line, in cells.
_CONCENTRATION, _STRAIGHTNESS = 0.75, 0.05


def geometry_of(classifier: nn.Module, size: tuple[int, int]) -> Geometry | None:
    """Geometry of the feature map of images of ``size``: computed where the layers tell, otherwise measured.

    Args:
        classifier: a ``Classifier``, or a module that makes images (N,3,H,W) to a feature map (N,D,h,w). Its weights
            do not matter, except for those that decide which layers run.
        size: (H, W); the padding of some networks depends on it.

    Returns:
        None where neither way gives a trustworthy answer.
    """
    return compute_geometry(classifier, size) or measure_geometry(classifier, size)


def cell_means(classifier: Classifier, values: Tensor) -> Tensor:
    """Averages values (N,H,W) of pixels over the cells of the classifier's feature map: (N,h,w).

    A cell is the pixels nearest to the point at which it looks; without a known geometry, cells divide the image
    evenly.
    """
    size = values.shape[1], values.shape[2]
    with evaluating(classifier), torch.no_grad():
        image = _image(size, classifier.in_channels).to(next(classifier.parameters(), values))
        height, width = classifier.forward_features(image).shape[2:]
    geometry = classifier.geometry(size)
    if geometry is None:
        return area_average(values, (height, width))
    return cell_average(values, (height, width), size, geometry)


@torch.inference_mode(False)
def compute_geometry(classifier: nn.Module, size: tuple[int, int]) -> Geometry | None:
    """``geometry_of`` by the arithmetic of the layers, in one forward pass; None where it does not tell."""
    weight = next(classifier.parameters(), torch.empty(0))
    channels = getattr(classifier, "in_channels", 3)
    image = torch.zeros(1, channels, *size, dtype=weight.dtype, device=weight.device)
    try:
        rows, columns = computed_fields(classifier, _forward(classifier), image)
    except UnknownLayer:
        return None
    except Exception:  # whatever a foreign forward() raises when it is watched; the measurement may still succeed
        return None
    return Geometry((rows.start, columns.start), (rows.stride, columns.stride), (rows.extent, columns.extent))


def _forward(classifier: nn.Module) -> Callable[[Tensor], Tensor]:
    return classifier.forward_features if isinstance(classifier, Classifier) else classifier.__call__


def _forward_of_one(classifier: nn.Module) -> Callable[[Tensor], Tensor]:
    """Returns the features of images with three channels for a network that reads another number of them."""
    forward, channels = _forward(classifier), getattr(classifier, "in_channels", 3)
    return forward if channels == 3 else lambda images: forward(images[:, :1].expand(-1, channels, -1, -1))


@torch.inference_mode(False)
@torch.enable_grad()
def measure_geometry(classifier: nn.Module, size: tuple[int, int]) -> Geometry | None:
    """``geometry_of`` by the gradients of some cells with respect to the image.

    Measured on a copy whose weights make averages with emphasis on the middle of each kernel and that runs under
    ``Local``: the gradient of a cell is then all positive, symmetric about its centre and narrow. An image of few
    cells is enlarged by whole cells, which leaves the padding as it is.

    Returns:
        None where the gradients do not lie around equidistant centres, or the model cannot be differentiated.
    """
    try:
        probe = copy.deepcopy(classifier).to(device="cpu", dtype=torch.float32)
        with evaluating(probe), Local():
            larger = [_enlarged(_forward_of_one(probe), size, axis) for axis in (0, 1)]
            plant(probe, _NARROW)
            narrow = [_profiles(_forward_of_one(probe), larger[axis], axis, (0, 0.5, 1)) for axis in (0, 1)]
            plant(probe, _FLAT)
            flat = [_profiles(_forward_of_one(probe), larger[axis], axis, (0.5,)) for axis in (0, 1)]
    except Exception:  # whatever a foreign module raises when it is copied, run or differentiated
        return None
    rows, columns = (_line(profiles) for profiles in narrow)
    if rows is None or columns is None:
        return None
    fields = _extent(flat[0], *rows), _extent(flat[1], *columns)
    return Geometry((rows[0], columns[0]), (rows[1], columns[1]), fields)


def plant(module: nn.Module, decay: float) -> None:
    """Make the layers of ``module`` average: all weights positive, kernels symmetric and falling from their middle.

    A cell of it then looks exactly where the geometry of the layers says.

    Args:
        module: changed in place; takes no gradients afterwards.
        decay: weight of a tap of a kernel relative to that of its neighbour towards the middle.
    """
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.copy_(_averaging(weight, decay, generator))
        else:
            weight.fill_(float("bias" not in name))


def _averaging(weight: Tensor, decay: float, generator: torch.Generator) -> Tensor:
    """Positive weights like ``weight``; they differ between channels, so that what is normalised does not vanish."""
    kernel = weight.ndim == 4
    drawn = 0.5 + torch.rand(weight.shape[: 2 if kernel else None], generator=generator)
    drawn /= drawn.sum(dim=-1, keepdim=True)
    if not kernel:
        return drawn
    rows, columns = (torch.tensor(float(decay)) ** (torch.arange(n) - (n - 1) / 2).abs() for n in weight.shape[2:])
    return drawn[:, :, None, None] * (rows / rows.sum())[:, None] * (columns / columns.sum())


#: Functions that are skipped: norms, and activations that would saturate.
_PASSED = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "hardtanh", "hardtanh_", "relu6"}


#: Functions whose values count as constants: what a norm written out divides by.
_CONSTANT = {"sqrt", "rsqrt", "linalg_vector_norm", "vector_norm", "norm"}


class Local(TorchFunctionMode):
    """Runs a network without what moves no cell: no norm, a global average of 0, tokens that attend to themselves only.

    Maximum pooling becomes average pooling, whose gradient does not depend on which pixel won.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _PASSED:
            return args[0].clone()  # an operation in place may follow
        if name == "max_pool2d":
            return _average_pool(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return args[2].clone(), None
        if name == "scaled_dot_product_attention" and args[0].shape[-2] == args[2].shape[-2]:
            return args[2].clone()
        result: Any = func(*args, **kwargs)
        if name in _CONSTANT:
            return result.detach()
        if name == "softmax" and result.ndim > 2 and result.shape[-1] == result.shape[-2]:
            return torch.eye(result.shape[-1], dtype=result.dtype).expand_as(result)
        if name in ("adaptive_avg_pool2d", "mean") and result.ndim > 1 and _is_global(result, args[0]):
            return torch.zeros_like(result)
        return result


def _is_global(result: Tensor, source: Tensor) -> bool:
    """Whether ``result``, (N,D,1,1) or (N,D), holds one number per channel of a map (N,D,h,w) of several cells."""
    several = source.ndim == 4 and source.shape[2:].numel() > 1
    return several and result.shape[:2] == source.shape[:2] and result.shape[2:].numel() == 1


def _average_pool(images: Tensor, kernel_size: Any, *rest: Any, **options: Any) -> Tensor:
    """``max_pool2d`` without dilation, as the average."""
    named = dict(zip(("stride", "padding", "dilation", "ceil_mode"), rest, strict=False)) | options
    chosen = {name: named[name] for name in ("stride", "padding", "ceil_mode") if name in named}
    if named.get("dilation", 1) not in (1, (1, 1), [1, 1]):
        raise ValueError("a pooling with dilation has no average")
    return F.avg_pool2d(images, kernel_size, **chosen)


def _enlarged(forward: Callable[[Tensor], Tensor], size: tuple[int, int], axis: int) -> tuple[int, int]:
    """``size``, with whole cells added along one axis if it has too few."""
    with torch.no_grad():
        cells = forward(_image(size)).shape[2 + axis]
    whole, rest = divmod(size[axis], cells)
    longer = size[axis] + max(0, _CELLS - cells) * (2 ** whole.bit_length() if rest else whole)
    return (longer, size[1]) if axis == 0 else (size[0], longer)


def _profiles(
    forward: Callable[[Tensor], Tensor], size: tuple[int, int], axis: int, parts: Sequence[float]
) -> dict[int, np.ndarray]:
    """Inner cells at these parts of an axis -> absolute gradient along it (H,) of their mean feature."""
    image = _image(size).requires_grad_()
    features = forward(image).mean(dim=1)[0].movedim(axis, 0)
    length, across = features.shape
    found = {}
    for part in parts:
        cell = round(1 + part * (length - 3))
        (gradient,) = torch.autograd.grad(features[cell, across // 2], image, retain_graph=True)
        found[cell] = gradient[0].double().abs().sum(dim=(0, 2 - axis)).numpy()
    return found


def _image(size: tuple[int, int], channels: int = 3) -> Tensor:
    """Nearly constant, for a gradient that depends on place only; not quite, for there are norms of contrast."""
    return 1 + 0.01 * torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))


def _line(profiles: dict[int, np.ndarray]) -> tuple[float, float] | None:
    """First centre and stride; None where the gradients are wide, or their centroids no straight line."""
    cells, values = np.array(list(profiles)), np.stack(list(profiles.values()))
    totals = values.sum(axis=1, keepdims=True)
    if not (np.isfinite(totals).all() and (totals > 0).all()):
        return None
    shares, pixels = values / totals, np.arange(values.shape[1]) + 0.5
    centroids = shares @ pixels
    stride, start = np.polyfit(cells, centroids, 1)
    errors = np.abs(start + stride * cells - centroids)
    near = (shares * (np.abs(pixels - centroids[:, None]) <= 1.5 * stride)).sum(axis=1)
    if stride > 0 and errors.max() <= _STRAIGHTNESS * stride and near.min() >= _CONCENTRATION:
        return float(start), float(stride)
    return None


def _extent(profiles: dict[int, np.ndarray], start: float, stride: float) -> float:
    """Pixels on which a cell depends; where the border cuts them, twice the longer side."""
    ((cell, profile),) = profiles.items()
    (seen,) = profile.nonzero()
    first, last, centre = float(seen[0]), float(seen[-1] + 1), start + cell * stride
    if first > 0 and last < len(profile):
        return last - first
    return 2 * max(centre - first, last - centre)
