"""The cut of a classifier: features and head together are the model, whatever its class."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.models.eval_mode import evaluating
from bench.models.feature_extraction import split_classifier
from tests.support.tiny import TinyNet, small_convnext, small_vgg, tiny_net

LINEAR = ("resnet18", "densenet121", "mobilenet_v2", "shufflenet_v2_x0_5", "mnasnet0_5")
NOT_LINEAR = {"mobilenet_v3_small": "Hardswish", "small_vgg": "not averaged", "small_convnext": "LayerNorm"}


@pytest.mark.parametrize("name", [*LINEAR, *NOT_LINEAR])
def test_parts_compose_to_the_model(name: str) -> None:
    small = {"small_vgg": small_vgg, "small_convnext": small_convnext}
    model = small[name]() if name in small else getattr(torchvision.models, name)(weights=None)
    parts = split_classifier(model.eval())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = parts.features(images)
        assert features.ndim == 4
        assert torch.equal(parts.head(features), model(images))
    assert NOT_LINEAR.get(name, "") in parts.not_linear
    assert bool(parts.not_linear) == (name in NOT_LINEAR)


def test_weights_are_shared() -> None:
    model = tiny_net()
    parts = split_classifier(model)
    assert parts.classifying is model.fc
    assert {id(p) for p in model.parameters()} == {
        id(p) for part in (parts.features, parts.head) for p in part.parameters()
    }


class Pool(nn.Module):
    """A pooling without weights that is no part of PyTorch, as in timm."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))


class Custom(nn.Module):
    """Convolution, a way to the pooled features, and a linear layer."""

    def __init__(self, pool: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.pool = pool
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x)))


POOLS = {
    "module": (Pool(), True),
    "sequential": (nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()), True),
    "view": (lambda x: (y := F.adaptive_avg_pool2d(x, 1)).view(y.size(0), -1), True),
    "shape": (lambda x: (y := F.adaptive_avg_pool2d(x, output_size=(1, 1))).reshape(y.shape[0], 4), True),
    "torch.mean": (lambda x: torch.mean(x, dim=(2, 3)), True),
    "maximum": (nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), False),
    "one axis": (lambda x: x.mean(3).mean(2), True),
    "functional window": (lambda x: F.avg_pool2d(x, x.shape[2:]).flatten(1), True),
    "squared": (lambda x: x.mean((2, 3)) ** 2, False),
}


@pytest.mark.parametrize("name", POOLS)
def test_recognises_a_linear_head(name: str) -> None:
    pool, linear = POOLS[name]
    model = Custom(pool).eval()
    parts = split_classifier(model)
    images = torch.randn(3, 3, 8, 8)
    assert torch.equal(parts.head(parts.features(images)), model(images))
    assert (parts.not_linear == "") == linear, parts.not_linear


class FunctionalDropout(TinyNet):
    """Drops out in its own forward pass, by its own mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.relu(self.conv2(self.conv1(x))), 0.5, self.training)
        return self.fc(F.dropout(x.mean((2, 3)), 0.5, self.training))


def test_functional_dropout_never_stays_on() -> None:
    """A trace keeps the branches it took: cut in train mode, the parts must still be deterministic in eval mode."""
    model = FunctionalDropout().train()
    parts = split_classifier(model)
    assert parts.not_linear == ""
    assert model.training
    assert parts.features.training
    model.eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(parts.head.eval()(parts.features.eval()(images)), model(images))


def test_refusals_are_one_line() -> None:
    class NoPool(nn.Sequential):
        pass

    branching = Custom(lambda x: x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))
    for model, reason in (
        (torchvision.models.squeezenet1_1(weights=None), "no linear layer"),
        (NoPool(nn.Conv2d(3, 3, 1), nn.Linear(4, 4)), "NoPool cannot read a test image of 3×128×128 pixels"),
        (NoPool(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), "never pools"),
        (branching, "cannot be traced"),
    ):
        with pytest.raises(ValueError, match=reason) as caught:
            split_classifier(model)
        assert "\n" not in str(caught.value)


def test_a_classifier_is_measured() -> None:
    """Its head need not look like pooling and a linear layer to be that, nor be that to look like it."""
    features = nn.Conv2d(3, 4, 3)
    heads = {
        nn.Sequential(nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()): "",
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)): "ReLU",
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)): "BatchNorm1d",
    }
    for head, reason in heads.items():
        not_linear = split_classifier(Classifier(features, head, 2)).not_linear
        assert reason in not_linear
        assert bool(not_linear) == bool(reason)
    fixed = Classifier(features, nn.Sequential(nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), 2)
    assert split_classifier(fixed).trial.size == (32, 32), "the only size that it reads"
    with pytest.raises(ValueError, match="Classifier cannot read a test image of 3×50×50 pixels") as caught:
        split_classifier(fixed, image_size=50)
    assert "\n" not in str(caught.value)


def test_evaluating_restores_each_module() -> None:
    model = tiny_net().train()
    model.norm.eval()
    before = [part.training for part in model.modules()]
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == before
    with pytest.raises(ZeroDivisionError), evaluating(model):
        _ = 1 / 0
    assert [part.training for part in model.modules()] == before
