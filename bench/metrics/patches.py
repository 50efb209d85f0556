"""Square patches: their size at another resolution, and their order of importance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.maps import finite
from bench.seeds import generator


def patch_at(size: int) -> int:
    """Side of a patch on images of ``size`` pixels that covers what 33 pixels do at 512; at least 1.

    Python rounds halves to even: 16.5 at 256 pixels becomes 16.
    """
    return max(1, round(33 * size / 512))


def stride_at(size: int) -> int:
    """Stride between patches on images of ``size`` pixels that is 8 at 512; at least 1."""
    return max(1, round(8 * size / 512))


def patch_max(values: Tensor, patch: int) -> Tensor:
    """Maximum over non-overlapping patches from the top-left corner; those at the right and bottom may be smaller.

    Args:
        values: (N,H,W) float.
        patch: side of a patch in pixels.

    Returns:
        (N, ceil(H/patch), ceil(W/patch))
    """
    return F.max_pool2d(values.unsqueeze(1), patch, patch, ceil_mode=True).squeeze(1)


def patch_order(
    maps: Tensor,
    patch: int,
    ids: Sequence[object] | None = None,
    fov: Tensor | None = None,
    least_first: bool = False,
) -> Tensor:
    """Patches of the ceil(H/patch) × ceil(W/patch) grid by their highest map value, ties in random order.

    The order of ties hangs on the image's id alone: not on its batch, and not on the explainer, so that explainers are
    compared on the same draw, and a stable sort does not occlude in raster order.

    Args:
        maps: (N,H,W) at the resolution of the images. A map that is not finite gives no order: all -1.
        patch: side of a patch in pixels.
        ids: (N) image ids. Without them all images share one order of ties, so that batches still do not matter.
        fov: (N,H,W) bool, field of view; a patch wholly outside it is left out. None = the whole image.
        least_first: lowest value first.

    Returns:
        (N,P) long, indices into the flattened grid (P cells), padded with -1 where patches were left out.
    """
    scores = patch_max(maps, patch).flatten(1)
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
