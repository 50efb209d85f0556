"""Localisation: agreement of the map with the annotated lesion.

All metrics need masks, and are nan if a mask is empty or a map is not finite. ``ignored`` marks pixels for which the
annotation does not say whether they are lesion. Evidence there is neither right nor wrong: these pixels enter no sum,
rank or count, and their values do not matter as long as they are finite. With None every pixel counts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.maps import exact, finite, positive
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"


@metric("activation_precision", "localisation", ("maps", "masks", "ignored"), True, (0, 1), _SOFTCAM, uses_zero=True)
def activation_precision(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Computes the share of the positive evidence inside the mask: ``sum(P·M) / sum(P)`` with P = ``positive(maps)``.

    It is 0 without positive evidence. P has its min and max on the pixels that are not ignored. Also called
    energy-based pointing game or relevance mass accuracy. It favours sparse maps: read it together with the
    sensitivity.

    Source: arXiv:2505.17748; arXiv:1910.01279 (energy-based pointing game); arXiv:2003.07258 (mass accuracy).

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 4.0], [2.0, 2.0]]]), torch.tensor([[[False, True], [False, False]]])
        >>> activation_precision(maps, masks)
        tensor([0.5000])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    evidence = positive(maps, ignored)
    total = evidence.sum(dim=(1, 2))
    inside = (evidence * masks).sum(dim=(1, 2))
    return where_defined(torch.where(total == 0, torch.zeros_like(total), inside / total), maps, masks)


@metric("activation_sensitivity", "localisation", ("maps", "masks", "ignored"), True, (0, 1), _SOFTCAM, uses_zero=True)
def activation_sensitivity(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Computes the mean positive evidence inside the mask: ``sum(P·M) / sum(M)`` with P = ``positive(maps)``.

    It rises with saturation: a map of ones everywhere except in one pixel is near 1. Never show it without the
    precision.

    Source: arXiv:2505.17748.

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 4.0], [2.0, 2.0]]]), torch.tensor([[[False, True], [False, True]]])
        >>> activation_sensitivity(maps, masks)
        tensor([0.7500])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    inside = (positive(maps, ignored) * masks).sum(dim=(1, 2))
    return where_defined(inside / masks.sum(dim=(1, 2)), maps, masks)


@metric("pointing_game", "localisation", ("maps", "masks", "ignored"), True, (0, 1), "arXiv:1608.00507")
def pointing_game(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Tests whether the peak of the raw map is inside the mask; for tied peak pixels, computes the share inside.

    The peak is that of the pixels that are not ignored. In a constant map every pixel is a peak: it scores the mask's
    share of these pixels, which is chance.

    Source: arXiv:1608.00507.
    Deviation: no tolerance of 15 pixels around the mask; ties are shared.

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 4.0], [4.0, 0.0]]]), torch.tensor([[[False, True], [False, False]]])
        >>> pointing_game(maps, masks)
        tensor([0.5000])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    values = torch.where(ignored, -torch.inf, maps)
    peak = values == values.amax(dim=(1, 2), keepdim=True)
    share = (peak & masks).sum(dim=(1, 2)) / peak.sum(dim=(1, 2))
    return where_defined(share, maps, masks)


@metric("pixel_auroc", "localisation", ("maps", "masks", "ignored"), True, (0, 1), "doi:10.1016/j.patrec.2005.10.010")
def pixel_auroc(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Computes the probability that a random pixel of the lesion ranks above a random other pixel; a tie counts half.

    It ranks the raw signed map and needs no threshold; 0.5 is chance.

    Source: doi:10.1016/j.patrec.2005.10.010 (ROC analysis).

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask, a mask of the whole image or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 3.0], [4.0, 3.0]]]), torch.tensor([[[False, True], [False, False]]])
        >>> pixel_auroc(maps, masks)
        tensor([0.5000])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    inside, first, last = _ranking(maps, masks, ignored)
    pixels, lesion = (~ignored).sum(dim=(1, 2)), inside.sum(dim=1)
    # Twice the ascending midrank of a pixel is 2·pixels − first − last; in integers, so that nothing cancels.
    doubled_ranks = ((2 * pixels.unsqueeze(1) - first - last) * inside).sum(dim=1)
    doubled_wins = doubled_ranks - lesion * (lesion + 1)
    return where_defined(doubled_wins / (2 * lesion * (pixels - lesion)), maps, masks)


@metric("pixel_auprc", "localisation", ("maps", "masks", "ignored"), True, (0, 1), "arXiv:2001.07437")
def pixel_auprc(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Computes the average precision of the pixels ranked by the raw signed map; tied pixels enter together.

    It is the mean over the lesion's pixels of the precision at their rank. Chance is the mask's share of the image.

    Source: arXiv:2001.07437 (PxAP).
    Deviation: per image, and exact instead of on a grid of thresholds.

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 3.0], [4.0, 2.0]]]), torch.tensor([[[False, True], [False, False]]])
        >>> pixel_auprc(maps, masks)
        tensor([0.5000])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    inside, _, last = _ranking(maps, masks, ignored)
    precision = inside.cumsum(dim=1).gather(1, last) / (last + 1)
    return where_defined((precision * inside).sum(dim=1) / inside.sum(dim=1), maps, masks)


@metric("iou_at_area", "localisation", ("maps", "masks", "ignored"), True, (0, 1), "arXiv:2003.07258")
def iou_at_area(maps: Tensor, masks: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Computes the intersection over union of the mask and the map's |M| highest pixels, so that no threshold is tuned.

    If pixels tie at the boundary, the intersection is its expected value under random tie-breaking.

    Source: arXiv:2003.07258 (relevance rank accuracy, the same pixels).
    Deviation: IoU instead of the share inside.

    Args:
        maps: (N,H,W) raw.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], nan for an empty mask or a map that is not finite.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 3.0], [4.0, 2.0]]]), torch.tensor([[[False, True], [False, True]]])
        >>> iou_at_area(maps, masks)
        tensor([0.3333])
    """
    maps = exact(maps)
    masks, ignored = regions(maps, masks, ignored)
    inside, first, last = _ranking(maps, masks, ignored)
    area = inside.sum(dim=1, keepdim=True)
    boundary = (area - 1).clamp(min=0)
    start, end = first.gather(1, boundary), last.gather(1, boundary)
    found = F.pad(inside.cumsum(dim=1), (1, 0))  # found[:, r]: lesion pixels among the r highest
    surely = found.gather(1, start)
    tied = found.gather(1, end + 1) - surely
    intersection = surely + (area - start) * tied / (end + 1 - start)
    return where_defined((intersection / (2 * area - intersection)).squeeze(1), maps, masks)


