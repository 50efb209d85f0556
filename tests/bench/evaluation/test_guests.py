"""Plugins that leave something behind: it is put back and named, and others' scores are those without the plugin."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Classifier, UserError
from bench.evaluation.guests import Host, as_guest, digest
from tests.support.tiny import tiny_classifiers

Deed = Callable[[Classifier, Batch], object]


def norm_of(classifier: Classifier) -> nn.BatchNorm2d:
    return next(part for part in classifier.modules() if isinstance(part, nn.BatchNorm2d))


def weight_of(classifier: Classifier) -> Tensor:
    return next(classifier.parameters())


def first_child(classifier: Classifier) -> tuple[nn.Module, str]:
    parent = next(part for part in classifier.features.modules() if part._modules)
    return parent, next(iter(parent._modules))


def replace_child(classifier: Classifier, batch: Batch) -> None:
    parent, name = first_child(classifier)
    setattr(parent, name, nn.Identity())


#: Name -> what a careless plugin does, and words that the line about it holds.
LEFT: dict[str, tuple[Deed, str]] = {
    "train mode": (lambda c, b: c.train(), "train mode"),
    "mode of one part": (lambda c, b: norm_of(c).train(), "train mode"),
    "forward hook": (lambda c, b: c.features.register_forward_hook(lambda m, i, o: o * 0), "hook"),
    "forward hook before": (lambda c, b: c.features.register_forward_pre_hook(lambda m, i: None), "hook"),
    "backward hook": (lambda c, b: norm_of(c).register_full_backward_hook(lambda m, i, o: None), "hook"),
    "weights in place": (lambda c, b: weight_of(c).data.mul_(2), "weights"),
    "weights as an array": (lambda c, b: weight_of(c).detach().numpy().fill(0), "weights"),
    "order of weights": (lambda c, b: weight_of(c).data.copy_(weight_of(c).data.flip(0)), "weights"),
    "running mean": (lambda c, b: norm_of(c).running_mean.add_(1), "weights"),  # type: ignore[union-attr]
    "requires_grad": (lambda c, b: weight_of(c).requires_grad_(not weight_of(c).requires_grad), "requires_grad"),
    "gradient": (lambda c, b: setattr(weight_of(c), "grad", torch.ones_like(weight_of(c))), "gradients"),
    "forward replaced": (lambda c, b: setattr(c, "forward", lambda x: x), "attribute forward"),
    "module replaced": (replace_child, "attribute modules"),
    "parameter replaced": (
        lambda c, b: setattr(norm_of(c), "weight", nn.Parameter(torch.zeros_like(norm_of(c).weight))),
        "attribute parameters",
    ),
    "gradients off": (lambda c, b: torch.set_grad_enabled(False), "gradients"),
    "default dtype": (lambda c, b: torch.set_default_dtype(torch.float64), "default dtype"),
    "threads": (lambda c, b: torch.set_num_threads(torch.get_num_threads() + 1), "number of threads"),
    "working directory": (lambda c, b: os.chdir(".."), "working directory"),
}
#: Input -> how a plugin changes it.
DAMAGE: dict[str, Deed] = {
    "images in place": lambda c, b: b.images.mul_(2),
    "images behind autograd": lambda c, b: b.images.data.zero_(),
    "images as an array": lambda c, b: b.images.numpy().fill(1),
    "images that require a gradient": lambda c, b: b.images.requires_grad_(),
    "targets in place": lambda c, b: b.targets.zero_(),
    "masks in place": lambda c, b: b.masks.logical_not_(),  # type: ignore[union-attr]
}


def batch_of() -> Batch:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.tensor([1, 2]), torch.zeros(2, 32, 32, dtype=torch.bool), (0, 1))


def logits(classifier: Classifier) -> Tensor:
    with torch.no_grad():
        return classifier(batch_of().images)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_behind_is_put_back(name: str, raises: bool) -> None:
    deed, words = LEFT[name]
    classifier, batch = tiny_classifiers()["black box"], batch_of()
    before, host = logits(classifier), Host(classifier)
    settings = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), os.getcwd()

    def call() -> None:
        deed(classifier, batch)
        if raises:
            raise ValueError("a fault of the plugin")

    if raises:
        with pytest.raises(ValueError, match="a fault of the plugin"):
            as_guest("explainer 'x'", call, host, batch)
    else:
        _, left = as_guest("explainer 'x'", call, host, batch)
        assert any(words in line for line in left)
    assert torch.equal(logits(classifier), before)
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), os.getcwd()) == settings
    assert as_guest("explainer 'x'", lambda: 3, host, batch) == (3, [])


@pytest.mark.parametrize("name", DAMAGE)
def test_changed_inputs_are_refused(name: str) -> None:
    classifier, batch = tiny_classifiers()["black box"], batch_of()
    with pytest.raises(UserError, match=f"explainer 'x' changed the {name.split()[0]} that it was given"):
        as_guest("explainer 'x'", lambda: DAMAGE[name](classifier, batch), Host(classifier), batch)


def test_draws_of_a_plugin_shift_no_others() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    first, left = as_guest("explainer 'x'", draw)
    assert left == []
    assert draw() == first


def test_a_plugin_cannot_end_the_program() -> None:
    with pytest.raises(UserError, match="metric 'x' tried to end the program with exit code 0"):
        as_guest("metric 'x'", lambda: exit(0))


def test_digest_tells_types_apart() -> None:
    assert len({digest(torch.zeros(4, dtype=dtype)) for dtype in (torch.float32, torch.int32, torch.float64)}) == 3


def test_a_cache_on_the_network_is_no_change() -> None:
    classifier = tiny_classifiers()["black box"]
    _, left = as_guest("explainer 'x'", lambda: setattr(classifier, "_seen_by_me", 1), Host(classifier))
    assert left == []


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64, torch.complex64]
)
def test_digest_sees_values_order_shape_and_type(dtype: torch.dtype) -> None:
    values = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 1, 0]]).to(dtype)
    assert digest(values) == digest(values.clone())
    others = [values.flip(0), values.flip(1), values.T.contiguous(), values.flatten()]
    assert digest(values) not in [digest(one) for one in others]
    changed = values.clone()
    changed[1, 1] = 1
    assert digest(values) != digest(changed)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_digest_of_a_part_is_not_that_of_its_storage(layout: torch.memory_format) -> None:
    images = torch.arange(96.0).reshape(2, 3, 4, 4).to(memory_format=layout)
    before = digest(images[1:])
    images[0] = 0
    assert digest(images[1:]) == before
    images[1, 2, 3, 3] = -1
    assert digest(images[1:]) != before
