"""Noisy linear imputation: occluded pixels are estimated from those around them.

An occluded patch then leaves no edges that a network could react to. Source: ROAD, arXiv:2202.00449.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu, spsolve_triangular
from torch import Tensor

from bench.seeds import generator

#: Standard deviation of the noise on imputed pixels, in units of the normalised image, as in the authors' code.
NOISE = 0.01
#: Added to the diagonal because a region without known neighbours would otherwise be singular.
_SHIFT = 1e-12
#: Neighbour (down, right) -> its weight: 1/6 along an axis, 1/12 diagonally (section 4.2 of the paper).
_WEIGHTS = {
    (down, right): 1 / 12 if down and right else 1 / 6
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if (down, right) != (0, 0)
}


class LinearImputation:
    """Imputed pixels of some images after each step of an occlusion.

    Unlike the fixed fills they depend on all missing pixels. The noise depends on the image's id alone, so that
    explainers are compared on the same draw.

    Args:
        images: (N,3,H,W).
        ranks: (N,H,W) step after which each pixel is missing, counted from 0.
        steps: K.
        ids: (N) image ids. Without them all images share one draw.
        fov: (N,H,W) bool; see ``impute_steps``.
    """

    def __init__(
        self, images: Tensor, ranks: Tensor, steps: int, ids: Sequence[object] | None, fov: Tensor | None
    ) -> None:
        self.images, self.ranks, self.steps, self.ids, self.fov = images, ranks, steps, ids, fov
        self._last: tuple[int, tuple[Tensor, Tensor]] | None = None

    def of(self, at: int) -> tuple[Tensor, Tensor]:
        """Returns the missing pixels of the image at this index; the last image is cached.

        Returns:
            Flat indices (m,) of the pixels that are missing after the last step, and their values (K+1,m,3). A value
            is that of the image until the pixel is missing.
        """
        if self._last is None or self._last[0] != at:
            image, fov = self.images[at], None if self.fov is None else self.fov[at]
            draw = generator("noise of imputed pixels", 0 if self.ids is None else self.ids[at])
            noise = NOISE * torch.randn(image.shape, generator=draw).to(image)
            missing, is_gone, change = _solve(image, self.ranks[at], self.steps, fov)
            values, drawn = (one.flatten(1)[:, missing].T for one in (image, noise))
            self._last = at, (missing, values - change + drawn * is_gone.unsqueeze(2))
        return self._last[1]


def impute_steps(image: Tensor, ranks: Tensor, steps: int, fov: Tensor | None = None) -> Tensor:
    """Imputes the pixels of rank below k, for k = 0…K, by the weighted mean of their neighbours.

    The missing pixels solve (D - W) u = W x, where W holds the weights between neighbours and D their sums. The systems
    are nested: ordered by rank, that of step k is the upper left block of the last one. With r = (D - W) x of the whole
    image, the same at every step, the missing pixels are x - A⁻¹ r for each block A. One sparse factor A = L U
    therefore serves all steps, because its upper left blocks are those of the steps. At the border of the image or of
    the field of view the existing neighbours share the weight. A region without known neighbours becomes its own mean,
    up to rounding. The systems are solved in float64 on the host.

    Source: arXiv:2202.00449, section 4.2, without the noise.
    Deviation: the border of the field of view counts as the border of the image.

    Args:
        image: (3,H,W).
        ranks: (H,W) int, step after which each pixel is missing, counted from 0.
        steps: K.
        fov: (H,W) bool; pixels outside are neither imputed nor used. None = the whole image.

    Returns:
        (K+1,3,H,W), in the unit of the image.

    Example:
        >>> image, ranks = torch.ones(3, 3, 3), torch.full((3, 3), 1)
        >>> image[:, 1, 1], ranks[1, 1] = 9, 0
        >>> impute_steps(image, ranks, steps=1)[:, 0, 1, 1]
        tensor([9., 1.])
    """
    missing, _, change = _solve(image, ranks, steps, fov)
    imputed = image.expand(steps + 1, *image.shape).clone()
    imputed.flatten(2)[:, :, missing] -= change.transpose(1, 2)
    return imputed


def _solve(image: Tensor, ranks: Tensor, steps: int, fov: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Solves the systems of all steps; see ``impute_steps``.

    Returns:
        Flat indices (m,) of the missing pixels, whether each is missing after each step (K+1,m), and the values
        (K+1,m,3) to subtract from them, which are 0 until a pixel is missing.
    """
    inside = torch.ones_like(ranks, dtype=torch.bool) if fov is None else fov
    missing = (inside & (ranks < steps)).flatten().nonzero().squeeze(1)
    missing = missing[ranks.flatten()[missing].argsort(stable=True)]
    step = torch.arange(steps + 1, device=image.device).unsqueeze(1)
    if not len(missing):
        return missing, missing < step, image.new_zeros(steps + 1, 0, len(image))
    system, residual = _system(image, missing, inside)
    # Pivots are taken on the diagonal, so that the blocks remain those of the steps.
    factor = splu(system, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    reordered = torch.from_numpy(np.argsort(factor.perm_r))  # SuperLU may reorder independent pixels
    missing = missing[reordered.to(missing.device)]
    is_gone = ranks.flatten()[missing] < step
    half = factor.U @ factor.solve(residual)[np.argsort(factor.perm_c)]  # L⁻¹ r
    parts = (half[:, None] * is_gone.T.cpu().numpy()[:, :, None]).reshape(len(missing), -1)
    change = spsolve_triangular(factor.U, parts, lower=False, overwrite_b=True).reshape(len(missing), steps + 1, -1)
    return missing, is_gone, torch.from_numpy(change).to(image).transpose(0, 1)


def _system(image: Tensor, missing: Tensor, inside: Tensor) -> tuple[csc_array, NDArray[np.float64]]:
    """Returns the blocks of D - W (n,n) and (D - W) x (n,3) of the missing pixels, given by flat indices (n,)."""
    height, width = inside.shape
    pixels = image.flatten(1).T.double()
    numbers = torch.arange(height * width, device=image.device).view(height, width)
    padded = F.pad(numbers.masked_fill(~inside, -1), (1, 1, 1, 1), value=-1)
    each = torch.arange(len(missing), device=image.device)
    place = torch.full((height * width,), -1, device=image.device)
    place[missing] = each
    diagonal = torch.full_like(each, _SHIFT, dtype=torch.double)
    residual = torch.zeros(len(missing), len(image), dtype=torch.double, device=image.device)
    rows, columns, values = [each], [each], [diagonal]
    for (down, right), weight in _WEIGHTS.items():
        neighbour = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width].flatten()[missing]
        exists = weight * (neighbour >= 0).double()
        diagonal += exists
        residual += exists.unsqueeze(1) * (pixels[missing] - pixels[neighbour])
        row = ((neighbour >= 0) & (place[neighbour] >= 0)).nonzero().squeeze(1)
        rows.append(row)
        columns.append(place[neighbour[row]])
        values.append(torch.full_like(row, -weight, dtype=torch.double))
    one, other, value = (torch.cat(parts).cpu().numpy() for parts in (rows, columns, values))
    return csc_array((value, (one, other)), shape=(len(missing), len(missing))), residual.cpu().numpy()
