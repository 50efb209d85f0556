"""Trial of a network: random images that it can read, and its logits for them.

Every cut is compared with them. A trial leaves modes, buffers, gradients, hooks and random numbers as they were.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.eval_mode import evaluating

#: Sides in pixels that are tried if neither the caller nor the network states one.
SIDES = (128, 224, 64, 32, 96, 256, 299, 28, 384, 512)
#: Largest accepted difference of a cut from its network, relative to the largest logit.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
ImageSize = int | tuple[int, int]


@dataclass(frozen=True)
class Trial:
    """Random images with the logits of a network.

    Attributes:
        images: (2,C',H,W) of the network's type and device, with the number of channels that it reads.
        logits: (2,C) of both images at once.
        single: (1,C) of the first image alone.
        last: the linear layer or 1×1 convolution that was called last; None if there was none.
        last_gives_logits: whether the output of ``last`` is ``logits``.
    """

    images: Tensor
    logits: Tensor
    single: Tensor
    last: nn.Linear | nn.Conv2d | None
    last_gives_logits: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def tolerance(self) -> float:
        """Largest accepted difference, relative to the largest value that is compared."""
        return TOLERANCES.get(self.logits.dtype, 1e-4)

    def difference(self, images: Tensor, logits: Tensor, values: float = 0.0) -> float:
        """Returns the largest difference of logits (n,C) from the network's, relative to the largest logit.

        Args:
            images: the images of the trial, or the first one.
            logits: what was computed from them.
            values: mean absolute value of the terms that add up to the logits, if that is larger.

        Returns:
            At least 0; infinite if the shapes differ or a value is not finite.
        """
        expected = self.logits if len(images) == 2 else self.single
        if logits.shape != expected.shape or not logits.isfinite().all():
            return float("inf")
        scale = max(expected.abs().max().item(), values, 1e-30)
        return (logits - expected).abs().max().item() / scale


def unwrap(model: nn.Module) -> nn.Module:
    """Returns the network inside ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def own_copy(model: nn.Module) -> nn.Module:
    """Returns a copy of the network inside all wrappers, also those around its parts.

    Raises:
        ValueError: a wrapper has hooks, or the network cannot be copied.
    """
    inner = unwrap(model)
    for part in (model, inner):
        if part._forward_hooks or part._forward_pre_hooks:
            raise ValueError(f"{type(part).__name__} has forward hooks, which its parts would lose; remove them")
    try:
        copied = copy.deepcopy(inner)
    except Exception as error:  # tensors with a history, open files, locks
        reason = " ".join(str(error).split())
        raise ValueError(f"{type(inner).__name__} cannot be copied: {reason}") from error
    for name, part in list(copied.named_modules()):
        part._compiled_call_impl = None
        if name and unwrap(part) is not part:
            copied.set_submodule(name, unwrap(part))
    return copied


def image_size_of(size: ImageSize | None) -> tuple[int, int] | None:
    """Returns (H, W) of a side or a pair.

    Raises:
        ValueError: it is neither, or not positive.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"image_size must be a side or (height, width) in pixels, not {size!r}")
    return sides


def input_channels(model: nn.Module) -> int:
    """Returns the channels that timm states for ``model``, otherwise those of its first convolution, otherwise 3."""
    stated = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    first = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    return first or (stated[0] if stated else 3)


def noise(shape: Sequence[int], like: Tensor, seed: int = 0) -> Tensor:
    """Draws normal numbers, on the device and of the type of ``like``, without touching the global random state."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32, device="cpu")
    return drawn.to(device=like.device, dtype=like.dtype)


def weight_of(model: nn.Module) -> Tensor:
    """Returns a floating-point parameter of ``model``, whose device and type its images share."""
    return next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0))


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Runs a block in eval mode without gradients, autocast or inference mode, and restores what a forward changes."""
    device = weight_of(model).device
    kept = [
        (part, name, buffer, buffer.clone())
        for part in model.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(evaluating(model))
        if device.type != "meta":
            stack.enter_context(torch.autocast(device.type, enabled=False))
        try:
            yield
        finally:
            for part, name, buffer, before in kept:
                part._buffers[name] = buffer
                if not buffer.is_meta and not torch.equal(buffer, before):
                    buffer.copy_(before)


def try_out(model: nn.Module, size: tuple[int, int] | None, name: str) -> Trial:
    """Runs ``model`` on random images of ``size``, otherwise of the first size that it states or can read.

    Raises:
        ValueError: it reads none of them, or does not return logits (N,C).
    """
    channels = dict.fromkeys((input_channels(model), 3, 1))
    sizes = [size] if size else list(dict.fromkeys((*_stated_sizes(model), *((side, side) for side in SIDES))))
    first = ""
    for count, side in product(channels, sizes):
        images = noise((2, count, *side), weight_of(model))
        try:
            with undisturbed(model), _watching(model) as called:
                logits = model(images)
                last, output = called[-1] if called else (None, None)
                single, again = model(images[:1]), model(images[:1])
        except Exception as error:  # a foreign forward() may raise any error
            first = first or f"{count}×{side[0]}×{side[1]} pixels: {' '.join(str(error).split())}"
            continue
        _check_logits(logits, name)
        if not images.is_meta and not torch.allclose(single, again, rtol=1e-3):
            raise ValueError(
                f"{name} gives different logits for the same image in eval mode; switch its randomness off there "
                "(F.dropout needs training=self.training)"
            )
        return Trial(images, logits, single, last, output is not None and _same(output, logits))
    raise ValueError(f"{name} cannot read a test image of {first}; give the size of your images as image_size")


def _stated_sizes(model: nn.Module) -> list[tuple[int, int]]:
    """Returns the sizes that a model states: of its feature map, its patches or timm's configuration."""
    fixed = getattr(getattr(model, "features", None), "image_size", None)
    fixed = fixed or getattr(getattr(model, "patch_embed", None), "img_size", None)
    configured = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3,))[1:]
    found = tuple(fixed or configured)
    return [(int(found[0]), int(found[1]))] if len(found) == 2 else []


@contextlib.contextmanager
def _watching(model: nn.Module) -> Iterator[list[tuple[Any, Tensor]]]:
    """Yields a list of the linear layers and 1×1 convolutions that are called, with their outputs; only the last."""
    called: list[tuple[Any, Tensor]] = []

    def note(part: nn.Module, inputs: Any, output: Tensor) -> None:
        called[:] = [(part, output)]

    layers = [part for part in model.modules() if is_linear(part)]
    handles = [part.register_forward_hook(note) for part in layers]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def is_linear(part: nn.Module) -> bool:
    """Returns True for a linear layer or a 1×1 convolution, whatever its subclass computes."""
    return isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1))


def _check_logits(logits: object, name: str) -> None:
    if not isinstance(logits, Tensor):
        raise ValueError(f"{name} returns a {type(logits).__name__} in eval mode; one tensor of logits (N,C) is needed")
    if logits.ndim != 2:
        raise ValueError(f"{name} returns shape {tuple(logits.shape)} for 2 images; logits (N,C) are needed")
    if not logits.is_meta and not logits.isfinite().all():
        raise ValueError(f"{name} returns nan or infinite logits for random images, so that no cut can be verified")


def _same(output: Tensor, logits: Tensor) -> bool:
    return output.numel() == logits.numel() and (logits.is_meta or torch.equal(output.flatten(1), logits))
