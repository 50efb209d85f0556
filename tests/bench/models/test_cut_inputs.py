"""Cuts of networks with other inputs, wrappers, types and contexts, and what they leave alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import softcam
from bench.models.feature_extraction import split_classifier
from bench.registry import HEADS
from tests.support.tiny import Net, TinyNet, assert_exact, tiny_net


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels: int) -> None:
    torch.manual_seed(0)
    model = Net(channels=channels).eval()
    images = torch.rand(2, channels, 64, 64)
    assert_exact(model, images)
    assert softcam.SoftCAM.from_classifier(model, 5)(images).shape == (2, 5)
    box = HEADS["blackbox"]().build(model, 3).eval()
    assert_exact(box, images, softcam.convert(box))
    assert box.geometry((64, 64)).stride == (8, 8)


class Repeating(Net):
    """One channel that the network repeats."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.repeat(1, 3, 1, 1))


def test_channels_are_found_by_trying() -> None:
    assert_exact(Repeating().eval(), torch.rand(2, 1, 64, 64))


def test_coarse_grids_are_asked_for() -> None:
    model = torchvision.models.resnet18(weights=None).eval()
    for build in (softcam.convert, lambda *a, **k: softcam.SoftCAM.from_classifier(a[0], 2, **k)):
        with pytest.raises(ValueError, match=r"ResNet has 3×3 cells for images of 96×96 pixels.*smallest_grid=3"):
            build(model, image_size=96)
        assert build(model, image_size=96, smallest_grid=3)(torch.zeros(1, 3, 96, 96)).ndim == 2
    with pytest.raises(ValueError, match="image_size must be a side"):
        softcam.convert(model, image_size=(224,) * 2 + (3,))


# --- Wrappers, types, and what a cut leaves alone --------------------------------------------------------------------


def test_wrappers_are_removed() -> None:
    model = tiny_net()
    images = torch.randn(2, 3, 64, 64)
    inner = tiny_net()
    inner.conv1 = nn.DataParallel(inner.conv1)
    for wrapped in (nn.DataParallel(model), torch.compile(model), torch.compile(nn.DataParallel(model)), inner):
        assert_exact(model, images, softcam.convert(wrapped))
        assert not any(name.startswith(("module", "_orig")) for name in softcam.convert(wrapped).state_dict())
        assert softcam.SoftCAM.from_classifier(wrapped, 2)(images).shape == (2, 2)


def test_distributed_wrappers_are_removed() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = tiny_net()
        for wrapped in (DistributedDataParallel(model), torch.compile(DistributedDataParallel(model))):
            assert_exact(model, torch.randn(2, 3, 64, 64), softcam.convert(wrapped))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("dtype", "accepted"), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1), (torch.float64, 1e-9)])
def test_other_types(dtype: torch.dtype, accepted: float) -> None:
    model = tiny_net().to(dtype)
    converted = softcam.convert(model)
    images = torch.randn(2, 3, 64, 64, dtype=dtype)
    with torch.no_grad():
        expected, found = model(images), converted(images)
    assert found.dtype == dtype
    assert (found - expected).abs().max() <= accepted * expected.abs().max()


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_contexts_do_not_matter(context: Callable[[], object]) -> None:
    model, images = tiny_net(), torch.randn(2, 3, 64, 64)
    with context():
        converted, fresh = softcam.convert(model), softcam.SoftCAM.from_classifier(model, 2)
    assert_exact(model, images, converted)
    for trained in (converted, fresh):
        trained(images).sum().backward()
        assert all(weight.grad is not None for weight in trained.parameters())


class Counting(TinyNet):
    """A buffer that every forward pass changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.replaced = self.replaced + 1
        return super().forward(x)


def test_a_cut_leaves_no_trace_in_the_model() -> None:
    model = Counting().train()
    model.norm.eval()
    seen: list[int] = []
    handle = model.conv2.register_forward_hook(lambda *_: seen.append(1))
    model.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    before, grads = copy.deepcopy(model.state_dict()), [weight.grad.clone() for weight in model.parameters()]
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    split_classifier(model)
    softcam.convert(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [part.training for part in model.modules()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(torch.equal(old, weight.grad) for old, weight in zip(grads, model.parameters(), strict=True))
    assert list(model.conv2._forward_hooks) == [handle.id]
    assert not model.fc._forward_hooks


def test_randomness_in_eval_mode_is_named() -> None:
    class Random(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv2(self.relu(self.norm(self.conv1(x)))))
            return self.fc(F.dropout(x.mean((2, 3)), 0.5))

    with pytest.raises(ValueError, match="Random gives different logits for the same image in eval mode"):
        softcam.convert(Random().eval())


def test_what_is_no_logits_is_named() -> None:
    class Several(TinyNet):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": super().forward(x)}

    class Squeezed(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 0]

    class Infinite(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log()

    for make, reason in (
        (Several, "returns a dict"),
        (Squeezed, r"returns shape \(2,\)"),
        (Infinite, "nan or infinite"),
    ):
        with pytest.raises(ValueError, match=reason):
            softcam.convert(make().eval())
