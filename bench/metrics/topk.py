"""Top-k localisation: the share of the most important patches that contain the lesion.

It judges a map as a reader uses it, by the few places that it points at. ``bench.metrics.localisation`` defines masks
and ignored pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.maps import exact, upsample
from bench.metrics.localisation import regions, where_defined
from bench.metrics.patches import patch_scores
from bench.plain.names import RULED
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"


def topk_patch_hits(
    maps: Tensor,
    masks: Tensor,
    k: int = 30,
    patch: int = 33,
    stride: int = 8,
    threshold: float = 0,
    ignored: Tensor | None = None,
    rule: str = "mean",
) -> Tensor:
    """Finds the k patches that the map highlights most, and whether each contains the lesion.

    The score of a patch is the mean of the positive part of the map over exactly its pixels (``patch_scores``). The
    best patch above ``threshold`` is taken greedily, and every patch is suppressed that overlaps the taken one by more
    than half in both directions. A patch is a hit if it contains a mask pixel; ``random_patch_hit_rate`` gives the
    chance level of this rule. Equal patches are taken in raster order, so a constant positive map starts in the
    top-left corner.

    A patch with ignored pixels and no lesion is neither hit nor miss. Such patches are not candidates: they are never
    taken and suppress no other, so that every explainer is judged on k patches. A patch with lesion and ignored pixels
    is a hit, and its score is the mean over the pixels that count. One value, as by "point", is 0 at an ignored pixel.

    Source: arXiv:2505.17748, top-k localisation precision.
    Deviation: the authors' code reads one bicubic value per patch, from the map resized to one cell per patch. Cell i
        of n is centred at (i + ½)·H/n, up to 12 pixels from the centre of its patch at 512 pixels. The rule "resize"
        does the same, "point" reads one value at the true centre. Their code also reads the mask with x and y
        exchanged and rescales signed maps so that negative evidence passes the threshold; no rule here does.

    Args:
        maps: (N,H,W) raw, at the resolution of the images; with the rule "resize" (N,h,w) on any grid if no pixels
            are ignored.
        masks: (N,H,W) bool, True inside the lesion.
        k: number of patches.
        patch: side of a patch in pixels, for 512-pixel images; ``patch_at`` gives that of other sizes.
        stride: distance between patches in pixels, for 512-pixel images; ``stride_at`` gives that of other sizes.
        threshold: score that a patch must exceed.
        ignored: (N,H,W) bool, pixels that do not count, or None.
        rule: one of ``READINGS``.

    Returns:
        (N,k), best patch first: 1 hit, 0 miss, nan if no further patch exists. All nan for an empty mask.

    Raises:
        ValueError: a patch is larger than the image, the map is not at the resolution of the masks, or the rule is
            unknown.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 4.0], [2.0, 0.0]]]), torch.tensor([[[False, True], [False, False]]])
        >>> topk_patch_hits(maps, masks, k=3, patch=1, stride=1)
        tensor([[1., 0., nan]])
    """
    maps = exact(maps)
    resize = rule == "resize"
    masks, unknown = regions(maps, masks, ignored, same_size=ignored is not None or not resize)
    hits = _patch_hits(masks, unknown, patch, stride)
    if resize:
        cells = upsample(maps if ignored is None else maps.masked_fill(ignored, 0), (hits.shape[1], hits.shape[2]))
    else:
        cells = patch_scores(maps, patch, stride, rule, ignored)
    cells = cells.masked_fill(hits.isnan(), -torch.inf)
    taken, exists = _greedy(cells, k, patch, stride, threshold)
    values = hits.flatten(1).to(maps.dtype).gather(1, taken).masked_fill(~exists, torch.nan)
    return where_defined(values, maps, masks)


@metric(
    "topk_precision",
    "localisation",
    ("topk_hits",),
    True,
    (0, 1),
    _SOFTCAM,
    variants=("", *RULED),
    uses_zero=True,
)
def topk_precision(hits: Tensor, k: int | None = None) -> Tensor:
    """Computes the share of hits among the first ``k`` patches that exist.

    Source: arXiv:2505.17748.

    Args:
        hits: (N,K) of {1, 0, nan} from ``topk_patch_hits``.
        k: number of patches used; None = all.

    Returns:
        (N,) in [0, 1], nan if no patch exists (no evidence above the threshold).

    Example:
        >>> topk_precision(torch.tensor([[1.0, 0.0, torch.nan]]))
        tensor([0.5000])
    """
    hits = exact(hits)
    return hits[:, :k].nanmean(dim=1)


def random_patch_hit_rate(masks: Tensor, patch: int = 33, stride: int = 8, ignored: Tensor | None = None) -> Tensor:
    """Computes the exact chance level of ``topk_patch_hits``: the share of candidate patches with a mask pixel.

    Args:
        masks: (N,H,W) bool, True inside the lesion.
        patch: side of a patch in pixels.
        stride: distance between patches in pixels.
        ignored: (N,H,W) bool, pixels that do not count, or None.

    Returns:
        (N,) in [0, 1], 0 for a lesion that no patch reaches; nan for an empty mask or without a candidate.

    Example:
        >>> random_patch_hit_rate(torch.tensor([[[False, True], [False, False]]]), patch=1, stride=1)
        tensor([0.2500])
    """
    masks, ignored = regions(masks, masks, ignored)
    rate = _patch_hits(masks, ignored, patch, stride).nanmean(dim=(1, 2))
    return rate.masked_fill(~masks.flatten(1).any(dim=1), torch.nan)


def _patch_hits(masks: Tensor, ignored: Tensor, patch: int, stride: int) -> Tensor:
    """Returns (N,n,m) of {1, 0, nan}: the patch at (i·stride, j·stride) contains a mask pixel; nan = unknown."""
    if patch > min(masks.shape[1:]):
        raise ValueError(f"a patch of {patch} pixels does not fit into images {tuple(masks.shape[1:])}; see patch_at")
    lesion, unknown = (
        F.max_pool2d(region.unsqueeze(1).float(), patch, stride).squeeze(1) for region in (masks, ignored)
    )
    return lesion.masked_fill((lesion == 0) & (unknown > 0), torch.nan)


def _greedy(cells: Tensor, k: int, patch: int, stride: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Takes k cells of (N,n,m) by non-maximum suppression; returns their flat indices and their existence, (N,k)."""
    height, width = cells.shape[1:]
    rows = torch.arange(height, device=cells.device).repeat_interleave(width)
    columns = torch.arange(width, device=cells.device).repeat(height)
    left = cells.flatten(1).masked_fill(~(cells.flatten(1) > threshold), -torch.inf)
    taken, exists = [], []
    for _ in range(k):
        value, best = left.max(dim=1, keepdim=True)
        taken.append(best)
        exists.append(value > -torch.inf)
        near_row = 2 * stride * (rows - rows[best]).abs() < patch
        near_column = 2 * stride * (columns - columns[best]).abs() < patch
        left = left.masked_fill(near_row & near_column, -torch.inf)
    return torch.cat(taken, dim=1), torch.cat(exists, dim=1)
