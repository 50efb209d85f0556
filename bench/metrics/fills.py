"""Occlusion operators: the pixels that replace an occluded patch.

Rankings of methods depend on the operator, so several are available.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill_images(
    images: Tensor, fill: Tensor | str, patch: int, black: Tensor | None = None, fov: Tensor | None = None
) -> Tensor:
    """Returns the pixels that replace occluded patches, for the whole of every image.

    ``"zero"``: 0 of the normalised image, the training mean. ``"black"``: pixel value 0 before normalisation.
    ``"blur"``: the image under a Gaussian with σ = patch/2, cut off at 2σ and mirrored at the border, which removes
    structures of the size of a patch. A tensor is used unchanged.

    Args:
        images: (N,3,H,W) normalised.
        fill: one of these names, or a tensor that broadcasts to the images.
        patch: side of a patch in pixels.
        black: (3,) normalised value of a black pixel, ``-mean / std``; only ``"black"`` uses it.
        fov: (N,H,W) bool, field of view: pixels outside are unchanged, and do not blur into it. None = the whole image.

    Returns:
        (N,3,H,W), possibly a view that shares memory.

    Raises:
        ValueError: the fill is not a fixed one, or ``"black"`` has no value.

    Example:
        >>> black = torch.tensor([-2.0, -1.0, 0.0])
        >>> fill_images(torch.ones(1, 3, 2, 2), "black", patch=1, black=black)[0, :, 0, 0]
        tensor([-2., -1.,  0.])
    """
    filled = _filled(images, fill, patch, black, fov)
    return filled if fov is None else filled.where(fov.unsqueeze(1), images)


def _filled(images: Tensor, fill: Tensor | str, patch: int, black: Tensor | None, fov: Tensor | None) -> Tensor:
    if isinstance(fill, Tensor):
        return fill.to(images).expand_as(images)
    if fill == "zero":
        return images.new_zeros(()).expand_as(images)
    if fill == "blur":
        return _blur(images, patch, fov)
    if fill != "black":
        raise ValueError(f"no fixed fill {fill!r}; known: zero, black, blur, or a tensor, such as a donor's pixels")
    if black is None:
        raise ValueError("fill 'black' needs black=(3,), the normalised value of a black pixel: -mean / std")
    return black.to(images).view(-1, 1, 1).expand_as(images)


def _blur(images: Tensor, patch: int, fov: Tensor | None) -> Tensor:
    """Computes the weighted mean around each pixel over the pixels inside the field of view."""
    if fov is None:
        return _gaussian(images, patch)
    inside = fov.unsqueeze(1).to(images)
    return _gaussian(images * inside, patch) / _gaussian(inside, patch).clamp(min=torch.finfo(images.dtype).tiny)


def _gaussian(images: Tensor, patch: int) -> Tensor:
    """Blurs one axis after the other: the same result as the square kernel at a fraction of its cost."""
    from torchvision.transforms.functional import (
        gaussian_blur,
    )  # not at the top: it takes seconds to import, and a report does not need it

    rows, columns = (2 * min(patch, side - 1) + 1 for side in images.shape[-2:])
    sigma = [patch / 2, patch / 2]
    blurred: Tensor = gaussian_blur(gaussian_blur(images, [columns, 1], sigma), [1, rows], sigma)
    return blurred
