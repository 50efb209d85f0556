"""The copy of a classifier that scores: the same function, computed as fast as the device can."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.fx.experimental.optimization import fuse

from bench.contracts import Classifier, UserError
from bench.devices import has_fast_bf16
from bench.memory import is_out_of_memory
from bench.registry import closest

Precision = Literal["float32", "bf16"]
PRECISIONS = (*get_args(Precision), "auto")
_SIZES = (4, 8, 16, 32, 64, 128)
#: A pass that takes as many seconds is large enough.
_SLOW = 0.3


@dataclass(frozen=True)
class Predictor:
    """What explains and predicts in the place of a trained classifier.

    Attributes:
        classifier: from ``fold_for_inference``, on the device; explanations are made in float32.
        precision: of predictions under occlusion; bf16 is autocast.
        batch_size: images a prediction is given at a time.
    """

    classifier: Classifier
    precision: Precision
    batch_size: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the images that ``predict`` would else convert."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Normalised images (n,3,H,W) -> logits (n,C) float32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.classifier(images.contiguous(memory_format=torch.channels_last)).float()


def fold_for_inference(classifier: Classifier, image: Tensor) -> Classifier:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them, channels_last.

    Features that cannot be traced, or that would not be the same function on ``image``, stay as they are.

    Args:
        classifier: left as it is.
        image: (1,3,H,W) normalised, of the size that will be predicted.
    """
    plain = copy.deepcopy(classifier).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    folded = copy.copy(plain)
    folded._modules = dict(plain._modules)
    with contextlib.suppress(Exception):  # whatever a foreign forward() raises when it is traced
        folded.features = fuse(plain.features).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            if torch.allclose(folded(image), plain(image), rtol=1e-3, atol=1e-4):
                return folded
    return plain


def checked_precision(asked: str) -> str:
    """``float32``, ``bf16`` or ``auto``.

    Raises:
        UserError: it is none of them.
    """
    if asked not in PRECISIONS:
        raise UserError(f"unknown precision {asked!r}: {closest(asked, list(PRECISIONS))}")
    return asked


def choices(asked: str, device: torch.device) -> tuple[Precision, ...]:
    """The precisions that ``float32``, ``bf16`` or ``auto`` leaves to choose from on this device, the best one last."""
    if asked == "auto":
        return ("float32", "bf16") if has_fast_bf16(device) else ("float32",)
    return ("bf16",) if asked == "bf16" else ("float32",)


def fastest_batch(predict: Callable[[Tensor], Tensor], image: Tensor) -> int:
    """The smallest power of two, from 4 on, at which a prediction takes at most 5 % longer than at the best one.

    Sizes that do not fit, and those behind one whose pass is slow already, are not tried.

    Args:
        predict: (n,3,H,W) -> logits (n,C).
        image: (1,3,H,W) of the size, dtype and device that will be predicted.
    """
    seconds: dict[int, float] = {}
    for size in _SIZES:
        try:
            batch = image.repeat(size, 1, 1, 1).contiguous(memory_format=torch.channels_last)
            seconds[size] = min([_timed(predict, batch) for _ in range(4)][1:]) / size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if seconds[size] * size > _SLOW:
            break
    best = min(seconds.values(), default=0.0)
    return next((size for size, taken in seconds.items() if taken <= 1.05 * best), 1)


def _timed(predict: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    started = time.perf_counter()
    predict(batch)
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - started
