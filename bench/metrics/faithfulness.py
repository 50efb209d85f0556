"""Faithfulness: does the prediction depend on the regions that the map highlights?

Patches are filled, or revealed, in the map's order. All curves are nan if a map is not finite.

Source: arXiv:1806.07421 (deletion and insertion), arXiv:1509.06321 (region perturbation), arXiv:2505.17748 (patches
and AUDC of SoftCAM).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from bench.maps import exact
from bench.metrics.occlusion import Occluder, Predict, target_probability
from bench.metrics.patches import deletion, insertion, patch_order
from bench.outputs import SOFTMAX, Outputs
from bench.plain.names import FILLS, FIXED, RULES
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"
_ORDERS = RULES[1:]
#: Orders that a constant added to the map does not change. Sums are not among them: a patch that the border cuts gains
#: less than the others.
_ZERO_FREE = ("max", "point")


def deletion_curve(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    steps: int = 30,
    patch: int = 33,
    fill: Tensor | str = "zero",
    *,
    black: Tensor | None = None,
    ids: Sequence[object] | None = None,
    fov: Tensor | None = None,
    least_first: bool = False,
    rule: str = "mean",
    batch_size: int = 64,
    outputs: Outputs = SOFTMAX,
) -> Tensor:
    """Computes the probability of the target while the most important patches are filled one after the other.

    Source: arXiv:1806.07421; arXiv:2505.17748.
    Deviation: the probability of the target is used (one of the authors' helpers takes the top class), and ties are in
        random order. Patches are ranked as in top-k, by the mean of the positive part of the map.

    Args:
        predict: (n,3,H,W) -> logits (n,C).
        images: (N,3,H,W) normalised.
        maps: (N,H,W) raw.
        targets: (N,) long.
        steps: K.
        patch: side of a patch in pixels, 33 for 512-pixel images (``patch_at``).
        fill: one of ``FILLS`` except "donor", or a tensor that broadcasts to the images.
        black: (3,) normalised value of a black pixel; see ``fill_images``.
        ids: (N) image ids, which seed the order of ties.
        fov: (N,H,W) bool, field of view; patches wholly outside are never filled. None = the whole image.
        least_first: fill the least important patches first.
        rule: score that ranks the patches, one of ``RULES``; see ``patch_scores``.
        batch_size: images per call of ``predict``.
        outputs: meaning of the logits: ``SIGMOID`` of ``bench.outputs`` for several labels per image.

    Returns:
        (N,K+1) in [0, 1]: column 0 is the intact image, column k has k patches filled. An image with fewer than K
        patches keeps its last value.

    Raises:
        ValueError: maps and images differ in size, or the fill is unknown.

    Example:
        >>> def predict(images):
        ...     return torch.stack([images.mean(dim=(1, 2, 3)), torch.zeros(len(images))], dim=1)
        >>> images, maps, targets = torch.ones(1, 3, 2, 2), torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]), torch.tensor([0])
        >>> deletion_curve(predict, images, maps, targets, steps=4, patch=1)
        tensor([[0.7311, 0.6792, 0.6225, 0.5622, 0.5000]])
    """
    _check(images, maps)
    order = patch_order(maps, patch, ids, fov, least_first, rule)
    occluder = Occluder(predict, images, patch, black=black, ids=ids, fov=fov, batch_size=batch_size)
    return target_probability(occluder.logits(deletion(order, steps, fill))[0], targets, outputs)


def insertion_curve(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    steps: int = 30,
    patch: int = 33,
    fill: Tensor | str = "zero",
    *,
    black: Tensor | None = None,
    ids: Sequence[object] | None = None,
    fov: Tensor | None = None,
    rule: str = "mean",
    batch_size: int = 64,
    outputs: Outputs = SOFTMAX,
) -> Tensor:
    """Computes the probability of the target while the most important patches are revealed one by one.

    It mirrors ``deletion_curve`` and has its arguments: in column 0 every patch is filled (except outside ``fov``), in
    column k the k most important ones are visible.

    Source: arXiv:1806.07421.

    Returns:
        (N,K+1) in [0, 1].

    Raises:
        ValueError: maps and images differ in size, or the fill is unknown or "noise".

    Example:
        >>> def predict(images):
        ...     return torch.stack([images.mean(dim=(1, 2, 3)), torch.zeros(len(images))], dim=1)
        >>> images, maps, targets = torch.ones(1, 3, 2, 2), torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]), torch.tensor([0])
        >>> insertion_curve(predict, images, maps, targets, steps=4, patch=1)
        tensor([[0.5000, 0.5622, 0.6225, 0.6792, 0.7311]])
    """
    _check(images, maps)
    order = patch_order(maps, patch, ids, fov, rule=rule)
    occluder = Occluder(predict, images, patch, black=black, ids=ids, fov=fov, batch_size=batch_size)
    intact = predict(images) if outputs.relative else None
    return target_probability(occluder.logits(insertion(order, steps, fill))[0], targets, outputs, intact)


@metric(
    "audc",
    "faithfulness",
    ("deletion_curve",),
    False,
    (0, inf),
    _SOFTCAM,
    variants=(*FILLS, *_ORDERS),
    of_network=True,
    of_curve="relative",
    uses_zero=True,
    zero_free=_ZERO_FREE,
)
def audc(curve: Tensor) -> Tensor:
    """Computes the area under the deletion curve relative to the intact image (AUDC).

    The trapezoids of ``curve / curve[:, :1]`` over [0, 1]. 1 = nothing lost, 0 = all lost at the first patch; above 1
    if filling patches raises the probability.

    Source: arXiv:2505.17748; arXiv:1806.07421.

    Args:
        curve: (N,K+1) target probability.

    Returns:
        (N,) in [0, ∞), nan if the intact probability is 0.

    Example:
        >>> audc(torch.tensor([[0.8, 0.4, 0.0]]))
        tensor([0.5000])
    """
    curve = exact(curve)
    intact = curve[:, :1]
    return _area(curve / intact.where(intact > 0, torch.nan))


@metric(
    "auic",
    "faithfulness",
    ("insertion_curve",),
    True,
    (0, 1),
    "arXiv:1806.07421",
    variants=(*FIXED, *_ORDERS),
    of_network=True,
    of_curve="absolute",
    uses_zero=True,
    zero_free=_ZERO_FREE,
)
def auic(curve: Tensor) -> Tensor:
    """Computes the area under the insertion curve: trapezoids of the target probability over [0, 1].

    Unlike ``audc`` it is not relative: the curve starts at the filled image, whose probability may be near 0, and need
    not reach the intact one. Noisy linear imputation is not defined for it: it has nothing to impute from if the whole
    image is missing.

    Source: arXiv:1806.07421.

    Args:
        curve: (N,K+1) target probability.

    Returns:
        (N,) in [0, 1].

    Example:
        >>> auic(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([0.5000])
    """
    return _area(curve)


@metric(
    "audc_accuracy",
    "faithfulness",
    ("deletion_hits",),
    False,
    (0, 1),
    _SOFTCAM,
    variants=(*FILLS, *_ORDERS),
    of_network=True,
    uses_zero=True,
    zero_free=_ZERO_FREE,
)
def audc_accuracy(hits: Tensor) -> Tensor:
    """Computes the area under the deletion curve of the accuracy; its mean over images is that of the data set.

    The trapezoids over [0, 1] of the indicator that the image is still classified as the target. An image that is
    misclassified when intact is nan, so that the mean starts from an accuracy of 1.

    Source: arXiv:2505.17748.

    Args:
        hits: (N,K+1) bool, or {1, 0, nan} from ``still_target``.

    Returns:
        (N,) in [0, 1].

    Example:
        >>> audc_accuracy(torch.tensor([[True, True, False]]))
        tensor([0.7500])
    """
    still = hits.float()
    return _area(still).masked_fill(still[:, 0] != 1, torch.nan)


@metric(
    "srg",
    "faithfulness",
    ("deletion_curve", "reverse_deletion_curve"),
    True,
    (-inf, inf),
    "arXiv:2401.06654",
    variants=(*FILLS, *_ORDERS),
    of_curve="relative",
    uses_zero=True,
    zero_free=_ZERO_FREE,
)
def srg(curve: Tensor, reverse_curve: Tensor) -> Tensor:
    """Computes the symmetric relevance gain: AUDC, least important patches first, minus AUDC, most important first.

    It is 0 for a random map with any fill, and therefore depends less on the fill than the AUDC.

    Source: arXiv:2401.06654.

    Args:
        curve: (N,K+1) target probability, most important patches filled first.
        reverse_curve: (N,K+1) target probability, least important patches filled first.

    Returns:
        (N,), higher is better; nan if the intact probability is 0.

    Example:
        >>> srg(torch.tensor([[0.8, 0.4, 0.0]]), reverse_curve=torch.tensor([[0.8, 0.8, 0.0]]))
        tensor([0.2500])
    """
    return audc(reverse_curve) - audc(curve)


def _area(curve: Tensor) -> Tensor:
    """Computes the area (N,) under a curve (N,K+1) at k/K, k = 0…K, by the trapezoid rule."""
    curve = exact(curve)
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)


def _check(images: Tensor, maps: Tensor) -> None:
    expected = (images.shape[0], *images.shape[2:])
    if maps.shape != expected:
        raise ValueError(
            f"maps {tuple(maps.shape)} must be at the images' resolution {expected}; see bench.maps.upsample"
        )
