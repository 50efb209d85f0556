"""Geometry of feature maps: known values, arithmetic against measurement, planted networks, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import baselines  # noqa: F401 (registers backbones)
from baselines.bcos import CompactBcos
from bench.contracts import Classifier
from bench.maps import upsample
from bench.metrics import pointing_game
from bench.models.feature_extraction import split_classifier
from bench.models.geometry import Geometry, Local, compute_geometry, geometry_of, measure_geometry, plant
from bench.registry import BACKBONES
from tests.support.tiny import unpretrained

#: No one centre follows from its layers: at every block, an unpadded path and a cropped shortcut meet.
MEASURED_ONLY = ("bagnet33",)
#: Backbone -> centre of its first cell, stride and receptive field at 224 pixels; a pixel's centre is at p + ½.
KNOWN = {
    "compact": (0.5, 8, 71),
    "resnet18": (0.5, 32, 435),
    "resnet50": (0.5, 32, 427),
    "efficientnet_b0": (0.5, 32, 851),
    "efficientnet_lite0": (31.5, 32, 851),  # pads after the image only, as TensorFlow does
    "densenet121": (14.5, 32, 2071),
    "vgg16": (16, 32, 212),
    "bagnet_compact_9": (0.5, 8, 9),
}
#: Pixels from the centre of the map's middle cell to where the convention (i + ½)·H/h draws it.
BESIDE = {"compact": 3.5, "resnet50": 15.5, "efficientnet_b0": 15.5, "densenet121": 1.5, "vgg16": 0}


def square(start: float, stride: float, field: float) -> Geometry:
    return Geometry((start, start), (stride, stride), (field, field))


def on_meta(name: str) -> nn.Module:
    """Features without weights, whose layers can be counted but not run."""
    with torch.device("meta"):
        return split_classifier(unpretrained(name)).features


@cache
def planted(name: str) -> nn.Module:
    """Features whose layers average; they are not initialised, for that takes longer than all tests."""
    try:
        features = on_meta(name).to_empty(device="cpu")
    except NotImplementedError:  # RegNet computes with tensors as it is built
        features = split_classifier(unpretrained(name)).features
    plant(features, 0.002)
    for place, buffer in features.named_buffers():
        buffer.fill_(int(place.endswith("running_var")))
    return features.eval()


def assert_agree(computed: Geometry | None, measured: Geometry | None) -> None:
    """To a quarter of a pixel or 1 % of a stride; extents that exceed the image are lower bounds."""
    assert computed is not None
    assert measured is not None
    for axis in (0, 1):
        stride = computed.stride[axis]
        assert measured.start[axis] == pytest.approx(computed.start[axis], abs=max(0.25, 0.01 * stride))
        assert measured.stride[axis] == pytest.approx(stride, abs=max(0.25, 0.01 * stride))
        assert measured.receptive_field[axis] <= computed.receptive_field[axis] + 0.01 * stride


# --- Registered backbones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name: str) -> None:
    features = on_meta(name)
    assert compute_geometry(features, (224, 224)) == square(*KNOWN[name])
    if name in BESIDE:
        geometry = square(*KNOWN[name])
        grid = 224 // int(geometry.stride[0])
        assert geometry.beside_convention((grid, grid), (224, 224)) == (BESIDE[name], BESIDE[name])


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in MEASURED_ONLY])
def test_arithmetic_and_measurement_agree(name: str) -> None:
    size = (64, 48) if "compact" in name else (32, 32)
    assert_agree(compute_geometry(planted(name), size), measure_geometry(planted(name), size))


@pytest.mark.parametrize("name", MEASURED_ONLY)
def test_what_has_no_one_centre_is_measured(name: str) -> None:
    """Between the shortcuts alone, (½ + 1), and the convolutions alone, 16.5, both of which count alike."""
    assert compute_geometry(planted(name), (64, 64)) is None
    measured = geometry_of(planted(name), (64, 64))
    assert measured is not None
    assert measured.start == pytest.approx((9, 9), abs=0.01)
    assert measured.stride == pytest.approx((8, 8), abs=0.01)
    assert measured.receptive_field == (33, 33)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_blob_where_a_cell_looks_is_found_there(name: str) -> None:
    """The pointing game is 1 if cells are drawn where they look; by the convention, ResNet misses every blob."""
    features = planted(name)
    geometry = geometry_of(features, (64, 64))
    assert geometry is not None
    stride = round(geometry.stride[0])
    rows = columns = 96 if stride == 32 else 72
    y, x = (round(one - 0.5) for one in geometry.centre(*((1, 1) if stride == 32 else (2, 3))))
    side = stride // 4
    lesion = (slice(y - side, y + side + 1), slice(x - side, x + side + 1))
    images, masks = torch.zeros(2, 3, rows, columns), torch.zeros(1, rows, columns, dtype=torch.bool)
    images[1, :, *lesion], masks[0, *lesion] = 1, True
    with torch.no_grad(), Local():
        blank, seen = features(images).mean(dim=1)
    found = (seen - blank).abs()[None]
    assert pointing_game(upsample(found, (rows, columns), geometry), masks).item() == 1
    if name.startswith("resnet"):
        assert pointing_game(upsample(found, (rows, columns)), masks).item() == 0


@pytest.mark.parametrize(("name", "side"), [("compact", 96), ("bagnet_compact_17", 64), ("bcos_compact", 96)])
def test_random_weights_look_at_the_cells_centre(name: str, side: int) -> None:
    """|gradient| of a cell that is far from the middle of the image, over networks as they are before training."""
    geometry = compute_geometry(planted(name), (side, side))
    assert geometry is not None
    row, column = side // 8 // 2 - 1, side // 8 // 2 + 1
    total = torch.zeros(side, side)
    for seed in range(8):
        torch.manual_seed(seed)
        features = split_classifier(unpretrained(name)).features.eval()
        images = torch.rand(2, 3, side, side, requires_grad=True)
        (gradient,) = torch.autograd.grad(features(images).mean(dim=1)[:, row, column].sum(), images)
        total += (gradient / gradient.norm()).square().sum(dim=(0, 1))
    places = torch.arange(side) + 0.5
    centroid = [float((total.sum(dim=1 - axis) * places).sum() / total.sum()) for axis in (0, 1)]
    assert centroid == pytest.approx(geometry.centre(row, column), abs=1.5), "the convention is 3.5 pixels off"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_may_have_gradients_off(mode: Callable[[], AbstractContextManager[None]]) -> None:
    with mode():
        assert_agree(compute_geometry(planted("compact"), (40, 48)), measure_geometry(planted("compact"), (40, 48)))


class Mixer(nn.Module):
    """Every cell is a mixture of all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 4, 8, 8), nn.Linear(64, 64)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.patches(images).flatten(2)).unflatten(2, (8, 8))


