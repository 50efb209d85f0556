"""Explanations from the change of the target logit when a part of the image is hidden, computed by captum.

They need neither gradients nor a feature map, so they apply to every classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Classifier, Explainer
from bench.models.eval_mode import evaluating
from bench.registry import register_explainer


@register_explainer
class Occlusion(Explainer):
    """Drop of the target logit when a sliding window hides a pixel, averaged over the windows that cover it.

    The window is filled with zero in normalised values, the training mean.

    Args:
        window: side of the window as a share of the image's.
        stride: step of the window as a share of its side, at most 1.
        batch_size: occluded images per forward pass (at least the size of the given batch).

    Source: arXiv:1311.2901.
    Deviation: the paper fills with grey and maps the target's probability; captum's definition on the logit is used.
    """

    name, family, signed, paper = "occlusion", "post-hoc", True, "arXiv:1311.2901"

    def __init__(self, window: float = 1 / 8, stride: float = 1 / 2, batch_size: int = 32) -> None:
        self.window = window
        self.stride = stride
        self.batch_size = batch_size

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W), in logits, of images (N,3,H,W) for targets (N,)."""
        import captum.attr  # not at the top: a finished run does not need it

        sides = [max(1, round(self.window * side)) for side in images.shape[2:]]
        steps = [max(1, round(self.stride * side)) for side in sides]
        with evaluating(classifier), torch.no_grad():
            drops: Tensor = captum.attr.Occlusion(classifier).attribute(
                images,
                sliding_window_shapes=(images.shape[1], *sides),
                strides=(images.shape[1], *steps),
                baselines=0.0,
                target=targets,
                perturbations_per_eval=max(1, self.batch_size // len(images)),
            )
        return drops[:, 0].float()  # the window spans all colour channels, which therefore share one value
