"""Square patches: their size at another resolution, scores, order of importance, and schedules of filling them.

Localisation and faithfulness share them, so that both judge a map on the same units by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.maps import exact, finite
from bench.plain.names import RULES
from bench.seeds import generator

#: Pixels that replace occluded patches: images (n,), steps (n,) -> (n,3,H,W).
Fill = Callable[[Tensor, Tensor], Tensor]
#: Weights of the four pixels around a point halfway between two: cubic convolution with a = -0.75.
_HALFWAY = (-3 / 32, 19 / 32, 19 / 32, -3 / 32)


def patch_at(size: int) -> int:
    """Returns the side of a patch, in pixels, on images of ``size`` pixels: 33 at 512, in proportion, at least 1.

    Python rounds halves to even: 16.5 at 256 pixels becomes 16.

    Example:
        >>> patch_at(512), patch_at(224)
        (33, 14)
    """
    return max(1, round(33 * size / 512))


def stride_at(size: int) -> int:
    """Returns the stride between patches, in pixels, on images of ``size`` pixels: 8 at 512, in proportion, at least 1.

    Example:
        >>> stride_at(512), stride_at(224)
        (8, 4)
    """
    return max(1, round(8 * size / 512))


def patch_max(values: Tensor, patch: int) -> Tensor:
    """Computes the maximum over non-overlapping patches from the top-left corner; the last ones may be smaller.

    Args:
        values: (N,H,W) float.
        patch: side of a patch in pixels.

    Returns:
        (N, ceil(H/patch), ceil(W/patch))

    Example:
        >>> patch_max(torch.tensor([[[1.0, 2.0, 3.0]]]), patch=2)
        tensor([[[2., 3.]]])
    """
    values = exact(values)
    return F.max_pool2d(values.unsqueeze(1), patch, patch, ceil_mode=True).squeeze(1)


def patch_scores(
    maps: Tensor, patch: int, stride: int | None = None, rule: str = "mean", ignored: Tensor | None = None
) -> Tensor:
    """Computes the importance of every patch from the pixels that it covers; top-k and occlusion both rank by it.

    ``"mean"``: mean of the positive part of the map, so that a patch is judged as an area. ``"max"``: highest value.
    ``"sum"``: sum of the signed values. ``"point"``: one value at the centre, cubic between two pixels where the side
    is even; it favours smooth maps, because in a fine map one value says little about its surroundings.

    Means and sums are computed in float64, window by window and not as differences of cumulative sums, whose rounding
    would give a patch without evidence a score just above 0 and break ties. The result is rounded to the type of the
    map, so that equal patches tie.

    Args:
        maps: (N,H,W) raw, at the resolution of the images.
        patch: side of a patch in pixels.
        stride: distance between patches in pixels; all patches are whole. None = the grid of non-overlapping patches
            from the top-left corner, whose last ones may be smaller.
        rule: one of ``RULES``.
        ignored: (N,H,W) bool, pixels that do not count, or None. A point there has the value 0.

    Returns:
        (N,n,m), m patches per row.

    Raises:
        ValueError: the rule is unknown.

    Example:
        >>> patch_scores(torch.tensor([[[4.0, -2.0, 3.0]]]), patch=2)
        tensor([[[2., 3.]]])
    """
    maps = exact(maps)
    if rule not in RULES:
        raise ValueError(f"no patch rule {rule!r}; known: {', '.join(RULES)}")
    if rule == "max":
        counted = maps if ignored is None else maps.masked_fill(ignored, -torch.inf)
        return F.max_pool2d(counted.unsqueeze(1), patch, stride or patch, ceil_mode=stride is None).squeeze(1)
    counted = maps if ignored is None else maps.masked_fill(ignored, 0)
    if rule == "point":
        for axis in (1, 2):
            counted = _at_centres(counted, patch, stride, axis)
        return counted
    sums = _sums(counted if rule == "sum" else counted.relu(), patch, stride)
    if rule == "mean":
        pixels = torch.ones_like(maps[:1]) if ignored is None else ~ignored
        sums = sums / _sums(pixels, patch, stride).clamp(min=1)
    return sums.to(maps.dtype)


def _sums(values: Tensor, patch: int, stride: int | None) -> Tensor:
    """Sums (N,H,W) over every patch in float64, first along rows, then along columns."""
    step, cut = stride or patch, stride is None
    along = F.avg_pool2d(values.double().unsqueeze(1), (1, patch), (1, step), ceil_mode=cut, divisor_override=1)
    return F.avg_pool2d(along, (patch, 1), (step, 1), ceil_mode=cut, divisor_override=1).squeeze(1)


def _at_centres(values: Tensor, patch: int, stride: int | None, axis: int) -> Tensor:
    """Interpolates (N,H,W) along one axis at the centre of every patch; border pixels are repeated."""
    side = values.shape[axis]
    last = side - 1 if stride is None else side - patch
    starts = torch.arange(0, last + 1, stride or patch, device=values.device)
    doubled = starts + (starts + patch).clamp(max=side) - 1  # twice the index of the centre
    below, between = doubled // 2, (doubled % 2).bool()
    shape = [-1 if one == axis else 1 for one in range(values.ndim)]
    total = torch.zeros_like(values.index_select(axis, below))
    for offset, halfway in zip((-1, 0, 1, 2), _HALFWAY, strict=True):
        weight = torch.where(between, halfway, float(offset == 0)).to(values.dtype).view(shape)
        total = total + weight * values.index_select(axis, (below + offset).clamp(0, side - 1))
    return total


def patch_order(
    maps: Tensor,
    patch: int,
    ids: Sequence[object] | None = None,
    fov: Tensor | None = None,
    least_first: bool = False,
    rule: str = "mean",
) -> Tensor:
    """Orders the patches of the ceil(H/patch) × ceil(W/patch) grid by ``patch_scores``, ties at random.

    The order of ties depends on the image's id alone, neither on its batch nor on the explainer, so that explainers are
    compared on the same draw. A stable sort would occlude tied patches in raster order.

    Args:
        maps: (N,H,W) at the resolution of the images. A map that is not finite has no order: all -1.
        patch: side of a patch in pixels.
        ids: (N) image ids. Without them all images share one order of ties, which still does not depend on the batch.
        fov: (N,H,W) bool, field of view; a patch wholly outside it is left out. None = the whole image.
        least_first: lowest score first.
        rule: one of ``RULES``.

    Returns:
        (N,P) long, indices into the flattened grid (P cells), padded with -1 for patches that are left out.

    Example:
        >>> patch_order(torch.tensor([[[1.0, 3.0, 2.0]]]), patch=1)
        tensor([[1, 2, 0]])
    """
    maps = exact(maps)
    scores = patch_scores(maps, patch, rule=rule).flatten(1)
    outside = ~finite(maps).unsqueeze(1).expand_as(scores)
    if fov is not None:
        outside = outside | (patch_max(fov.to(maps.dtype), patch).flatten(1) == 0)
    scores = (-scores if least_first else scores).masked_fill(outside, -torch.inf)
    names = [0] * len(maps) if ids is None else ids
    drawn = [torch.randperm(scores.shape[1], generator=generator("ties between patches", name)) for name in names]
    shuffled = torch.stack(drawn).to(maps.device) if drawn else torch.zeros_like(scores, dtype=torch.long)
    ranked = scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    order = shuffled.gather(1, ranked)
    return order.masked_fill(outside.gather(1, order), -1)


@dataclass(frozen=True)
class Schedule:
    """Filled patches of every image after each step, and their fill; see ``deletion`` and ``insertion``.

    Attributes:
        order: (N,P) indices into the flattened grid of patches, -1 after the last.
        filled: (N,K+1) number of patches, from the start of the order, that are filled; monotone over the steps.
        fill: a name in ``FILLS``, or (N,3,H,W), or a function.
    """

    order: Tensor
    filled: Tensor
    fill: str | Tensor | Fill

    @cached_property
    def orders(self) -> list[list[int]]:
        """``order`` on the host."""
        orders: list[list[int]] = self.order.tolist()
        return orders

    @cached_property
    def counts(self) -> list[list[int]]:
        """``filled`` on the host."""
        counts: list[list[int]] = self.filled.tolist()
        return counts


def deletion(order: Tensor, steps: int, fill: str | Tensor | Fill) -> Schedule:
    """Returns the schedule that fills patches in an order, one per step.

    Args:
        order: (N,P) from ``patch_order``. An image with fewer than K patches keeps its state after its last one.
        steps: K.
        fill: a name in ``FILLS``, or (N,3,H,W), or a function.

    Example:
        >>> deletion(torch.tensor([[1, 0, -1]]), steps=3, fill="zero").filled
        tensor([[0, 1, 2, 2]])
    """
    count = (order >= 0).sum(dim=1, keepdim=True)
    return Schedule(order, torch.arange(steps + 1, device=order.device).minimum(count), fill)


def insertion(order: Tensor, steps: int, fill: str | Tensor | Fill) -> Schedule:
    """Returns the schedule that starts with all patches filled and reveals them in an order, one per step.

    Args:
        order: (N,P) from ``patch_order``.
        steps: K.
        fill: a name in ``FILLS`` except "noise", or (N,3,H,W), or a function.

    Raises:
        ValueError: the fill is "noise", which has nothing to impute from if the whole image is missing.

    Example:
        >>> insertion(torch.tensor([[1, 0, -1]]), steps=3, fill="zero").filled
        tensor([[2, 1, 0, 0]])
    """
    if isinstance(fill, str) and fill == "noise":
        raise ValueError("no fixed fill 'noise': where every patch is filled there is nothing to impute from")
    count = (order >= 0).sum(dim=1, keepdim=True)
    place = count - 1 - torch.arange(order.shape[1], device=order.device)
    backwards = order.gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)
    return Schedule(backwards, (count - torch.arange(steps + 1, device=order.device)).clamp(min=0), fill)