def test_unknown_is_none() -> None:
    mixer = Mixer()
    assert geometry_of(mixer, (64, 64)) is None
    assert geometry_of(mixer, (40, 40)) is None, "it cannot even run"
    assert geometry_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)), (64, 64)) is None


def test_the_classifier_stays_as_it_was() -> None:
    features = CompactBcos(widths=(4, 6, 8)).stages
    classifier = Classifier(features, nn.Flatten(), 2).train()
    features[2].eval()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    state = torch.get_rng_state()
    assert compute_geometry(classifier, (48, 40)) == square(0.5, 8, 71)
    assert_agree(compute_geometry(classifier, (48, 40)), measure_geometry(classifier, (48, 40)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())
    assert classifier.training
    assert not features[2].training


@pytest.mark.parametrize(
    ("name", "arguments", "start", "stride"),
    [
        ("vit_tiny_patch16_224", {"depth": 2, "dynamic_img_size": True}, 8, 16),
        ("vit_medium_patch16_gap_256", {"depth": 2, "embed_dim": 64, "num_heads": 4, "dynamic_img_size": True}, 8, 16),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 2, 1), "embed_dim": 24, "dynamic_img_size": True}, 16, 32),
        ("mambaout_femto", {"depths": (1, 1, 1, 1)}, 0.5, 32),
        ("resnet10t", {}, None, 32),  # average pooling in the shortcut, a padded convolution beside it
    ],
)
def test_timm_models_that_are_measured(
    name: str, arguments: dict[str, object], start: float | None, stride: float
) -> None:
    timm = pytest.importorskip("timm")
    parts = split_classifier(timm.create_model(name, num_classes=5, **arguments))
    classifier = parts.classifier(5)
    assert compute_geometry(classifier, (64, 96)) is None
    geometry = geometry_of(classifier, (64, 96))
    assert geometry is not None
    assert geometry.stride == pytest.approx((stride, stride), rel=0.01)
    if start is None:
        assert 0.5 < geometry.start[0] < 16
    else:
        assert geometry.start == pytest.approx((start, start), abs=0.01 * stride)


@pytest.mark.parametrize(
    "name", ["resnetv2_18", "regnetx_002", "test_efficientnet", "mobilenetv3_small_050", "convnext_atto"]
)
def test_timm_models_that_are_computed(name: str) -> None:
    timm = pytest.importorskip("timm")
    features = split_classifier(timm.create_model(name, num_classes=5)).features
    assert_agree(compute_geometry(features, (64, 96)), measure_geometry(features, (64, 96)))
