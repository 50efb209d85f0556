"""Pixel attributions against hand-written gradients, completeness, captum and known networks."""

from __future__ import annotations

import warnings

import captum.attr
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from baselines.gradients import GuidedBackprop, InputXGradient, IntegratedGradients, Saliency, SmoothGrad
from baselines.perturbation import Occlusion
from bench.contracts import Batch, Classifier
from bench.registry import HEADS
from tests.support.tiny import excite, tiny_classifiers

TARGETS = torch.tensor([0, 2, 1])


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def gradient_by_hand(classifier: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    classifier(x)[torch.arange(len(x)), TARGETS[: len(x)]].sum().backward()
    classifier.zero_grad()
    assert x.grad is not None
    return x.grad


def test_saliency_and_input_times_gradient() -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    gradient = gradient_by_hand(classifier, x)
    torch.testing.assert_close(Saliency().explain(classifier, x, TARGETS), gradient.abs().max(dim=1).values)
    torch.testing.assert_close(InputXGradient().explain(classifier, x, TARGETS), (gradient * x).sum(dim=1))


def test_integrated_gradients_add_up_to_the_difference_of_logits() -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    with torch.no_grad():
        difference = (classifier(x) - classifier(torch.zeros_like(x)))[torch.arange(3), TARGETS]
    maps = IntegratedGradients(n_steps=200).explain(classifier, x, TARGETS)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), difference, rtol=0.01, atol=0.002)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_bounds_memory_and_changes_nothing(batch_size: int) -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    sizes: list[int] = []
    hook = classifier.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    for small, usual in (
        (IntegratedGradients(batch_size=batch_size), IntegratedGradients()),
        (SmoothGrad(samples=9, batch_size=batch_size), SmoothGrad(samples=9)),
        (Occlusion(batch_size=batch_size), Occlusion()),
    ):
        sizes.clear()
        maps = small.explain(classifier, x, TARGETS)
        assert max(sizes) <= max(batch_size, len(x))
        torch.testing.assert_close(maps, usual.explain(classifier, x, TARGETS), rtol=1e-4, atol=1e-5)
    hook.remove()


def test_smoothgrad_is_the_mean_over_noisy_images() -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    batch = Batch(x, TARGETS, None, (3, 4, 5))
    maps = SmoothGrad(samples=4, noise=0.2).explain_batch(classifier, batch)
    for index, seed in enumerate(batch.seeds):
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(3, 32, 32)
        for _ in range(4):
            noise = torch.randn(3, 32, 32, generator=generator) * 0.2 * (x[index].max() - x[index].min())
            noisy = x.clone()
            noisy[index] += noise
            total += gradient_by_hand(classifier, noisy)[index]
        torch.testing.assert_close(maps[index], total.sum(dim=0) / 4, rtol=1e-4, atol=1e-6)
    still = SmoothGrad(samples=2, noise=0.0).explain(classifier, x, TARGETS)
    torch.testing.assert_close(still, gradient_by_hand(classifier, x).sum(dim=1), rtol=1e-4, atol=1e-6)


def test_occlusion_by_hand() -> None:
    """Windows of 8×8 pixels in steps of 4: each pixel gets the mean drop over the windows that cover it."""
    classifier, x = tiny_classifiers()["black box"], images()[:1]
    total, cover = torch.zeros(32, 32), torch.zeros(32, 32)
    with torch.no_grad():
        for top in range(0, 25, 4):
            for left in range(0, 25, 4):
                occluded = x.clone()
                occluded[:, :, top : top + 8, left : left + 8] = 0
                drop = (classifier(x) - classifier(occluded))[0, 2]
                total[top : top + 8, left : left + 8] += drop
                cover[top : top + 8, left : left + 8] += 1
    maps = Occlusion(window=1 / 4).explain(classifier, x, torch.tensor([2]))
    torch.testing.assert_close(maps[0], total / cover, rtol=1e-4, atol=1e-6)


