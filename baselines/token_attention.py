"""Attention matrices of transformers, read where they are computed.

Libraries compute attention in fused functions that return no probabilities. One torch function mode, active during a
forward pass, computes these functions step by step and notes the probabilities; no module is changed, so that there is
nothing to restore in the model but its mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.contracts import Classifier, NotApplicable
from bench.models.eval_mode import evaluating

#: Words in the names and attributes of attention layers; a network without any of them is not run to look for more.
_WORDS = ("attention", "attn", "transformer")
_HEADS = ("num_heads", "num_attention_heads", "heads", "n_heads", "nhead", "n_head")
#: Sides in pixels that are tried if a network states none that it can read, and most tokens before the patches.
_SIDES, _PREFIX = (224, 128, 64, 96, 32, 256, 384, 512), 16
_OURS = ("torch.", "bench.", "softcam.", "baselines.")
NO_ATTENTION = "the classifier has no attention between patches"


class AttentionRecorder(TorchFunctionMode):
    """Mode that gives ``note`` the probabilities of every attention, as tensors that the output depends on.

    They are (N,heads,L,S), or (N·heads,L,S) where the network computes them so. Covered are
    ``scaled_dot_product_attention``, ``multi_head_attention_forward`` (of ``nn.MultiheadAttention``) and a softmax over
    the last axis of three or more.
    """

    def __init__(self, note: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options, name = kwargs or {}, getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return self._scaled(*args, **options)
        if name == "multi_head_attention_forward":
            return self._multi_head(func, args, options)
        output = func(*args, **options)
        if name == "softmax" and output.ndim > 2:
            axis = options["dim"] if "dim" in options else args[1] if len(args) > 1 else None
            if axis in (-1, output.ndim - 1):
                self.note(output)
        return output

    def _scaled(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        """Computes ``scaled_dot_product_attention`` as its documentation writes it out."""
        scale = options.get("scale")
        if options.get("enable_gqa"):
            repeats = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(repeats, dim=-3), value.repeat_interleave(repeats, dim=-3)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).tril().logical_not(), -torch.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask.logical_not(), -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        probabilities = scores.softmax(dim=-1)
        self.note(probabilities)
        return F.dropout(probabilities, dropout_p) @ value

    def _multi_head(self, func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Computes ``multi_head_attention_forward`` by its path with probabilities, whatever the caller needs."""
        wanted, averaged = options.get("need_weights", True), options.get("average_attn_weights", True)
        output, shown = func(*args, **(options | {"need_weights": True, "average_attn_weights": False}))
        # What is returned is a view, which the output does not depend on; its base is what was multiplied.
        self.note(shown._base if shown._is_view() else shown)
        return output, (shown.mean(dim=-3) if averaged else shown) if wanted else None


@contextmanager
def prepared(classifier: nn.Module) -> Iterator[None]:
    """Runs a block in eval mode with gradients for inputs only, and restores modes and ``requires_grad``."""
    learning = [weight for weight in classifier.parameters() if weight.requires_grad]
    with evaluating(classifier), torch.inference_mode(mode=False), torch.enable_grad():
        try:
            for weight in learning:
                weight.requires_grad_(False)
            yield
        finally:
            for weight in learning:
                weight.requires_grad_(True)


