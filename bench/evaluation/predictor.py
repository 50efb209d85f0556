"""Trained classifiers prepared for fast inference, and as they are explained.

Scoring needs many more passes than training, so it uses a copy that computes the same function faster. What is
explained may differ from what is predicted: a logit, or its contrast with the logits of the other classes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from bench.contracts import Classifier, EvidenceClassifier
from bench.devices import has_fast_bf16
from bench.errors import UserError
from bench.memory import in_batches
from bench.specs import closest

Precision = Literal["float32", "bf16"]
#: Explained quantity: the target's logit, or its contrast with the logits of the other classes.
Target = Literal["logit", "contrast"]
PRECISIONS = (*get_args(Precision), "auto")
_SIZES = (4, 8, 16, 32, 64, 128)
#: Of a batch on a CPU; eight images of 224 × 224.
_PIXELS = 2**19


@dataclass(frozen=True)
class Predictor:
    """A trained classifier prepared for fast inference (folded batch norms, channels_last, optional bf16).

    Attributes:
        classifier: copy from ``fold_for_inference`` on the device; maps are always computed in float32.
        precision: precision of predictions under occlusion; bf16 uses autocast.
        batch_size: images per prediction.
    """

    classifier: Classifier
    precision: Precision
    batch_size: int

    @property
    def dtype(self) -> torch.dtype:
        """Type of images that ``predict`` need not convert."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Computes logits (n,C) float32 of normalised images (n,3,H,W)."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.classifier(images.contiguous(memory_format=torch.channels_last)).float()
        return logits


def contrasts(logits: Tensor) -> Tensor:
    """Subtracts from each class the mean of the other classes: ``z_c − Σ_{j≠c} z_j / (C − 1)``.

    With two classes it is their difference. Adding the same number to all classes changes the logits and evidence of a
    softmax model but none of its predictions; it does not change their contrasts.

    Args:
        logits: (N,C,...) logits or evidence of all classes; a single class has no other one and is returned as it is.

    Returns:
        (N,C,...)

    Example:
        >>> contrasts(torch.tensor([[1.0, 4.0], [6.0, 9.0]]))
        tensor([[-3.,  3.],
                [-3.,  3.]])
    """
    others = logits.shape[1] - 1
    if others < 1:
        return logits
    if others == 1:
        return logits - logits.flip(1)  # without the rounding of a sum
    return logits - (logits.sum(dim=1, keepdim=True) - logits) / others


class _Contrasted(Classifier):
    """Mixin that is put before the class of a classifier, whose methods it calls and contrasts.

    Attributes:
        plain: the classifier itself; not a submodule, because its parts are submodules already.
    """

    plain: Classifier

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to contrasts of the logits (N,C)."""
        return contrasts(self.plain(images))

    def forward_head(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to contrasts of the logits (N,C)."""
        return contrasts(self.plain.forward_head(features))


class _ContrastedEvidence(_Contrasted, EvidenceClassifier):
    """Mixin for classifiers whose evidence is contrasted too."""

    plain: EvidenceClassifier

    def evidence_of(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to contrasts of the evidence (N,C,h,w)."""
        return contrasts(self.plain.evidence_of(features))


def explained_as(target: Target, classifier: Classifier) -> Classifier:
    """Returns a classifier whose logits, gradients and evidence are what the maps explain.

    For "logit" it is the classifier itself. For "contrast" it shares all layers with it and is an instance of the same
    class, so that explainers treat it alike; ``forward``, ``forward_head`` and ``evidence_of`` return ``contrasts``. It
    explains and does not predict: the softmax of contrasts is another one.

    Example:
        >>> from torch import nn
        >>> plain = Classifier(nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), num_classes=3)
        >>> explained_as("contrast", plain)(torch.tensor([0.0, 2.0, 4.0]).reshape(1, 3, 1, 1))
        tensor([[-3.,  0.,  3.]])
    """
    if target == "logit":
        return classifier
    mixin = _ContrastedEvidence if isinstance(classifier, EvidenceClassifier) else _Contrasted
    shared = copy.copy(classifier)
    # Hooks on the copy must not act on the classifier, which the copy calls.
    vars(shared).update({name: copy.copy(one) for name, one in vars(classifier).items() if isinstance(one, dict)})
    shared.__class__ = type(f"Contrast{type(classifier).__name__}", (mixin, type(classifier)), {})
    vars(shared)["plain"] = classifier
    return shared


def predict_images(predict: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Computes logits (N,C) of images (N,3,H,W) by ``predict`` in batches that shrink when memory runs out."""
    return torch.cat(in_batches(lambda part: predict(images[part]), len(images), batch_size))


def fold_for_inference(classifier: Classifier, image: Tensor) -> Classifier:
    """Copies a classifier in evaluation mode and channels_last, with batch norms folded into the convolutions.

    Features that have no batch norm, cannot be traced or give other logits for ``image`` when they are folded are
    copied as they are.

    Args:
        classifier: the classifier to copy; not changed.
        image: (1,3,H,W) normalised, of the size that will be predicted.
    """
    plain = copy.deepcopy(classifier).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in plain.features.modules()):
        return plain  # tracing would only take the modules from explainers that look for them
    folded = copy.copy(plain)
    folded._modules = dict(plain._modules)
    with contextlib.suppress(Exception):  # tracing a foreign forward() can raise anything
        folded.features = fuse(plain.features).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            if torch.allclose(folded(image), plain(image), rtol=1e-3, atol=1e-4):
                return folded
    return plain


def checked_precision(asked: str) -> str:
    """Returns ``asked`` if it is ``float32``, ``bf16`` or ``auto``.

    Raises:
        UserError: It is anything else.
    """
    if asked not in PRECISIONS:
        raise UserError(f"unknown precision {asked!r}; {closest(asked, list(PRECISIONS))}")
    return asked


def choices(asked: str, device: torch.device) -> tuple[Precision, ...]:
    """Returns the precisions that ``float32``, ``bf16`` or ``auto`` allows on this device, the fastest one last."""
    if asked == "auto":
        return ("float32", "bf16") if has_fast_bf16(device) else ("float32",)
    return ("bf16",) if asked == "bf16" else ("float32",)


def batch_size_for(image: Tensor) -> int:
    """Returns a batch size (4 to 128, a power of two) by the size of an image alone, so that results can be repeated.

    Single precision rounds differently in batches of another size. On a CPU, larger batches leave its caches and gain
    nothing; on a GPU, memory is the limit, and ``predict_images`` halves a batch that does not fit.

    Args:
        image: (1,3,H,W) on the device that will predict.

    Example:
        >>> batch_size_for(torch.zeros(1, 3, 96, 96))
        32
    """
    fitting = _PIXELS // image[0, 0].numel()
    return max(size for size in _SIZES if size <= max(fitting, _SIZES[0]) or image.is_cuda)
