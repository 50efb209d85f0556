"""Does the prediction hang on what the map points at? Patches are filled, or revealed, in the map's order.

All curves are nan where a map is not finite. Source: arXiv:1806.07421 (deletion and insertion), arXiv:1509.06321
(region perturbation), arXiv:2505.17748 (the patches and the AUDC of SoftCAM).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from bench.metrics.fills import FILLS, FIXED
from bench.metrics.occlusion import Occluder, Predict, deletion, insertion, target_probability
from bench.metrics.patches import patch_order
from bench.registry import metric

_SOFTCAM = "arXiv:2505.17748"


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
    batch_size: int = 64,
) -> Tensor:
    """Softmax probability of the target while the most important patches are filled, one after the other.

    Source: arXiv:1806.07421; arXiv:2505.17748. Deviation: the probability of the target, where one of the authors'
    helpers takes the top class; ties in random order.

    Args:
        predict: (n,3,H,W) -> logits (n,C).
        images: (N,3,H,W) normalised. maps: (N,H,W) raw. targets: (N,) long.
        steps: K. patch: side of a patch in pixels, 33 for 512-pixel images (``patch_at``).
        fill: one of ``FILLS`` but "donor", or a tensor that broadcasts to the images. black: see ``fill_images``.
        ids, fov, least_first: see ``patch_order``.
        batch_size: images given to ``predict`` at a time.

    Returns:
        (N,K+1) in [0, 1]: column 0 is the intact image, column k has k patches filled. An image with fewer than K
        patches keeps its last value.
    """
    _check(images, maps)
    order = patch_order(maps, patch, ids, fov, least_first)
    occluder = Occluder(predict, images, patch, black=black, ids=ids, fov=fov, batch_size=batch_size)
    return target_probability(occluder.logits(deletion(order, steps, fill))[0], targets)


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
    batch_size: int = 64,
) -> Tensor:
    """Softmax probability of the target while the most important patches are revealed, one after the other.

    The mirror image of ``deletion_curve``, with its arguments: column 0 has every patch filled (those outside ``fov``
    stay intact), column k shows the k most important ones.

    Source: arXiv:1806.07421.

    Returns:
        (N,K+1) in [0, 1].
    """
    _check(images, maps)
    order = patch_order(maps, patch, ids, fov)
    occluder = Occluder(predict, images, patch, black=black, ids=ids, fov=fov, batch_size=batch_size)
    return target_probability(occluder.logits(insertion(order, steps, fill))[0], targets)


@metric("audc", "faithfulness", ("deletion_curve",), False, (0, inf), _SOFTCAM, variants=FILLS, of_network=True)
def audc(curve: Tensor) -> Tensor:
    """Area under the deletion curve relative to the intact image: trapezoids of ``curve / curve[:, :1]`` over [0, 1].

    1 = nothing lost, 0 = all lost at once; above 1 where filling patches raises the probability. nan where the intact
    probability is 0.

    Source: arXiv:2505.17748; arXiv:1806.07421.

    Args:
        curve: (N,K+1) target probability.

    Returns:
        (N,) in [0, ∞).
    """
    intact = curve[:, :1]
    return _area(curve / intact.where(intact > 0, torch.nan))


@metric("auic", "faithfulness", ("insertion_curve",), True, (0, 1), "arXiv:1806.07421", variants=FIXED, of_network=True)
def auic(curve: Tensor) -> Tensor:
    """Area under the insertion curve: trapezoids of the target probability over [0, 1].

    Not relative as ``audc`` is: the curve starts at the filled image, whose probability may be near 0, and need not
    reach the intact one. Not with noisy linear imputation either: where all is missing there is nothing to impute from.

    Source: arXiv:1806.07421.

    Args:
        curve: (N,K+1) target probability.

    Returns:
        (N,) in [0, 1].
    """
    return _area(curve)


@metric("audc_accuracy", "faithfulness", ("deletion_hits",), False, (0, 1), _SOFTCAM, variants=FILLS, of_network=True)
def audc_accuracy(hits: Tensor) -> Tensor:
    """Area under the deletion curve of the accuracy; its mean over images is the number of the data set.

    Trapezoids over [0, 1] of whether the image is still classified as the target; nan for an image that is not when
    intact, so that the mean starts from an accuracy of 1.

    Source: arXiv:2505.17748.

    Args:
        hits: (N,K+1) bool, or {1, 0, nan} from ``still_target``.

    Returns:
        (N,) in [0, 1].
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
    variants=FILLS,
)
def srg(curve: Tensor, reverse_curve: Tensor) -> Tensor:
    """Symmetric relevance gain: AUDC with the least important patches first minus AUDC with the most important first.

    0 for a random map, whatever the fill does to the model; that is why it depends less on the fill than the AUDC.

    Source: arXiv:2401.06654.

    Args:
        curve: (N,K+1) most important first. reverse_curve: (N,K+1) least important first.

    Returns:
        (N,)
    """
    return audc(reverse_curve) - audc(curve)


def _area(curve: Tensor) -> Tensor:
    """Curve (N,K+1) at k/K, k = 0…K -> (N,) area by the trapezoid rule."""
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)


def _check(images: Tensor, maps: Tensor) -> None:
    expected = (images.shape[0], *images.shape[2:])
    if maps.shape != expected:
        raise ValueError(
            f"maps {tuple(maps.shape)} must be at the images' resolution {expected}; see bench.maps.upsample"
        )
