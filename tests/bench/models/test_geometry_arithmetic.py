"""Geometry by the arithmetic of layers, against the extent of a Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.geometry import Geometry, compute_geometry, geometry_of, measure_geometry


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


def test_paths_that_lie_apart_are_measured() -> None:
    """Two paths of equal weight, whose cells are 4 pixels apart."""
    net = Net(lambda x, one, two: one(x)[:, :, 1:, :] + two(x)[:, :, :-1, :], conv(3, 4, 4, 4), conv(3, 4, 4, 4))
    assert compute_geometry(net, (64, 64)) is None
    measured = geometry_of(net, (64, 64))
    assert measured is not None
    assert measured.start == pytest.approx((4, 2), abs=0.01)
    assert measured.stride == pytest.approx((4, 4), abs=0.01)
    assert measured.receptive_field == (8, 4)