def test_occlusion_of_a_size_that_no_window_divides() -> None:
    maps = Occlusion().explain(tiny_classifiers()["softcam"], torch.randn(1, 3, 37, 29), torch.tensor([0]))
    assert maps.shape == (1, 37, 29)
    assert maps.isfinite().all()


class PlainReLU(nn.Module):
    """Two layers whose guided gradient is known: w2·w1 where both ReLUs are open and the gradient is positive."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.one, self.relu = nn.Conv2d(3, 8, 1), relu
        self.two, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.two(self.relu(self.one(x)))))


def guided_by_hand(net: PlainReLU, x: Tensor, targets: Tensor, ceiling: float) -> Tensor:
    before_one = net.one(x)
    before_two = net.two(before_one.clamp(0, ceiling))
    n, _, h, w = x.shape
    gradient = (net.last.weight[targets] / (h * w)).expand(n, 8, h, w)
    for before, layer in ((before_two, net.two), (before_one, net.one)):
        is_open = (before > 0) & (before < ceiling)
        gradient = torch.einsum("oi,nohw->nihw", layer.weight[:, :, 0, 0], gradient.clamp(min=0) * is_open)
    return gradient.sum(dim=1)


@pytest.mark.parametrize(
    ("relu", "ceiling"), [(nn.ReLU(inplace=True), 1e9), (nn.ReLU(), 1e9), (nn.ReLU6(inplace=True), 6.0)]
)
def test_guided_backprop_by_hand(relu: nn.Module, ceiling: float) -> None:
    torch.manual_seed(1)
    net, x = PlainReLU(relu), 4 * images()
    classifier = Classifier(net, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3)
    maps = GuidedBackprop().explain(classifier, x, TARGETS)
    torch.testing.assert_close(maps, guided_by_hand(net, x, TARGETS, ceiling).detach())
    functional = Classifier(PlainReLU(F.relu), classifier.head, 3)
    functional.load_state_dict(classifier.state_dict())
    if ceiling > 6:
        torch.testing.assert_close(GuidedBackprop().explain(functional, x, TARGETS), maps)


def test_guided_backprop_equals_captum_where_captum_sees_every_relu() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    excite(model, torch.randn(4, 3, 64, 64))
    classifier, x = HEADS["blackbox"]().build(model.eval(), 3), torch.randn(3, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.attr.GuidedBackprop(classifier).attribute(x, TARGETS)
    ours = GuidedBackprop().explain(classifier, x, TARGETS)
    torch.testing.assert_close(ours, theirs.sum(dim=1), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ours, gradient_by_hand(classifier, x).sum(dim=1), atol=1e-3)


def test_guided_backprop_guides_relu6_of_mobilenet() -> None:
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None, width_mult=0.35)
    excite(model, torch.randn(4, 3, 64, 64))
    classifier, x = HEADS["blackbox"]().build(model.eval(), 3), torch.randn(3, 3, 64, 64)
    assert GuidedBackprop().applies_to(classifier) == ""
    ours = GuidedBackprop().explain(classifier, x, TARGETS)
    gradient = gradient_by_hand(classifier, x).sum(dim=1)
    assert torch.corrcoef(torch.stack([ours.flatten(), gradient.flatten()]))[0, 1] < 0.9


@pytest.mark.parametrize(("activation", "reason"), [(nn.SiLU(), "has SiLU"), (nn.Identity(), "no ReLU module")])
def test_guided_backprop_says_where_it_does_not_apply(activation: nn.Module, reason: str) -> None:
    classifier = Classifier(nn.Sequential(nn.Conv2d(3, 3, 1), activation), nn.Flatten(), 3)
    assert reason in GuidedBackprop().applies_to(classifier)


def test_no_warning_reaches_the_user() -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (Saliency, InputXGradient, IntegratedGradients, GuidedBackprop, SmoothGrad, Occlusion):
            method().explain(classifier, x, TARGETS)
