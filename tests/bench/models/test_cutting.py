"""Cuts of networks that mislead: parts give the model's logits and keep its weights, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import softcam
from bench.contracts import UserError
from bench.models.feature_extraction import split_classifier
from bench.registry import HEADS
from tests.support.tiny import Net, assert_exact, excite

# --- The last linear layer ------------------------------------------------------------------------------------------


class Auxiliary(Net):
    """Linear layers that eval mode never calls, registered before and after the classifier."""

    def __init__(self, place: str) -> None:
        super().__init__()
        if place == "inside":
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.pool.head = nn.Linear(8, 5)
            self.pool.forward = lambda x: x.mean((2, 3))
        elif place == "nested":
            self.extra = nn.ModuleDict({"projection": nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))})
        else:
            self.extra = nn.Linear(8, 2, bias=False)


class CalledFirst(Net):
    """A gate from a linear layer that is registered last and called before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.fc((x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]).mean((2, 3)))


@pytest.mark.parametrize("make", [lambda: Auxiliary("inside"), lambda: Auxiliary("nested"), lambda: Auxiliary("last")])
def test_a_layer_that_is_never_called_is_not_the_classifier(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    assert split_classifier(model).classifying is model.fc
    assert_exact(model, torch.randn(3, 3, 64, 64))
    assert HEADS["blackbox"]().build(model, 4)(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_an_attention_over_channels_is_part_of_the_features() -> None:
    torch.manual_seed(0)
    model = CalledFirst().eval()
    parts = split_classifier(model)
    assert parts.classifying is model.fc
    weights = sum(weight.numel() for weight in model.parameters())
    assert parts.weights == (weights - 18, weights)
    assert_exact(model, torch.randn(3, 3, 64, 64))


# --- Layers that look plain -----------------------------------------------------------------------------------------


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


class Clipped(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(-50, 50)


class Written(nn.Linear):
    """A forward pass of its own, and the same values."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class Maximum(nn.AdaptiveAvgPool2d):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3), keepdim=True)


class Doubling(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def hooked(place: str, hook: Callable[..., object]) -> nn.Module:
    model = Net()
    part = model.get_submodule(place) if place else model
    part.register_forward_hook(hook)
    return model


def double(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return 2 * output


IMPOSTORS = {
    "cosine": (lambda: Net(fc=Cosine(8, 2)), "Cosine 'fc'"),
    "clipped": (lambda: Net(fc=Clipped(8, 2)), "Clipped 'fc'"),
    "maximum": (lambda: Net(Maximum(1)), "Maximum 'pool'"),
    "hook on the classifier": (lambda: hooked("fc", double), "Linear 'fc'.*forward hooks"),
    "hook on the pooling": (lambda: hooked("pool", double), "AdaptiveAvgPool2d 'pool'.*forward hooks"),
    "hook that only looks": (lambda: hooked("fc", lambda *_: None), "Linear 'fc'.*forward hooks"),
    "hook on the model": (lambda: hooked("", double), "Net has forward hooks"),
    "spectral norm": (lambda: Net(fc=nn.utils.parametrizations.spectral_norm(nn.Linear(8, 2))), "parametrized"),
    "sigmoid": (lambda: Net(fc=nn.Sequential(nn.Linear(8, 2), nn.Sigmoid())), "Sigmoid 'fc.1'"),
    "two layers": (lambda: Net(fc=nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))), "2 linear layers"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_layers_that_only_look_plain_are_not_converted(name: str) -> None:
    make, reason = IMPOSTORS[name]
    with pytest.raises(ValueError, match=reason) as caught:
        softcam.convert(make().eval())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cosine", "clipped", "hook on the classifier", "sigmoid", "hook on the model"])
def test_a_black_box_replaces_plain_last_layers_only(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be replaced|has forward hooks"):
        HEADS["blackbox"]().build(IMPOSTORS[name][0]().eval(), 3)


def test_subclasses_that_compute_the_same_are_converted() -> None:
    torch.manual_seed(0)
    assert_exact(Net(fc=Written(8, 2)), torch.randn(2, 3, 64, 64))
    doubled = Net(nn.Sequential(Doubling(), nn.AdaptiveAvgPool2d(1)))
    assert_exact(doubled, torch.randn(2, 3, 64, 64))  # the map that is averaged is the doubled one
    model = Net()
    model.body.register_forward_hook(double)  # part of the features, which keep it
    assert_exact(model, torch.randn(2, 3, 64, 64))


# --- The last feature map -------------------------------------------------------------------------------------------


class Standardising(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-5)
        return super().forward(x)


class Mixed(Net):
    """The last map and a pooled earlier one, so that no map carries all that the logits depend on."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)) + self.body[0](x).mean((2, 3)))


class Behind(Net):
    """Convolutions behind a branch: the last common map is an early one."""

    def __init__(self) -> None:
        super().__init__(fc=nn.Linear(16, 2))
        self.one, self.other = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.fc(torch.cat([self.one(x).relu().mean((2, 3)), self.other(x).relu().mean((2, 3))], 1))


class LastAxis(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).permute(0, 2, 3, 1).mean((1, 2)))


def small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


class Gem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class Whole(nn.Module):
    """A backbone with its pooling inside, under one name."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder, self.head = backbone, nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


def without_classifier(name: str) -> nn.Module:
    return nn.Sequential(*list(getattr(torchvision.models, name)(weights=None).children())[:-1])


EXACT = {
    "standardised images": lambda: Standardising(),
    "channels last": lambda: LastAxis(),
    "window": lambda: Net(nn.AvgPool2d(28)),
    "resnet without fc": lambda: Whole(without_classifier("resnet18"), 512),
    "nested": lambda: nn.Sequential(Whole(nn.Sequential(Net().body, nn.AdaptiveAvgPool2d(1)), 8)),
    "subclass of Sequential": lambda: type("Mine", (nn.Sequential,), {})(
        Net().body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_pooling_is_found_where_it_hides(name: str) -> None:
    torch.manual_seed(0)
    model = EXACT[name]()
    if name.startswith("resnet"):
        excite(model, torch.randn(4, 3, 64, 64))
    assert_exact(model.eval(), torch.randn(2, 3, 224, 224))
    fresh = softcam.SoftCAM.from_classifier(model, 2, image_size=224).eval()
    assert min(fresh.forward_evidence(torch.randn(1, 3, 224, 224)).shape[2:]) >= 7
    assert "weights" in repr(fresh)


def test_a_window_averages_one_grid_only() -> None:
    converted = softcam.convert(Net(nn.AvgPool2d(28)).eval())
    with pytest.raises(UserError, match="29×28 cells, but the network averages exactly 28×28"):
        converted(torch.randn(1, 3, 232, 224))
    assert softcam.SoftCAM.from_classifier(Net(nn.AvgPool2d(28)), 2)(torch.randn(1, 3, 232, 224)).shape == (1, 2)
    with pytest.raises(ValueError, match="'pool'"):
        softcam.convert(Net(nn.AvgPool2d(28)).eval(), image_size=232)  # a corner of the map, not all of it


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Mixed(), "Mixed never pools"),
        (lambda: Behind(), r"keeps 808 of its 2,010 weights; Conv2d 'one' behind it"),
        (lambda: small_vit(), r"keeps 3,088 of its [\d,]+ weights; .*'encoder'"),
    ],
)
def test_a_cut_that_drops_weights_of_the_backbone_is_refused(make: Callable[[], nn.Module], reason: str) -> None:
    for build in (softcam.convert, lambda model: softcam.SoftCAM.from_classifier(model, 2)):
        with pytest.raises(ValueError, match=reason) as caught:
            build(make().eval())
        assert "\n" not in str(caught.value)
        assert "bench.Classifier" in str(caught.value)


def test_other_poolings_are_refused_by_name_and_trained_on_their_map() -> None:
    model = Net(Gem()).eval()
    with pytest.raises(ValueError, match="Gem 'pool'"):
        softcam.convert(model)
    assert softcam.SoftCAM.from_classifier(model, 2).forward_evidence(torch.rand(1, 3, 64, 64)).shape == (1, 2, 8, 8)
