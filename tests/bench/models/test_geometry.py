"""Geometry of feature maps: known values, arithmetic against measurement, planted networks, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import baselines  # noqa: F401 (registers backbones)
from baselines.bcos import CompactBcos
from bench.contracts import Classifier
from bench.maps import upsample
from bench.metrics import pointing_game
from bench.models.feature_extraction import split_classifier
from bench.models.geometry import Geometry, Local, compute_geometry, geometry_of, measure_geometry, plant
from bench.registry import BACKBONES

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
        return split_classifier(BACKBONES[name].build(False)[0]).features


@cache
def planted(name: str) -> nn.Module:
    """Features whose layers average; they are not initialised, for that takes longer than all tests."""
    try:
        features = on_meta(name).to_empty(device="cpu")
    except NotImplementedError:  # RegNet computes with tensors as it is built
        features = split_classifier(BACKBONES[name].build(False)[0]).features
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
        features = split_classifier(BACKBONES[name].build(False)[0]).features.eval()
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


# --- Arithmetic of layers, against the extent of a Jacobian ----------------------------------------------------------


class Net(nn.Module):
    """Images -> feature map, by a function of the modules."""

    def __init__(self, forward: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleList(parts), forward

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images, *self.parts)


def conv(*arguments: int, **options: int | str) -> nn.Conv2d:
    return nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]


def chain(*parts: nn.Module) -> Net:
    return Net(lambda x, body: body(x), nn.Sequential(*parts))


def squeeze_excite(x: Tensor, first: nn.Module, gate: nn.Module, last: nn.Module) -> Tensor:
    x = first(x)
    return last(x * gate(x.mean((2, 3), keepdim=True)).sigmoid() + 0 * F.adaptive_avg_pool2d(x, 1))


def shuffle(x: Tensor, first: nn.Module, last: nn.Module) -> Tensor:
    one, other = first(x).chunk(2, dim=1)
    x = torch.cat([one, F.gelu(other)], dim=1)
    x = x.view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
    return last(x.permute(0, 2, 3, 1).add(1).permute(0, 3, 1, 2))


def same_as_tensorflow(x: Tensor, first: nn.Module, last: nn.Module) -> Tensor:
    for layer in (first, last):
        over = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in x.shape[2:]]
        x = layer(F.pad(x, (over[1] // 2, over[1] - over[1] // 2, over[0] // 2, over[0] - over[0] // 2)))
    return x


NETS: dict[str, Callable[[], Net]] = {
    "convolution": lambda: chain(conv(3, 4, 5, stride=3, padding=1)),
    "rectangular": lambda: chain(nn.Conv2d(3, 4, (3, 5), (2, 1), (0, 2), (2, 1)), nn.BatchNorm2d(4), nn.SiLU()),
    "one-sided padding": lambda: chain(nn.ZeroPad2d((0, 3, 2, 1)), conv(3, 4, 4, stride=2), nn.ReplicationPad2d(1)),
    "same": lambda: chain(conv(3, 4, 4, padding="same"), conv(4, 4, 3, stride=2, padding=1)),
    "dilation": lambda: chain(conv(3, 4, 3, dilation=3, padding=1, groups=1), conv(4, 4, 2)),
    "poolings": lambda: chain(nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True), conv(3, 4, 3)),
    "slices": lambda: Net(lambda x, one: one(x[:, :, 1::2, 3:-2])[..., 1:], conv(3, 4, 3)),
    "residual": lambda: Net(lambda x, one, two: F.relu_(one(x).add_(two(x))), conv(3, 4, 3, 2, 1), conv(3, 4, 1, 2)),
    "concatenation": lambda: Net(
        lambda x, one, two: torch.cat([one(x), two(x)], 1), conv(3, 2, 5, 1, 2), conv(3, 2, 1)
    ),
    "gate": lambda: Net(squeeze_excite, conv(3, 4, 3, 2, 1), conv(4, 4, 1), conv(4, 4, 3, 2, 1)),
    "shuffled channels": lambda: Net(shuffle, conv(3, 4, 3, 2, 1), conv(4, 4, 3, 2, 1)),
    "padded by size": lambda: Net(same_as_tensorflow, conv(3, 4, 3, 2), conv(4, 4, 3, 2)),
}


def seen_by(net: nn.Module, size: tuple[int, int], cell: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last pixel, by axis, that change a cell, less what changes all cells alike."""
    image = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    features = net.double().eval()(image)
    (gradient,) = torch.autograd.grad(features[0, :, *cell].abs().sum(), image)
    seen = gradient[0].abs().sum(dim=0) > 0.02 * gradient.abs().max()
    places = [seen.any(dim=1 - axis).nonzero().flatten() for axis in (0, 1)]
    return [(int(one[0]), int(one[-1])) for one in places]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("size", [(41, 38), (36, 43)])
@pytest.mark.parametrize("name", NETS)
def test_arithmetic_is_the_extent_of_the_jacobian(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    for weight in net.parameters():
        nn.init.constant_(weight, 0.1)  # positive, so that no path cancels another
    geometry = compute_geometry(net, size)
    assert geometry is not None
    if "pool" in name:
        net.parts[0][1] = nn.AvgPool2d(2, ceil_mode=True)  # of the pixels of a maximum, a gradient shows one
    for cell in ((3, 3), (4, 5)):
        for axis, (first, last) in enumerate(seen_by(net, size, cell)):
            assert geometry.centre(*cell)[axis] == (first + last + 1) / 2
            assert geometry.receptive_field[axis] == last - first + 1


def test_padding_may_depend_on_the_size() -> None:
    net = NETS["padded by size"]()
    assert compute_geometry(net, (64, 65)) == Geometry((3.5, 0.5), (4, 4), (7, 7))
    measured = measure_geometry(net, (64, 65))
    assert measured is not None
    assert measured.start == pytest.approx((3.5, 0.5), abs=0.05)


# --- What is measured, and what is refused ---------------------------------------------------------------------------


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


def test_paths_that_lie_apart_are_measured() -> None:
    """Two paths of equal weight, whose cells are 4 pixels apart."""
    net = Net(lambda x, one, two: one(x)[:, :, 1:, :] + two(x)[:, :, :-1, :], conv(3, 4, 4, 4), conv(3, 4, 4, 4))
    assert compute_geometry(net, (64, 64)) is None
    measured = geometry_of(net, (64, 64))
    assert measured is not None
    assert measured.start == pytest.approx((4, 2), abs=0.01)
    assert measured.stride == pytest.approx((4, 4), abs=0.01)
    assert measured.receptive_field == (8, 4)


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