def attend(classifier: Classifier, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Computes logits and attention in one forward pass, within ``prepared``.

    Args:
        classifier: unchanged.
        images: (N,3,H,W)

    Returns:
        Logits (N,C), and the probabilities of each attention layer that the image reaches, in the order of the pass. A
        pass of a given model's head on an empty image, which its features then replace, is thereby left out.
    """
    found: list[Tensor] = []
    with AttentionRecorder(found.append):
        logits = classifier(images.detach().clone().requires_grad_())
    return logits, [one for one in found if one.requires_grad]


def why_no_token_attention(classifier: Classifier, in_blocks: bool = False) -> str:
    """Returns "" if each attention layer relates all patches of the feature map, otherwise the reason.

    It is measured on two images of noise; a network without any sign of attention is not run.

    Args:
        classifier: unchanged.
        in_blocks: each layer must also be in a block of its own, as ``attend_in_blocks`` needs it.
    """
    names = [f"{name} {type(part).__name__}".lower() for name, part in classifier.named_modules()]
    has_heads = any(hasattr(part, name) for part in classifier.modules() for name in _HEADS)
    if not has_heads and not any(word in name for name in names for word in _WORDS):
        return NO_ATTENTION
    try:
        _try_out(classifier, in_blocks)
    except NotApplicable as error:
        return str(error)
    except Exception as error:  # a foreign network can raise anything
        return f"the attention of {network_name(classifier)} cannot be read: {' '.join(str(error).split())[:200]}"
    return ""


def _try_out(classifier: Classifier, in_blocks: bool) -> None:
    """Reads the attention of two images of noise of the first size that the network can read."""
    failures: list[Exception] = []
    for size in dict.fromkeys((*_stated_sizes(classifier), *((side, side) for side in _SIDES))):
        images = _noise(classifier, size)
        try:
            with prepared(classifier):
                rows, columns = classifier.forward_features(images).shape[2:]
                found = (attend_in_blocks if in_blocks else attend)(classifier, images)[1]
            return require_tokens(classifier, found, len(images), (rows, columns))
        except NotApplicable:
            raise
        except Exception as error:  # a size that it cannot read
            failures.append(error)
    raise failures[0]  # of the size that it states


def _noise(classifier: Classifier, size: tuple[int, int]) -> Tensor:
    """Draws two images of noise of (H,W), of the type and on the device of the weights."""
    weight = next((one for one in classifier.parameters() if one.is_floating_point()), torch.empty(0))
    noise = torch.randn(2, classifier.in_channels, *size, generator=torch.Generator().manual_seed(0))
    return noise.to(device=weight.device, dtype=weight.dtype)


def _stated_sizes(classifier: nn.Module) -> Iterator[tuple[int, int]]:
    for part in classifier.modules():
        for holder in (part, getattr(part, "config", None)):
            for name in ("img_size", "image_size"):
                stated = getattr(holder, name, None)
                if isinstance(stated, int):
                    yield stated, stated
                elif isinstance(stated, tuple | list) and len(stated) == 2:
                    yield int(stated[0]), int(stated[1])


def require_tokens(classifier: Classifier, found: list[Tensor], images: int, grid: tuple[int, int]) -> None:
    """Checks that each attention is one between the same tokens, which end with the patches.

    Args:
        classifier: named in the reason.
        found: what ``attend`` returned.
        images: N.
        grid: (h,w) of the feature map.

    Raises:
        NotApplicable: it is not, with the reason.
    """
    if not found:
        raise NotApplicable(NO_ATTENTION)
    name, shapes = network_name(classifier), sorted({tuple(one.shape[-2:]) for one in found})
    for one in found:
        if one.ndim > 4 or (len(one) != images if one.ndim == 4 else len(one) % images):
            raise NotApplicable(f"{name} attends within windows of {one.shape[-1]} tokens, and not between all patches")
    if len(shapes) > 1 or shapes[0][0] != shapes[0][1]:
        listed = ", ".join(f"{rows}×{columns}" for rows, columns in shapes)
        raise NotApplicable(f"the attention layers of {name} do not all relate the same tokens (sizes {listed})")
    cells, tokens = grid[0] * grid[1], shapes[0][0]
    if not 0 <= tokens - cells <= _PREFIX:
        raise NotApplicable(f"the {tokens} tokens of {name} are not the {grid[0]}×{grid[1]} cells of its feature map")


def network_name(classifier: nn.Module) -> str:
    """Returns the class of the network inside of a classifier, or of its largest part if it was taken apart."""
    parts = [part for part in classifier.modules() if not type(part).__module__.startswith(_OURS)]
    largest = max(parts, key=lambda part: sum(one.numel() for one in part.parameters()), default=None)
    return "the network" if largest is None else type(largest).__name__


@dataclass(frozen=True)
class Blocks:
    """Modules of a network that hold one attention layer each, and what they returned in one pass.

    Attributes:
        modules: in the order of the pass.
        outputs: of each module, as it returned them: tokens (N,L,D), or a tuple that begins with them.
    """

    modules: list[nn.Module]
    outputs: list[Any]

    @contextmanager
    def ending_at(self, block: int) -> Iterator[None]:
        """Lets the network go on from the tokens of one block as if it were the last one; no block is computed."""
        tokens, last = self.outputs[block], self.outputs[-1]
        put = (first_of(tokens), *last[1:]) if isinstance(last, tuple) else first_of(tokens)
        replaced = [vars(part).get("forward") for part in self.modules]
        try:
            for part, output in zip(self.modules, [*self.outputs[:-1], put], strict=True):
                vars(part)["forward"] = lambda *given, _output=output, **options: _output
            yield
        finally:
            for part, before in zip(self.modules, replaced, strict=True):
                vars(part).pop("forward") if before is None else vars(part).update(forward=before)


def first_of(output: Any) -> Any:
    """Returns the tokens that a block returned, alone or at the start of a tuple."""
    return output[0] if isinstance(output, tuple) and output else output


def attend_in_blocks(classifier: Classifier, images: Tensor) -> tuple[Tensor, list[Tensor], Blocks]:
    """Computes logits, attention and the outputs of its blocks in one forward pass, within ``prepared``.

    A block is the outermost module that holds one attention layer and no other.

    Raises:
        NotApplicable: there is not one block per attention layer.
    """
    modules = _find_blocks(classifier, images[:1])
    outputs: dict[int, Any] = {}

    def keep(block: int) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(first_of(output), Tensor) and first_of(output).requires_grad:
                outputs[block] = output

        return note

    handles = [part.register_forward_hook(keep(number)) for number, part in enumerate(modules)]
    try:
        logits, found = attend(classifier, images)
    finally:
        for handle in handles:
            handle.remove()
    if len(found) > 1 and not len(found) == len(modules) == len(outputs):
        raise NotApplicable(f"the attention layers of {network_name(classifier)} are not in one block each")
    return logits, found, Blocks(modules, [outputs[number] for number in sorted(outputs)])


def _find_blocks(classifier: Classifier, image: Tensor) -> list[nn.Module]:
    """Returns the blocks by the names of the modules that compute attention: where these names part."""
    entered = [""]

    def entering(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, given: entered.__setitem__(0, name)

    places: dict[str, None] = {}
    parts = dict(classifier.named_modules())
    handles = [part.register_forward_pre_hook(entering(name)) for name, part in parts.items()]
    try:
        with torch.no_grad(), AttentionRecorder(lambda found: places.setdefault(entered[0])):
            classifier(image)
    finally:
        for handle in handles:
            handle.remove()
    names = [place.split(".") for place in places]
    shared, longest = 0, min(map(len, names), default=0)
    while shared < longest and len({tuple(name[: shared + 1]) for name in names}) == 1:
        shared += 1
    return [parts[one] for one in dict.fromkeys(".".join(name[: shared + 1]) for name in names) if one in parts]
