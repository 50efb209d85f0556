"""Scores, maps and cost of one explainer on a set of images.

Results add up, so that a cell can be scored in parts that fit into memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.memory import PeakMemory


@dataclass
class Cost:
    """Cost of explaining: totals over the images explained so far; passes count images, not batches.

    Attributes:
        images: number of maps.
        forwards: forward passes.
        backwards: backward passes.
        seconds: wall-clock time.
        memory_mib: peak memory of any batch in MiB; nan if it cannot be measured.
    """

    images: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    memory_mib: float = float("nan")

    def __add__(self, other: Cost) -> Cost:
        """Sum of two costs; the peak is the larger one, and nan counts as unknown."""
        return Cost(
            self.images + other.images,
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.seconds + other.seconds,
            float(np.fmax(self.memory_mib, other.memory_mib)),
        )

    def per_map(self) -> dict[str, float]:
        """Returns metric name -> mean cost of one map (for memory: the peak of all batches)."""
        count = max(self.images, 1)
        return {
            "forwards_per_map": self.forwards / count,
            "backwards_per_map": self.backwards / count,
            "seconds_per_map": self.seconds / count,
            "peak_memory_mib": self.memory_mib,
        }


@dataclass
class CostMeter:
    """Measures time, memory and passes through a classifier's feature extractor inside ``with meter:``."""

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
            output.register_hook(self._count_backward)  # type: ignore[no-untyped-call]  # untyped in torch

    def _count_backward(self, gradient: Tensor) -> None:
        self.cost.backwards += len(gradient)


@dataclass
class ExplainerResult:
    """Scores, kept maps and cost of one explainer.

    Attributes:
        frames: long rows with the columns ``bench.store.scores.SCORE_COLUMNS``, without the rows of the cost.
        maps: position among the explained images -> raw map (h,w), for the images whose maps are kept.
        bad_maps: ids of images whose map holds NaN or infinite values; their scores are nan.
        problems: metric -> reason why it failed on these maps.
        cost: cost of the maps.
        kinds: (metric, variant) of all rows.
        left: changes that the explainer or a metric left behind and that were put back.
    """

    frames: list[pd.DataFrame] = field(default_factory=list)
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    bad_maps: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    kinds: set[tuple[str, str]] = field(default_factory=set)
    left: list[str] = field(default_factory=list)

    def add(self, other: ExplainerResult) -> None:
        """Adds the result of the same explainer on further images; a metric that failed on any of them has failed."""
        self.frames += other.frames
        self.maps |= other.maps
        self.bad_maps += other.bad_maps
        self.problems = other.problems | self.problems
        self.cost += other.cost
        self.kinds |= other.kinds
        self.left += [one for one in other.left if one not in self.left]

    @property
    def notes(self) -> list[str]:
        """One line per problem that a reader of the scores must know."""
        lines = [f"metric {metric} failed: {why}" for metric, why in self.problems.items()]
        if self.bad_maps:
            lines.append(f"{len(self.bad_maps)} maps hold NaN or infinite values, first: {self.bad_maps[0]}")
        if self.left:
            lines.append(f"left behind and put back: {', '.join(self.left)}")
        return lines

    @property
    def rows(self) -> pd.DataFrame:
        """All rows in one frame; the rows of the cost come last and belong to no image."""
        return pd.concat([*self.frames, self.cost_rows], ignore_index=True)

    @property
    def cost_rows(self) -> pd.DataFrame:
        """Rows of the cost, one per measure."""
        about = {"image": "", "group": "", "label": -1, "predicted": -1, "target": -1, "diseased": False}
        cost = self.cost.per_map()
        return pd.DataFrame([about | {"metric": name, "variant": "", "step": -1, "value": cost[name]} for name in cost])
