"""The CAM methods as the users of three libraries call them, to be compared with the ones that are scored here.

A map is what the library returns: pytorch-grad-cam scales it to [0, 1] and enlarges it to the input, torchcam scales it
on its own grid, captum does neither and leaves its sign. ``all`` leaves these explainers out; they run by their names.
torchcam's Grad-CAM++ weighs by the cubes of the positive gradients: its division by the denominator of eq. 19 works on
a copy and is lost (0.5.0). Its Score-CAM scales a channel before it enlarges it, corners not aligned.
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
    """Base: a library's map in eval mode, of which the weights and their gradients notice nothing."""

    #: Module of the library, and its class of the method.
    library: ClassVar[str]
    cam: ClassVar[str]
    family: ClassVar[Family] = "post-hoc"
    signed = False
    scaled = True

    def applies_to(self, classifier: Classifier) -> str:
        """Empty where the logits are a function of the feature map, else why they are not. Imports the library."""
        import_module(self.library)  # takes seconds, which are no part of what its maps cost
        return classifier.beside_map

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> the library's map (N,h,w) or (N,H,W)."""
        with evaluating(classifier), _without_weight_gradients(classifier), torch.enable_grad():
            maps = self.attribute(classifier, images.detach().clone().requires_grad_(), targets)
        return maps.detach().to(images.device, torch.float32)

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W) that require a gradient, targets (N,) -> the library's map."""
        raise NotImplementedError


@contextmanager
def _without_weight_gradients(model: nn.Module) -> Iterator[None]:
    """Gradients flow to the images alone; pytorch-grad-cam would clear and fill those of the weights."""
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
        """Images (N,3,H,W), targets (N,) -> map (N,H,W) in [0, 1]."""
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = getattr(import_module(self.library), self.cam)(classifier, [classifier.feature_layer])
        try:
            with redirect_stderr(StringIO()):  # Score-CAM draws a progress bar for every image
                maps = cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()])
        finally:
            cam.activations_and_grads.release()
        return torch.from_numpy(maps)


class _TorchCAM(_LibraryCAM):
    """A class of torchcam, by name, as the package is optional; the map is scaled on the feature grid."""

    library = "torchcam.methods"

    def applies_to(self, classifier: Classifier) -> str:
        """Empty, or that torchcam is not installed, or why the logits are no function of the feature map."""
        if importlib.util.find_spec("torchcam") is None:
            return "torchcam is not installed: pip install -e '.[compare]' (or pip install torchcam)"
        return super().applies_to(classifier)

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> map (N,h,w) in [0, 1]."""
        with getattr(import_module(self.library), self.cam)(classifier, classifier.feature_layer) as cam:
            scores = classifier(images)
            return cam(targets.tolist(), scores)[0]


class _PytorchScoreCAM(_PytorchGradCAM):
    """One image after the other, as the library makes all masked images of a batch at once."""

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> map (N,H,W) in [0, 1]."""
        pairs = zip(images.split(1), targets.split(1), strict=True)
        return torch.cat([super(_PytorchScoreCAM, self).attribute(classifier, *pair) for pair in pairs])


class _CaptumGradCAM(_LibraryCAM):
    """Grad-CAM of captum, whose default is signed: the ReLU of the paper has to be asked for."""

    library, signed, scaled = "captum.attr", True, False

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> signed map (N,h,w)."""
        method = getattr(import_module(self.library), self.cam)
        return method(classifier, classifier.feature_layer).attribute(images, targets)[:, 0]


def _register(library: str, method: type[Explainer], caller: type[_LibraryCAM], cam: str) -> None:
    """Make ``method@library`` known, by the facts of the method as it is scored here."""
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
