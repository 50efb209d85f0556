"""Trained classifiers prepared for fast inference.

Scoring needs many more passes than training, so it uses a copy that computes the same function faster.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.fx.experimental.optimization import fuse

from bench.contracts import Classifier
from bench.devices import has_fast_bf16
from bench.errors import UserError
from bench.evaluation.guests import Host
from bench.memory import in_batches, is_out_of_memory
from bench.registry import closest

Precision = Literal["float32", "bf16"]
PRECISIONS = (*get_args(Precision), "auto")
_SIZES = (4, 8, 16, 32, 64, 128)
#: Seconds of a pass beyond which larger batches are not tried.
_SLOW = 0.3


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

    @cached_property
    def host(self) -> Host:
        """State of the classifier before any plugin is called with it."""
        return Host(self.classifier)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Computes logits (n,C) float32 of normalised images (n,3,H,W)."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.classifier(images.contiguous(memory_format=torch.channels_last)).float()
        return logits


def predict_images(predict: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Computes logits (N,C) of images (N,3,H,W) by ``predict`` in batches that shrink when memory runs out."""
    return torch.cat(in_batches(lambda part: predict(images[part]), len(images), batch_size))


def fold_for_inference(classifier: Classifier, image: Tensor) -> Classifier:
    """Copies a classifier in evaluation mode and channels_last, with batch norms folded into the convolutions.

    Features that cannot be traced, or whose folded form gives other logits for ``image``, are copied as they are.

    Args:
        classifier: the classifier to copy; not changed.
        image: (1,3,H,W) normalised, of the size that will be predicted.
    """
    plain = copy.deepcopy(classifier).eval().requires_grad_(False).to(memory_format=torch.channels_last)
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


def fastest_batch(predict: Callable[[Tensor], Tensor], image: Tensor) -> int:
    """Finds the smallest power of two (4 to 128) whose predictions take at most 5 % longer per image than the best.

    Sizes that do not fit into memory, and sizes above one whose pass takes more than 0.3 s, are not tried.

    Args:
        predict: function from images (n,3,H,W) to logits (n,C).
        image: (1,3,H,W) image of the size, dtype and device that will be predicted.
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