def regions(maps: Tensor, masks: Tensor, ignored: Tensor | None, same_size: bool = True) -> tuple[Tensor, Tensor]:
    """Returns the lesion without ignored pixels, and the ignored pixels, both (N,H,W) bool.

    Broadcasting or a mask of 0 and 255 would silently give a wrong number, so both raise an error.

    Args:
        maps: (N,H,W), or (N,h,w) without ``same_size``.
        masks: (N,H,W) bool, True inside the lesion.
        ignored: (N,H,W) bool, pixels that do not count, or None.
        same_size: maps and masks must have the same size.

    Raises:
        ValueError: shapes differ, or masks are not bool.

    Example:
        >>> regions(torch.zeros(1, 1, 2), torch.tensor([[[True, True]]]), torch.tensor([[[False, True]]]))[0]
        tensor([[[ True, False]]])
    """
    if masks.dtype != torch.bool:
        raise ValueError(f"masks must be bool (True inside the lesion), not {masks.dtype}")
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks) or (same_size and maps.shape != masks.shape):
        raise ValueError(f"maps {tuple(maps.shape)} and masks {tuple(masks.shape)} must both be (N,H,W)")
    if ignored is None:
        return masks, torch.zeros_like(masks)
    if ignored.dtype != torch.bool or ignored.shape != masks.shape:
        raise ValueError(f"ignored must be bool {tuple(masks.shape)}, not {ignored.dtype} {tuple(ignored.shape)}")
    return masks & ~ignored, ignored


def where_defined(values: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
    """Sets values (N,...) to nan if the mask is empty or the map is not finite.

    Example:
        >>> where_defined(torch.tensor([0.5]), torch.zeros(1, 1, 2), torch.tensor([[[False, False]]]))
        tensor([nan])
    """
    undefined = ~(masks.flatten(1).any(dim=1) & finite(maps))
    return values.masked_fill(undefined.view(-1, *[1] * (values.ndim - 1)), torch.nan)


def _ranking(maps: Tensor, masks: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ranks the P = H·W pixels from the highest to the lowest value; the ignored ones come last.

    Returns:
        inside: (N,P) bool, the pixel of this rank is in the mask.
        first, last: (N,P) long, the ranks (from 0) at which this pixel's run of equal values starts and ends.
    """
    values, order = torch.where(ignored, -torch.inf, maps).flatten(1).sort(dim=1, descending=True)
    ranks = torch.arange(values.shape[1], device=maps.device).expand_as(order)
    change = F.pad(values[:, 1:] != values[:, :-1], (1, 1), value=True)
    first = ranks.where(change[:, :-1], ranks.new_zeros(())).cummax(dim=1).values
    last = ranks.where(change[:, 1:], ranks.new_full((), values.shape[1])).flip(1).cummin(dim=1).values.flip(1)
    return masks.flatten(1).gather(1, order), first, last
