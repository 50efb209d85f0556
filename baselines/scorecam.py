"""Score-CAM for all classes from the same forward passes.

The masked images do not depend on the class, so their logits serve every target.
"""

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
    """Score-CAM: ReLU of the features, weighted by the softmax over channels of the target logit of masked images.

    A channel masks the image by its activation, enlarged bilinearly (corners aligned) and scaled to [0, 1]; a constant
    channel gives an empty mask. This is pytorch-grad-cam's definition; torchcam's differs. It needs one forward pass
    per channel that is not constant, and one of the empty image, which all constant channels share.

    Args:
        batch_size: masked images per forward pass.
        precision: precision of these passes, ``float32`` or ``bf16`` (autocast: faster, with rounded logits).

    Raises:
        UserError: unknown precision.

    Source: arXiv:1910.01279.
    Deviation: raw logits are used without subtracting the baseline's logit, which the softmax cancels.
    """

    name, family, signed, paper = "scorecam", "post-hoc", False, "arXiv:1910.01279"

    def __init__(self, batch_size: int = 32, precision: str = "float32") -> None:
        if precision not in ("float32", "bf16"):
            raise UserError(f"scorecam: precision must be float32 or bf16, not {precision!r}")
        self.batch_size, self.precision = batch_size, precision

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w), on the feature grid and at least 0, of the shared images for targets (N,)."""
        features = shared.features
        part = self.name, self.precision
        scores = shared.keep(part, lambda: self._scores(shared.classifier, shared.images, features))
        own = scores[torch.arange(len(targets), device=targets.device), :, targets]
        return weighted(precise(features), precise(own).softmax(dim=1)).relu().float()

    def _scores(self, classifier: Classifier, images: Tensor, features: Tensor) -> Tensor:
        """Computes the logits (N,D,C) of images (N,3,H,W) masked by each channel of features (N,D,h,w)."""
        constant = features.amax(dim=(2, 3)) == features.amin(dim=(2, 3))
        live = (~constant).nonzero()
        masked = torch.cat([live, constant.nonzero()[:1]])  # pairs of image and channel
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            batches = torch.split(masked, self.batch_size)
            logits = torch.cat([classifier(_mask(images, features, part)) for part in batches])
        logits = logits.float()
        scores = logits.new_empty(*constant.shape, logits.shape[1])
        scores[~constant], scores[constant] = logits[: len(live)], logits[len(live) :]
        return scores


def _mask(images: Tensor, features: Tensor, pairs: Tensor) -> Tensor:
    """Masks images (N,3,H,W) by channels of features (N,D,h,w): pairs (n,2) of image and channel give (n,3,H,W)."""
    image, channel = pairs.unbind(dim=1)
    cells = precise(features[image, channel])
    masks = F.interpolate(cells[:, None], size=images.shape[2:], mode="bilinear", align_corners=True)
    lowest, highest = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    constant = cells.amax(dim=(1, 2)) == cells.amin(dim=(1, 2))  # otherwise their mask would be rounding noise
    masks.sub_(lowest).div_(highest - lowest + 1e-8).masked_fill_(constant[:, None, None, None], 0)
    return images[image].mul_(masks)  # in place throughout: fresh memory costs more than the arithmetic
