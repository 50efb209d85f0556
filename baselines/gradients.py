"""Explanations from the gradient of the target logit with respect to the pixels, computed by captum.

They have the resolution of the image and need no feature map, unlike the CAM methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.contracts import Batch, Classifier, Explainer, Family
from bench.models.eval_mode import evaluating
from bench.registry import register_explainer


def pixel_gradient(classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    """Computes the signed gradient (N,3,H,W) of the logits of targets (N,) with respect to images (N,3,H,W)."""
    import captum.attr  # not at the top: a finished run does not need it

    gradient: Tensor = captum.attr.Saliency(classifier).attribute(images, targets, abs=False)
    return gradient


class _PixelAttribution(Explainer):
    """Base of methods that attribute in eval mode, to a copy of the images so that the caller's are not changed."""

    family: ClassVar[Family] = "post-hoc"

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,H,W) of images (N,3,H,W) for targets (N,)."""
        with evaluating(classifier):
            return self.attribute(classifier, images.detach().clone().requires_grad_(), targets).detach()

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,H,W) of images (N,3,H,W) that require a gradient, for targets (N,)."""
        raise NotImplementedError


@register_explainer
class Saliency(_PixelAttribution):
    """Largest absolute gradient among the colour channels, unsigned by the paper's definition.

    Source: arXiv:1312.6034.
    """

    name, signed, paper = "saliency", False, "arXiv:1312.6034"

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,H,W), at least 0, of images (N,3,H,W) for targets (N,)."""
        return pixel_gradient(classifier, images, targets).abs().amax(dim=1)


@register_explainer
class InputXGradient(_PixelAttribution):
    """Gradient times input, summed over the colour channels; the input is the normalised image.

    Source: arXiv:1605.01713.
    """

    name, signed, paper = "inputxgradient", True, "arXiv:1605.01713"

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W) of images (N,3,H,W) for targets (N,)."""
        import captum.attr  # not at the top: a finished run does not need it

        attributions: Tensor = captum.attr.InputXGradient(classifier).attribute(images, targets)
        return attributions.sum(dim=1)


@register_explainer
class IntegratedGradients(_PixelAttribution):
    """Gradient integrated from a baseline to the image, times their difference, summed over the colour channels.

    The baseline is zero in normalised values, the training mean. The map adds up to the difference of the two logits,
    up to the error of the Gauss–Legendre sum.

    Args:
        n_steps: points on the path.
        batch_size: images per backward pass (at least the size of the given batch).

    Source: arXiv:1703.01365.
    """

    name, signed, paper = "integrated_gradients", True, "arXiv:1703.01365"

    def __init__(self, n_steps: int = 50, batch_size: int = 32) -> None:
        self.n_steps = n_steps
        self.batch_size = batch_size

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W) of images (N,3,H,W) for targets (N,)."""
        import captum.attr  # not at the top: a finished run does not need it

        attributions: Tensor = captum.attr.IntegratedGradients(classifier).attribute(
            images,
            baselines=0.0,
            target=targets,
            n_steps=self.n_steps,
            internal_batch_size=max(self.batch_size, len(images)),
        )
        return attributions.sum(dim=1)


@register_explainer
class GuidedBackprop(_PixelAttribution):
    """Gradient that passes each ReLU only if it is positive, summed over the colour channels.

    Source: arXiv:1412.6806.
    Deviation: captum's version guides only ``nn.ReLU`` modules and silently ignores ReLU6 (MobileNetV2) and functional
        ReLUs (DenseNet's last); here every ReLU is guided. On other models the result equals captum's.
    """

    name, signed, paper = "guided_backprop", True, "arXiv:1412.6806"
    networks: ClassVar[str] = "ReLU networks"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" for a ReLU network, otherwise the reason."""
        parts = list(classifier.modules())
        others = sorted({type(part).__name__ for part in parts if isinstance(part, _NOT_RELU)})
        if others:
            return f"guided backpropagation is defined for ReLU networks; this one has {', '.join(others)}"
        has_relu = any(isinstance(part, nn.ReLU | nn.ReLU6) for part in parts)
        return "" if has_relu else "the classifier has no ReLU module"

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W) of images (N,3,H,W) for targets (N,)."""
        with _GuidedReLU():
            return pixel_gradient(classifier, images, targets).sum(dim=1)


_NOT_RELU = (nn.SiLU, nn.Hardswish, nn.GELU, nn.ELU, nn.CELU, nn.SELU, nn.LeakyReLU, nn.PReLU, nn.Mish, nn.Softplus)
_RELUS = {F.relu, F.relu_, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class _GuidedReLU(TorchFunctionMode):
    """Mode in which every ReLU passes only positive gradients, including in-place and reused ones."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        output = func(*args, **options)
        is_relu6 = func is F.hardtanh and options.get("min_val") == 0  # the function that nn.ReLU6 calls
        if (func in _RELUS or is_relu6) and output.requires_grad:
            output.register_hook(torch.relu)
        return output


@register_explainer
class SmoothGrad(Explainer):
    """Mean gradient over noisy copies of the image, summed over the colour channels; signed.

    The noise is Gaussian; its standard deviation is a share of the range of the image's (normalised) values. The paper
    takes absolute values for display only.

    Args:
        samples: noisy copies per image.
        noise: standard deviation as a share of the range; the paper recommends 0.1 to 0.2.
        batch_size: noisy copies per backward pass.

    Source: arXiv:1706.03825.
    """

    name, family, signed, paper = "smoothgrad", "post-hoc", True, "arXiv:1706.03825"

    def __init__(self, samples: int = 50, noise: float = 0.15, batch_size: int = 32) -> None:
        self.samples = samples
        self.noise = noise
        self.batch_size = batch_size

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes the raw maps (N,H,W) of a batch, with the noise of each image from its own seed."""
        with evaluating(classifier):
            images = zip(batch.images.detach(), batch.targets, batch.seeds, strict=True)
            return torch.stack([self._mean_gradient(classifier, *one).sum(dim=0) for one in images])

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W) of images (N,3,H,W) for targets (N,), with seed 0 for every image."""
        return self.explain_batch(classifier, Batch(images, targets, None, (0,) * len(images)))

    def _mean_gradient(self, classifier: Classifier, image: Tensor, target: Tensor, seed: int) -> Tensor:
        """Computes the mean gradient (3,H,W) of the target logit over noisy copies of an image (3,H,W)."""
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that a GPU sees the same noise
        deviation = self.noise * (image.max() - image.min())
        total = torch.zeros_like(image)
        for start in range(0, self.samples, self.batch_size):
            count = min(self.batch_size, self.samples - start)
            # Drawn one by one: the noise of a copy must not depend on the batch size.
            noise = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)]).to(image)
            noisy = (image + deviation * noise).requires_grad_()
            total += pixel_gradient(classifier, noisy, target.expand(count)).sum(dim=0)
        return total / self.samples
