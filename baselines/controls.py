"""Controls: maps that ignore the classifier.

They give the floor of every score, and with the mask itself its ceiling, so that a score can be read as a share of the
range between them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer, UserError
from bench.models.eval_mode import evaluating
from bench.models.geometry import cell_means
from bench.registry import register_explainer


@register_explainer
class Random(Explainer):
    """Uniform noise in [0, 1) on the classifier's feature grid: the floor, at the resolution of a CAM."""

    name, family, signed, paper = "random", "control", False, ""
    grid, role = "features", "floor"

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Draws maps (N,h,w), each from the seed of its image."""
        with evaluating(classifier), torch.no_grad():
            grid = classifier.forward_features(batch.images[:1]).shape[2:]
        maps = [torch.rand(grid, generator=torch.Generator().manual_seed(seed)) for seed in batch.seeds]
        return torch.stack(maps).to(batch.images.device)

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Draws maps (N,h,w) for images (N,3,H,W), all from seed 0."""
        return self.explain_batch(classifier, Batch(images, targets, None, (0,) * len(images)))


@register_explainer
class CenterGaussian(Explainer):
    """Gaussian at the centre of the image: the score of a method that only knows where lesions tend to be.

    Args:
        sigma: standard deviation as a share of the image's side.
    """

    name, family, signed, paper = "center_gaussian", "control", False, ""

    def __init__(self, sigma: float = 0.25) -> None:
        self.sigma = sigma

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Returns the same map for all images (N,3,H,W): (N,H,W) in (0, 1]."""
        rows, columns = (self._profile(side, images.device) for side in images.shape[2:])
        return (rows[:, None] * columns).repeat(len(images), 1, 1)

    def _profile(self, side: int, device: torch.device) -> Tensor:
        """Returns the Gaussian along one axis (side,), at the centres of the pixels."""
        position = (torch.arange(side, device=device) + 0.5) / side - 0.5
        return torch.exp(-0.5 * (position / self.sigma) ** 2)


@register_explainer
class Edges(Explainer):
    """Sobel gradient magnitude of the grey image (mean of the normalised channels), which ignores the classifier."""

    name, family, signed, paper = "edges", "control", False, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the edge maps (N,H,W), at least 0, of images (N,3,H,W)."""
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device)
        kernels = torch.stack([across, across.T])[:, None]
        grey = F.pad(images.float().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(grey, kernels).square().sum(dim=1).sqrt()


@register_explainer
class MaskOracle(Explainer):
    """The annotated lesion itself: the ceiling."""

    name, family, signed, paper = "mask_oracle", "control", False, ""
    needs_masks, role = True, "ceiling"

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Returns the masks as maps (N,H,W) of 0 and 1.

        Raises:
            UserError: the images have no masks.
        """
        return _masks(self.name, batch)

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Raises UserError, because an image alone does not contain its mask."""
        return self.explain_batch(classifier, Batch(images, targets, None, (0,) * len(images)))


@register_explainer
class GridOracle(Explainer):
    """The share of each cell of the classifier's feature grid that is lesion: the ceiling of maps on that grid.

    A cell is the pixels that are nearest to the point at which it looks. Where the geometry of the feature map is
    unknown, the cells divide the image evenly.
    """

    name, family, signed, paper = "grid_oracle", "control", False, ""
    grid, needs_masks, role = "features", True, "grid ceiling"

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Averages the masks over the cells: maps (N,h,w) in [0, 1].

        Raises:
            UserError: the images have no masks.
        """
        return cell_means(classifier, _masks(self.name, batch))

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Raises UserError, because an image alone does not contain its mask."""
        return self.explain_batch(classifier, Batch(images, targets, None, (0,) * len(images)))


def _masks(name: str, batch: Batch) -> Tensor:
    """Returns the masks (N,H,W) of a batch as 0 and 1; raises UserError if there are none."""
    if batch.masks is None:
        raise UserError(f"{name} needs lesion masks, and these images have none")
    return batch.masks.to(batch.images.device, torch.float32)
