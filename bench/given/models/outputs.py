"""Outputs of foreign models: where the logits are in what a model returns, and whether they are logits at all."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.outputs import SOFTMAX, Outputs

#: Distance from 1 at which the outputs of an image count as probabilities.
_ROUNDING = 1e-4
_ADVICE = "wrap the model in a module whose forward returns the logits (N,C)"


@dataclass(frozen=True)
class Place:
    """Place of the logits in an output: the tensor itself, one of its items, or one of its attributes.

    Attributes:
        kind: "tensor", "item" or "attribute".
        key: position, key or name; None for the tensor itself.
    """

    kind: str
    key: Any = None

    def read(self, output: Any) -> Any:
        """Returns the logits in an output; also works while a forward pass is traced."""
        if self.kind == "tensor":
            return output
        return getattr(output, self.key) if self.kind == "attribute" else output[self.key]

    def __str__(self) -> str:
        names = {"tensor": "a tensor", "item": f"item {self.key!r}", "attribute": f"attribute {self.key!r}"}
        return names[self.kind]


class Unwrapped(nn.Module):
    """A model whose forward pass returns plain logits.

    Args:
        model: the model itself.
        place: place of the logits in its output.
        grey: the model reads one channel; it gets the first of three.
        single: the model has one output z, (N,1) or (N,).
        paired: it is the logit of a sigmoid; it becomes two classes with the logits (−z/2, z/2), as of
            ``bench.as_two_classes``.
    """

    def __init__(self, model: nn.Module, place: Place, grey: bool, single: bool = False, paired: bool = False) -> None:
        super().__init__()
        self.model, self.place, self.grey, self.single, self.paired = model, place, grey, single, paired
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        logits: Tensor = self.place.read(self.model(images[:, :1] if self.grey else images))
        if self.paired:
            half = logits.reshape(-1, 1) / 2
            return torch.cat([-half, half], dim=1)
        return logits.reshape(-1, 1) if self.single else logits  # without a question that could not be traced


def find_logits(output: Any, name: str) -> Place:
    """Finds the logits in what a model returned.

    Raises:
        UserError: there is nothing of the shape of logits, or more than one such tensor.
    """
    if isinstance(output, Tensor):
        return Place("tensor")
    if isinstance(getattr(output, "logits", None), Tensor):
        return Place("attribute", "logits")
    parts: list[tuple[Any, Any]] = []
    if isinstance(output, Mapping):
        if isinstance(output.get("logits"), Tensor):
            return Place("item", "logits")
        parts = list(output.items())
    elif isinstance(output, tuple | list):
        parts = list(enumerate(output))
    found = [key for key, value in parts if isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()]
    if len(found) == 1:
        return Place("item", found[0])
    what = f"several tensors (N,C) ({', '.join(map(repr, found))})" if found else "no logits (N,C)"
    raise UserError(f"the output of {name}, a {type(output).__name__}, holds {what}; {_ADVICE}")


def check_logits(logits: Any, images: int, name: str, outputs: Outputs = SOFTMAX) -> None:
    """Checks what a model returned for some images.

    Args:
        logits: what it returned.
        images: N.
        name: of the model.
        outputs: their meaning.

    Raises:
        UserError: it is not (N,C), or (N,) for one output, not finite, without gradient, or holds probabilities.
    """
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    fits = isinstance(logits, Tensor) and len(logits.shape) in (1, 2) and len(logits) == images and logits.numel() > 0
    if not fits or not logits.is_floating_point():
        raise UserError(f"{name} returned {shape} for {images} images, not logits (N,C) of a float type; {_ADVICE}")
    if not logits.isfinite().all():
        raise UserError(f"{name} returned NaN or infinite outputs for an image of noise; check its weights")
    if not logits.requires_grad:
        raise UserError(
            f"the outputs of {name} have no gradient: its forward pass runs under torch.no_grad or detaches; "
            "explanations differentiate it, so remove that"
        )
    values = logits.detach()
    if outputs.multilabel and "Sigmoid" in str(logits.grad_fn) and values.min() >= 0 and values.max() <= 1:
        raise UserError(
            f"the outputs of {name} are probabilities (of a sigmoid), and logits are expected: remove its last "
            "sigmoid, or wrap it in a module that returns its logits"
        )
    if is_single(logits):
        return
    if values.min() >= 0 and values.max() <= 1 and bool(((values.sum(dim=1) - 1).abs() < _ROUNDING).all()):
        raise UserError(
            f"the outputs of {name} are probabilities (in [0, 1], with sum 1), and logits are expected: remove its "
            "last softmax, or wrap it in a module that returns its logits"
        )


def is_single(logits: Tensor) -> bool:
    """Returns whether logits are one number per image: (N,1) or (N,)."""
    return logits.ndim == 1 or logits.shape[1] == 1


def check_single(model: nn.Module, place: Place, images: Tensor, name: str) -> None:
    """Checks that the one output of a model is a logit: that of images (N,C,H,W) of large contrast leaves [0, 1].

    Raises:
        UserError: it does not, as behind a sigmoid.
    """
    values = torch.cat([place.read(probe(model, scale * images, name)).detach().flatten() for scale in (1, 100, -100)])
    if values.min() >= 0 and values.max() <= 1:
        raise UserError(
            f"the one output of {name} is a probability (in [0, 1] whatever the image), and a logit is expected: "
            "remove its last sigmoid"
        )


def with_two_outputs(model: nn.Module, place: Place, images: Tensor, output: Tensor) -> nn.Module | None:
    """Returns a copy whose last layer gives the logits (−z/2, z/2) of its one output z, so that it can be converted.

    Args:
        model: has one output.
        place: place of the output.
        images: (N,C,H,W) on which the copy is measured.
        output: (N,1) or (N,), the output of the model for them.

    Returns:
        None if the last linear layer with one output is not found, or something behind it changes what it gives.
    """
    names = [one for one, part in model.named_modules() if isinstance(part, nn.Linear) and part.out_features == 1]
    if not names:
        return None
    copied = copy.deepcopy(model)
    last = copied.get_submodule(names[-1])
    assert isinstance(last, nn.Linear)
    paired = nn.Linear(last.in_features, 2, bias=last.bias is not None).to(last.weight)
    with torch.no_grad():
        for old, new in ((last.weight, paired.weight), (last.bias, paired.bias)):
            if old is not None:
                new.copy_(torch.cat([-old, old]) / 2)
    copied.set_submodule(names[-1], paired.train(last.training))
    half = output.detach().reshape(-1, 1) / 2
    try:
        found = place.read(copied(images)).detach()
    except Exception:  # the code behind the layer counts on one output
        return None
    fits = found.shape == (len(images), 2) and torch.allclose(found, torch.cat([-half, half], dim=1), 1e-4, 1e-5)
    return copied if fits else None


def probe(model: nn.Module, image: Tensor, name: str) -> Any:
    """Returns the output of a model in evaluation mode for images (N,C,H,W), with its graph.

    Raises:
        UserError: the forward pass fails, such as for a model that needs another size.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return model(image.requires_grad_())
    except UserError:
        raise
    except Exception as error:  # a foreign forward() may raise any error
        reason = " ".join(str(error).split())[:300]
        size = "×".join(map(str, image.shape[1:]))
        raise UserError(
            f"{name} cannot read images of {size}: {reason}; give the size that it needs (size=…), or a model for "
            "images (N,3,H,W)"
        ) from error
