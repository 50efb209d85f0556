"""Score-CAM, batched over channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.anatomy import evaluating
from bench.contracts import Classifier, Explainer
from bench.registry import register_explainer


@register_explainer
class ScoreCAM(Explainer):
    """ReLU of the features weighted by the softmax, over channels, of the target logit of the image masked by each.

    A channel masks the image by its activation, enlarged bilinearly (corners aligned) and scaled to [0, 1]. That is
    pytorch-grad-cam's definition; torchcam's differs. It takes one forward pass per channel.

    Args:
        batch_size: masked images per forward pass.

    Source: arXiv:1910.01279.
    Deviation: raw logits, without the baseline's logit, which the softmax cancels.
    """

    name, family, signed, paper = "scorecam", "post-hoc", False, "arXiv:1910.01279"

    def __init__(self, batch_size: int = 32) -> None:
        self.batch_size = batch_size

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> raw map (N,h,w) on the feature grid, at least 0."""
        with evaluating(classifier), torch.no_grad():
            features = classifier.forward_features(images)
            weights = torch.stack(
                [self._weights(classifier, *one) for one in zip(images, features, targets.tolist(), strict=True)]
            )
        return torch.einsum("nd,ndhw->nhw", weights, features).relu().float()

    def _weights(self, classifier: Classifier, image: Tensor, features: Tensor, target: int) -> Tensor:
        """Image (3,H,W), its features (D,h,w) -> weights of the channels (D,), which add up to 1."""
        scores = [
            classifier(image * _masks(channels, image.shape[-2:]))[:, target]
            for channels in features.split(self.batch_size)
        ]
        return torch.cat(scores).softmax(dim=0)


def _masks(channels: Tensor, size: torch.Size) -> Tensor:
    """Activations (D,h,w) -> masks (D,1,H,W) in [0, 1]; a constant channel gives an empty mask."""
    masks = F.interpolate(channels[:, None], size=size, mode="bilinear", align_corners=True)
    lowest, highest = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    return (masks - lowest) / (highest - lowest + 1e-8)
