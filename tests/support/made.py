"""Data sets small enough to run the whole harness on in a second: bright squares, and dark ones, on noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import bench.training.loop
import run_benchmark
from bench.config import Config, parse_config
from bench.contracts import Sample
from bench.registry import ALL_REGISTRIES, dataset
from bench.run.plan import make_plan
from bench.run.runner import Outcome, RunOptions, run
from bench.seeds import generator

run_benchmark.register()  # the tiny config names heads, explainers and metrics

SIZE = 32
COUNTS = {"train": 16, "val": 8, "test": 8}


def squares(root: Path, split: str) -> list[Sample]:
    """Half of the images hold a bright 8×8 square, which is the lesion."""
    samples = []
    for index in range(COUNTS[split]):
        draw = generator("squares", split, index)
        image = torch.rand(3, SIZE, SIZE, generator=draw) * 0.5
        mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        if index % 2:
            row, column = torch.randint(0, SIZE - 8, (2,), generator=draw).tolist()
            mask[row : row + 8, column : column + 8] = True
            image[:, mask] = 0.9
        samples.append(Sample(image, index % 2, mask, f"{split}-{index}", f"{split}-{index // 2}"))
    return samples


def shapes(root: Path, split: str) -> list[Sample]:
    """Three classes: of three images one holds a bright 8×8 square and one a dark one, which are the lesions."""
    samples = []
    for index in range(COUNTS[split] * 3 // 2):
        draw = generator("shapes", split, index)
        image = torch.rand(3, SIZE, SIZE, generator=draw) * 0.5 + 0.25
        mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        if index % 3:
            row, column = torch.randint(0, SIZE - 8, (2,), generator=draw).tolist()
            mask[row : row + 8, column : column + 8] = True
            image[:, mask] = (0.95, 0.05)[index % 3 - 1]
        samples.append(Sample(image, index % 3, mask, f"{split}-{index}", f"{split}-{index // 2}"))
    return samples


def register_shapes() -> None:
    """Make the three classes known as ``shapes``."""
    facts: dict[str, Any] = {"masks": "pixel", "in_all": False}
    dataset("shapes", "other", ("plain", "bright", "dark"), source="made", licence="-", citation="-", **facts)(shapes)


def register_squares(name: str = "squares", **facts: Any) -> None:
    """Make the data set known under a name."""
    stated = {"masks": "pixel", "in_all": False} | facts
    dataset(name, "other", ("plain", "square"), source="made", licence="-", citation="-", **stated)(squares)


@contextmanager
def forgotten_afterwards() -> Iterator[None]:
    """Removes whatever is registered inside the ``with`` block."""
    known = [set(registry) for registry in ALL_REGISTRIES]
    try:
        yield
    finally:
        for registry, names in zip(ALL_REGISTRIES, known, strict=True):
            for name in set(registry) - names:
                registry.remove(name)


@contextmanager
def registered_squares() -> Iterator[None]:
    """Registers both data sets inside a ``with`` block; whatever else was registered there is removed afterwards."""
    with forgotten_afterwards():
        register_squares()
        register_shapes()
        yield


def tiny_config(**run_section: Any) -> Config:
    """Two cells, four explainers, one epoch."""
    section = {
        "datasets": ["squares"],
        "heads": ["blackbox", "softcam-sparse"],
        "explainers": ["softcam", "gradcam", "random", "mask_oracle"],
    }
    values = {
        "run": section | run_section,
        "data": {"size": SIZE},
        "training": {"epochs": 2, "batch_size": 8, "lr": 0.02, "augmentation": "light"},
        "explain": {"diseased": 4, "healthy": 2, "faithful": 2, "steps": 3, "batch_size": 4, "gallery": 2},
    }
    return parse_config(values, "tiny")


def run_tiny(out: Path, config: Config | None = None, problems: list[str] | None = None, **options: Any) -> Outcome:
    """Run a config on the CPU without a terminal."""
    config = config or tiny_config()
    return run(config, make_plan(config, out), options_of(out, **options), Console(quiet=True), problems or [])


def options_of(out: Path, **options: Any) -> RunOptions:
    """The options of a run on the CPU."""
    return RunOptions(**{"root": out, "out": out, "device": torch.device("cpu"), "precision": "float32"} | options)


@contextmanager
def stopped_in_second_epoch() -> Iterator[None]:
    """Ctrl-C arrives in the second epoch of the first training inside the ``with`` block."""
    real, calls = bench.training.loop.validate, []

    def stop(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bench.training.loop, "validate", stop)
        yield
