"""Bound on the speed-up of occluded images that reuse activations of the intact image.

    python docs/measurements/incremental.py

A mask of the removed patches passes through the network with every weight replaced by a positive one. Positions above 0
after a layer are the ones that the patches reach. The fraction of multiply-adds at these positions bounds the savings
of any exact reuse.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import run_benchmark
from bench.maps import upsample
from bench.metrics import patch_at, patch_order
from bench.registry import BACKBONES

SETTINGS = (("compact", 112), ("resnet18", 224), ("resnet50", 224))
REMOVED = (1, 2, 5, 10, 15, 20, 30)
IMAGES, BATCH = 4, 16


def orders(kind: str, size: int) -> Tensor:
    """Ranks the patches (N,P) of maps without structure, or of maps of 7×7 cells like class activation maps."""
    generator = torch.Generator().manual_seed(0)
    cells = size if kind == "scattered" else 7
    return patch_order(upsample(torch.randn(IMAGES, cells, cells, generator=generator), size), patch_at(size))


def patch_mask(order: Tensor, size: int, start: int, stop: int) -> Tensor:
    """Returns (N,3,H,W): 1 in the patches at places ``start`` to ``stop`` of the order (N,P), otherwise 0."""
    patch = patch_at(size)
    side = -(-size // patch)
    grid = torch.zeros(len(order), side * side).scatter_(1, order[:, start:stop], 1.0).view(-1, 1, side, side)
    pixels = grid.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)[..., :size, :size]
    return pixels.expand(-1, 3, -1, -1)


@contextmanager
def reaching(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """Makes layers pass on the positions that they reach; yields stage -> [reached multiply-adds, all of them]."""
    counts: dict[str, list[float]] = {}
    hooks = []
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            hooks.append(part.register_forward_hook(lambda part, inputs, output: inputs[0]))
        elif isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)
            part.bias = None
            hooks.append(part.register_forward_hook(_count(counts.setdefault(_stage(name), [0.0, 0.0]))))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _stage(name: str) -> str:
    parts = name.split(".")
    return parts[0] if parts[0] != "stages" else ".".join(parts[:2])


def _count(totals: list[float]) -> Callable[[nn.Conv2d, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        reached = (output[:, :1] > 0).float()
        at_one_position = layer.weight.numel()
        totals[0] += at_one_position * reached.sum().item()
        totals[1] += at_one_position * reached.numel()
        return (output > 0).float()

    return hook


def shares(network: nn.Module, mask: Tensor) -> dict[str, float]:
    """Computes the fraction of multiply-adds that a mask (N,3,H,W) reaches, per stage and in total (``all``)."""
    with reaching(network) as counts, torch.no_grad():
        network(mask)
    total = np.sum(list(counts.values()), axis=0)
    return {stage: reached / every for stage, (reached, every) in counts.items()} | {"all": total[0] / total[1]}


def windowed_speed(size: int = 224, repeats: int = 7) -> tuple[float, float]:
    """Times ResNet-18's stem and first stage on the window of one patch and its margin.

    The margin covers the receptive field of the stage's outputs on either side, in whole output cells.

    Returns:
        The window's fraction of the pixels, and of the time.
    """
    network = BACKBONES["resnet18"].build(False)[0].eval()
    first = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, network.layer1)
    first = first.to(memory_format=torch.channels_last)
    reach = 43 // 2  # half the receptive field of layer1
    side = -(-(patch_at(size) + 4 * reach) // 4) * 4  # outputs that change, and the inputs that they read
    inputs = {part: _images(part) for part in (size, side)}
    seconds: dict[int, list[float]] = {size: [], side: []}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for part, images in inputs.items():
                started = time.perf_counter()
                first(images)
                seconds[part].append(time.perf_counter() - started)
    return (side / size) ** 2, float(np.median(np.array(seconds[side][1:]) / np.array(seconds[size][1:])))


def _images(side: int) -> Tensor:
    return torch.randn(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Prints the fractions and the bounds that follow."""
    run_benchmark.register()
    for name, size in SETTINGS:
        network = BACKBONES[name].build(False)[0].eval()
        for kind in ("scattered", "blobs"):
            order = orders(kind, size)
            rows = {str(count): shares(network, patch_mask(order, size, 0, count)) for count in REMOVED}
            rows["16th alone"] = shares(network, patch_mask(order, size, 15, 16))
            stages = list(rows["1"])
            print(f"\n{name}, {size} px, patches of {patch_at(size)} px, {kind}\n")
            print(f"| removed patches | {' | '.join(stages)} |\n" + "|---" * (len(stages) + 1) + "|")
            for label, row in rows.items():
                print(f"| {label} | " + " | ".join(f"{row[stage]:.1%}" for stage in stages) + " |")
            known = [rows[str(count)]["all"] for count in REMOVED]
            curve = np.interp(np.arange(1, REMOVED[-1] + 1), REMOVED, known).mean()
            print(f"\nfrom the intact image, mean over 30 steps: {curve:.1%}, at most {1 / curve:.2f} times as fast")
            print(f"from the step before: at most {1 / rows['16th alone']['all']:.2f} times as fast")
    pixels, spent = windowed_speed()
    print(f"\nresnet18 to its first stage, window of one patch: {pixels:.1%} of the pixels, {spent:.1%} of the time")


if __name__ == "__main__":
    main()
