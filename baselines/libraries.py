"""CAM methods as three libraries implement them, to be compared with the implementations of ``baselines.cams``.

Maps are returned as the library returns them: pytorch-grad-cam scales them to [0, 1] and enlarges them to the input,
torchcam scales them on their own grid, captum does neither and keeps their sign. ``all`` does not include these
explainers; they run by their names. torchcam's Grad-CAM++ uses the cubes of the positive gradients as weights: its
division by the denominator of eq. 19 acts on a copy and is lost (0.5.0). Its Score-CAM scales a channel before it
enlarges it, with corners not aligned.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from io import StringIO
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.cams import EigenCAMMap, GradCAMMap, GradCAMPlusPlusMap, HiResCAMMap, LayerCAMMap, XGradCAMMap
from baselines.scorecam import ScoreCAM
from bench.contracts import Classifier, Explainer, Family
from bench.models.eval_mode import evaluating
from bench.registry import register_explainer


class _LibraryCAM(Explainer):
    """Base: a library's map in eval mode, computed without changing the weights or their gradients."""

    #: Module of the library, and its class for the method.
    library: ClassVar[str]
    cam: ClassVar[str]
    family: ClassVar[Family] = "post-hoc"
    networks: ClassVar[str] = "logits from the feature map"
    signed = False
    scaled = True

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" if the logits are a function of the feature map, otherwise the reason why they are not."""
        import_module(self.library)  # takes seconds, which must not count as the cost of its maps
        return classifier.beside_map

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the library's maps, (N,h,w) or (N,H,W), of images (N,3,H,W) for targets (N,)."""
        with evaluating(classifier), _without_weight_gradients(classifier), torch.enable_grad():
            maps = self.attribute(classifier, images.detach().clone().requires_grad_(), targets)
        return maps.detach().to(images.device, torch.float32)

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the library's maps of images (N,3,H,W) that require a gradient, for targets (N,)."""
        raise NotImplementedError


@contextmanager
def _without_weight_gradients(model: nn.Module) -> Iterator[None]:
    """Lets gradients flow to the images only; pytorch-grad-cam would clear and fill those of the weights."""
    kept = [(weight, weight.requires_grad, weight.grad) for weight in model.parameters()]
    for weight, _, _ in kept:
        weight.requires_grad_(False).grad = None
    try:
        yield
    finally:
        for weight, required, gradient in kept:
            weight.requires_grad_(required).grad = gradient


class _PytorchGradCAM(_LibraryCAM):
    """A class of pytorch-grad-cam, by name; the map is scaled, enlarged by OpenCV (bilinear) and scaled again."""

    library = "pytorch_grad_cam"

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the maps (N,H,W) in [0, 1] of images (N,3,H,W) for targets (N,)."""
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = getattr(import_module(self.library), self.cam)(classifier, [classifier.feature_layer])
        try:
            with redirect_stderr(StringIO()):  # Score-CAM prints a progress bar per image
                maps = cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()])
        finally:
            cam.activations_and_grads.release()
        return torch.from_numpy(maps)


class _TorchCAM(_LibraryCAM):
    """A class of torchcam, by name because the package is optional; the map is scaled on the feature grid."""

    library, grid = "torchcam.methods", "features"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" or the reason: torchcam is absent, or the logits are not a function of the feature map."""
        if importlib.util.find_spec("torchcam") is None:
            return "torchcam is not installed: pip install -e '.[compare]' (or pip install torchcam)"
        return super().applies_to(classifier)

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the maps (N,h,w) in [0, 1] of images (N,3,H,W) for targets (N,)."""
        with getattr(import_module(self.library), self.cam)(classifier, classifier.feature_layer) as cam:
            scores = classifier(images)
            maps: Tensor = cam(targets.tolist(), scores)[0]
        return maps


class _PytorchScoreCAM(_PytorchGradCAM):
    """Score-CAM one image at a time, because the library builds all masked images of a batch at once."""

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the maps (N,H,W) in [0, 1] of images (N,3,H,W) for targets (N,)."""
        pairs = zip(torch.split(images, 1), torch.split(targets, 1), strict=True)
        return torch.cat([super(_PytorchScoreCAM, self).attribute(classifier, *pair) for pair in pairs])


class _CaptumGradCAM(_LibraryCAM):
    """Grad-CAM of captum, which is signed by default; the paper's ReLU is an option."""

    library, signed, scaled, grid = "captum.attr", True, False, "features"

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,h,w) of images (N,3,H,W) for targets (N,)."""
        method = getattr(import_module(self.library), self.cam)
        maps: Tensor = method(classifier, classifier.feature_layer).attribute(images, targets)
        return maps[:, 0]


def _register(library: str, method: type[Explainer], caller: type[_LibraryCAM], cam: str) -> None:
    """Registers ``method@library`` with the facts of the method in this package."""
    facts = {"name": f"{method.name}@{library}", "paper": method.paper, "variant_of": method.name, "cam": cam}
    register_explainer(type(f"{method.__name__}Of{caller.__name__}", (caller,), facts))


_register("pytorch-grad-cam", GradCAMMap, _PytorchGradCAM, "GradCAM")
_register("captum", GradCAMMap, _CaptumGradCAM, "LayerGradCam")
_register("torchcam", GradCAMMap, _TorchCAM, "GradCAM")
_register("pytorch-grad-cam", GradCAMPlusPlusMap, _PytorchGradCAM, "GradCAMPlusPlus")
_register("torchcam", GradCAMPlusPlusMap, _TorchCAM, "GradCAMpp")
_register("pytorch-grad-cam", LayerCAMMap, _PytorchGradCAM, "LayerCAM")
_register("torchcam", LayerCAMMap, _TorchCAM, "LayerCAM")
_register("pytorch-grad-cam", HiResCAMMap, _PytorchGradCAM, "HiResCAM")
_register("pytorch-grad-cam", XGradCAMMap, _PytorchGradCAM, "XGradCAM")
_register("pytorch-grad-cam", EigenCAMMap, _PytorchGradCAM, "EigenCAM")
_register("pytorch-grad-cam", ScoreCAM, _PytorchScoreCAM, "ScoreCAM")
_register("torchcam", ScoreCAM, _TorchCAM, "ScoreCAM")
