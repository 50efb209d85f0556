"""Speed targets of the project, as ratios within one run.

A ratio between two tasks of the same run holds on every machine; seconds would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.commands.speed import explainers, forward, occlusion, training
from bench.commands.speed.scene import CLASSES, Scene
from bench.commands.speed.timing import multiples
from bench.statistics.intervals import Floats

FORWARD = f"{forward.GROUP}: float32"


@dataclass(frozen=True)
class Target:
    """Bound on the cost or speed of a task, relative to ``factor`` times another task.

    Attributes:
        task: name of the task.
        against: name of the task that it is compared with.
        bound: largest cost, or smallest speed.
        factor: number of times that ``against`` has to run for the same amount of work.
        words: description of ``factor`` times ``against``.
        is_speed: whether the bound is on speed (1 / cost).
    """

    task: str
    against: str
    bound: float
    factor: float
    words: str
    is_speed: bool = True

    def ratio(self, seconds: Mapping[str, Floats]) -> float:
        """Computes the median over the rounds of the speed or cost, in units of ``factor`` times the other task."""
        cost = multiples(seconds, self.task, self.against, self.factor)
        return float(np.median(1 / cost if self.is_speed else cost))

    def is_met(self, seconds: Mapping[str, Floats]) -> bool:
        """Returns whether the median keeps the bound."""
        ratio = self.ratio(seconds)
        return ratio >= self.bound if self.is_speed else ratio <= self.bound

    def text(self) -> str:
        """Describes the target, such as ``≥ 5 × the speed of the loop``."""
        what = f"the speed of {self.words}" if self.is_speed else self.words
        return f"{'≥' if self.is_speed else '≤'} {self.bound:g} × {what}"


def targets(scene: Scene, names: Iterable[str]) -> list[Target]:
    """Lists the targets whose tasks were measured; comparisons with other libraries hold for ResNet-18 at 128 px."""
    channels = int(scene.blackbox.forward_features(scene.images[:1]).shape[1])
    together, measured = explainers.ALL_CLASSES, set(names)
    best, forwards = f"{forward.GROUP}: best float32", channels + 1
    found = [
        Target(f"{together}: {explainers.CAMS}", FORWARD, 1.2, 1, "a float32 forward", is_speed=False),
        Target(f"{together}: {explainers.SOFTCAM}", best, 1.02, 1, "a best float32 forward", is_speed=False),
        *_scorecam_targets(forwards),
        Target(f"{training.GROUP}: {training.EPOCH}", f"{training.GROUP}: {training.BARE}", 0.95, 1, "a bare loop"),
        Target(f"{training.GROUP}: {training.AUGMENTED}", f"{training.GROUP}: {training.BARE}", 0.95, 1, "a bare loop"),
        *_occlusion_targets(),
    ]
    return [target for target in found if {target.task, target.against} <= measured]


def _scorecam_targets(forwards: int) -> Iterable[Target]:
    library = f"{explainers.BLACK_BOX}: {explainers.SCORECAM}@pytorch-grad-cam"
    for precision in ("float32", "bf16"):
        task = f"{explainers.ALL_CLASSES}: {explainers.scorecam_in(precision)}"
        words = f"{forwards} best {precision} forwards"
        yield Target(task, f"{forward.GROUP}: best {precision}", 0.9, forwards, words)
        yield Target(task, library, 4, CLASSES, f"pytorch-grad-cam for {CLASSES} classes")


def _occlusion_targets() -> Iterable[Target]:
    for precision, loop, quantus in (("float32", 5.0, 1.4), ("bf16", 9.0, 2.2)):
        task = f"{occlusion.GROUP}: harness {precision}"
        yield Target(task, f"{forward.GROUP}: best {precision}", 0.9, 1, f"best {precision} forwards")
        yield Target(task, f"{occlusion.GROUP}: {occlusion.LOOP}", loop, 1, "the loop")
        yield Target(task, f"{occlusion.GROUP}: {occlusion.QUANTUS}", quantus, 1, "Quantus")
