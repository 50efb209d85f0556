"""Score-CAM, of all classes from the same passes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.cams import precise, weighted
from bench.contracts import Classifier, UserError
from bench.models.shared_features import FeatureExplainer, SharedFeatures
from bench.registry import register_explainer


@register_explainer
class ScoreCAM(FeatureExplainer):
    """ReLU of the features weighted by the softmax, over channels, of the target logit of the image masked by each.

    A channel masks the image by its activation, enlarged bilinearly (corners aligned) and scaled to [0, 1]; a constant
    channel gives an empty mask. That is pytorch-grad-cam's definition; torchcam's differs. It takes one forward pass
    per channel that is not constant, and one of the empty image, which all others share.

    Args:
        batch_size: masked images per forward pass.
        precision: of these passes, ``float32`` or ``bf16`` (autocast: faster, and logits that are rounded).

    Source: arXiv:1910.01279.
    Deviation: raw logits, without the baseline's logit, which the softmax cancels.
    """

    name, family, signed, paper = "scorecam", "post-hoc", False, "arXiv:1910.01279"

    def __init__(self, batch_size: int = 32, precision: str = "float32") -> None:
        if precision not in ("float32", "bf16"):
            raise UserError(f"scorecam: precision is float32 or bf16, not {precision!r}")
        self.batch_size, self.precision = batch_size, precision

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Pass of N images, targets (N,) -> raw map (N,h,w) on the feature grid, at least 0."""
        features = shared.features
        part = self.name, self.precision
        scores = shared.keep(part, lambda: self._scores(shared.classifier, shared.images, features))
        own = scores[torch.arange(len(targets), device=targets.device), :, targets]
        return weighted(precise(features), precise(own).softmax(dim=1)).relu().float()

    def _scores(self, classifier: Classifier, images: Tensor, features: Tensor) -> Tensor:
        """Images (N,3,H,W), features (N,D,h,w) -> logits of the image masked by each channel (N,D,C)."""
        constant = features.amax(dim=(2, 3)) == features.amin(dim=(2, 3))
        live = (~constant).nonzero()
        masked = torch.cat([live, constant.nonzero()[:1]])  # pairs of image and channel
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits = torch.cat([classifier(_mask(images, features, part)) for part in masked.split(self.batch_size)])
        logits = logits.float()
        scores = logits.new_empty(*constant.shape, logits.shape[1])
        scores[~constant], scores[constant] = logits[: len(live)], logits[len(live) :]
        return scores


def _mask(images: Tensor, features: Tensor, pairs: Tensor) -> Tensor:
    """Images (N,3,H,W), features (N,D,h,w), pairs (n,2) of image and channel -> masked images (n,3,H,W)."""
    image, channel = pairs.unbind(dim=1)
    cells = precise(features[image, channel])
    masks = F.interpolate(cells[:, None], size=images.shape[2:], mode="bilinear", align_corners=True)
    lowest, highest = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    constant = cells.amax(dim=(1, 2)) == cells.amin(dim=(1, 2))  # where rounding alone would make a mask
    masks.sub_(lowest).div_(highest - lowest + 1e-8).masked_fill_(constant[:, None, None, None], 0)
    return images[image].mul_(masks)  # in place throughout: fresh memory costs more than the arithmetic
