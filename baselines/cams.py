"""Class activation maps from the last feature map F (N,D,h,w) and the gradient G (N,D,h,w) of the target logit there.

The formulas are those of pytorch-grad-cam without its post-processing, which clips every map at zero, scales it to
[0, 1] and enlarges it. Here ReLU is applied only if the method's paper applies it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Classifier, Family
from bench.models.shared_features import FeatureExplainer, SharedFeatures
from bench.registry import register_explainer


class _FeatureCAM(FeatureExplainer):
    """Base of methods that need logits that are a function of the feature map; ReLU makes their maps unsigned."""

    family: ClassVar[Family] = "post-hoc"
    networks: ClassVar[str] = "logits from the feature map"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" if the logits are a function of the feature map, otherwise the reason why they are not."""
        return classifier.beside_map

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w), on the feature grid, of the shared images for targets (N,)."""
        maps = self.cam(precise(shared.features), precise(shared.gradients(targets)))
        return (maps if self.signed else maps.relu()).float()

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes the maps (N,h,w) before ReLU from features and gradients (N,D,h,w)."""
        raise NotImplementedError


def precise(values: Tensor) -> Tensor:
    """Converts half precision to float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def weighted(features: Tensor, weights: Tensor) -> Tensor:
    """Computes the channel sum (N,h,w) of features (N,D,h,w) with weights (N,D)."""
    return torch.einsum("nd,ndhw->nhw", weights, features)


@register_explainer
class GradCAMMap(_FeatureCAM):
    """Grad-CAM: ReLU of the features weighted by the spatial mean of their gradients.

    Source: arXiv:1610.02391, eq. 1 and 2.
    """

    name, signed, paper = "gradcam", False, "arXiv:1610.02391"

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes ``Σ_d mean(G_d) F_d``."""
        return weighted(features, gradients.mean(dim=(2, 3)))


@register_explainer
class GradCAMPlusPlusMap(_FeatureCAM):
    """Grad-CAM++: ReLU of the features weighted by their positive gradients, in closed form.

    Source: arXiv:1710.11063, eq. 19.
    Deviation: without the factor exp(logit) of the paper's weights, a positive number per image, and with 1e-6 in the
        denominator as in pytorch-grad-cam. This term dominates for small gradients: a cell with G² far below 1e-6 has
        weight G³/1e-6 instead of the paper's G/(2 + G·ΣF), so that large gradients count more.
    """

    name, signed, paper = "gradcam++", False, "arXiv:1710.11063"

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes ``Σ_d w_d F_d`` with ``w_d = Σ relu(G_d) G_d² / (2 G_d² + G_d³ ΣF_d)``."""
        gradients = gradients.relu()
        squares = gradients.square()
        total = features.sum(dim=(2, 3), keepdim=True)
        shares = squares / (2 * squares + total * squares * gradients + 1e-6)
        return weighted(features, (gradients * shares).sum(dim=(2, 3)))


@register_explainer
class LayerCAMMap(_FeatureCAM):
    """LayerCAM: ReLU of the channel sum of features times their positive gradients, cell by cell.

    Source: doi:10.1109/TIP.2021.3089943.
    """

    name, signed, paper = "layercam", False, "doi:10.1109/TIP.2021.3089943"

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes ``Σ_d relu(G_d) F_d``."""
        return (gradients.relu() * features).sum(dim=1)


@register_explainer
class HiResCAMMap(_FeatureCAM):
    """HiResCAM: channel sum of features times their gradients, signed, as the paper defines it without ReLU.

    Source: arXiv:2011.08891.
    """

    name, signed, paper = "hirescam", True, "arXiv:2011.08891"

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes ``Σ_d G_d F_d``."""
        return (gradients * features).sum(dim=1)


@register_explainer
class XGradCAMMap(_FeatureCAM):
    """XGrad-CAM: features weighted by their activation-weighted mean gradient, signed.

    The paper's conservation axiom, that the map adds up to the score, holds for the map without ReLU.

    Source: arXiv:2008.02312.
    """

    name, signed, paper = "xgradcam", True, "arXiv:2008.02312"

    def cam(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Computes ``Σ_d (Σ G_d F_d / ΣF_d) F_d``."""
        return weighted(features, (gradients * features).sum(dim=(2, 3)) / (features.sum(dim=(2, 3)) + 1e-7))


@register_explainer
class EigenCAMMap(_FeatureCAM):
    """Eigen-CAM: projection of the features on their first principal component; it does not depend on the target.

    Source: arXiv:2008.00299.
    Deviation: features are centred and the result is clipped at zero, as in pytorch-grad-cam. The component's sign is
        arbitrary, so the map is not evidence for or against a class and counts as unsigned.
    """

    name, signed, paper = "eigencam", False, "arXiv:2008.00299"

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Computes the projections (N,h,w), at least 0, of the shared images."""
        features = shared.features
        return shared.keep(self.name, lambda: _projection(precise(features)).relu().float())


def _projection(features: Tensor) -> Tensor:
    """Projects the vector of each cell of features (N,D,h,w) on their first principal component: (N,h,w)."""
    cells = features.masked_fill(features.isnan(), 0).flatten(2).transpose(1, 2)
    cells = cells - cells.mean(dim=1, keepdim=True)
    # Only numpy's LAPACK, not torch's, gives the component the sign that it has in pytorch-grad-cam.
    components = torch.from_numpy(np.linalg.svd(cells.cpu().numpy(), full_matrices=False)[2][:, 0])
    projected: Tensor = cells @ components.to(cells)[:, :, None]
    return projected.reshape(len(features), *features.shape[2:])
