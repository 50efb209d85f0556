"""What an explanation costs: forward and backward passes through the network, seconds and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.devices import PeakMemory


@dataclass
class Cost:
    """Totals over the images explained so far; passes count images, not batches."""

    images: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    memory_mib: float = float("nan")

    def __add__(self, other: Cost) -> Cost:
        """Of both together; fmax: an unmeasurable peak (nan) must not hide a measured one."""
        return Cost(
            self.images + other.images,
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.seconds + other.seconds,
            float(np.fmax(self.memory_mib, other.memory_mib)),
        )

    def per_map(self) -> dict[str, float]:
        """Metric name -> mean cost of one map (memory: the highest of all batches)."""
        count = max(self.images, 1)
        return {
            "forwards_per_map": self.forwards / count,
            "backwards_per_map": self.backwards / count,
            "seconds_per_map": self.seconds / count,
            "peak_memory_mib": self.memory_mib,
        }


@dataclass
class CostMeter:
    """Counts the passes through the feature extractor of a classifier inside ``with meter:``."""

    classifier: Classifier
    device: torch.device
    cost: Cost = field(default_factory=Cost)

    def __enter__(self) -> CostMeter:
        self._hook = self.classifier.features.register_forward_hook(self._count)
        self._memory = PeakMemory(self.device)
        self._memory.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.cost.seconds += time.perf_counter() - self._started
        self._memory.__exit__()
        self.cost.memory_mib = float(np.fmax(self.cost.memory_mib, self._memory.mebibytes))
        self._hook.remove()

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.cost.forwards += len(output)
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.cost.backwards += len(gradient)
