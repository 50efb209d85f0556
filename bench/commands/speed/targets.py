"""What issue 5 asks for, as ratios within one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.commands.speed import explainers as explaining
from bench.commands.speed import forward as limits
from bench.commands.speed import occlusion as occluding
from bench.commands.speed import training as learning
from bench.commands.speed.scene import CLASSES, Scene
from bench.commands.speed.timing import Floats, multiples

FORWARD = f"{limits.WORK}: float32"


@dataclass(frozen=True)
class Target:
    """A bound on the cost of a task, or on its speed, relative to ``factor`` times another task.

    Attributes:
        task, against: names of tasks.
        bound: highest cost, or lowest speed.
        factor: how many times ``against`` is the same amount of work.
        words: what ``factor`` times ``against`` is called.
        is_speed: the bound is on speed, which is one through cost.
    """

    task: str
    against: str
    bound: float
    factor: float
    words: str
    is_speed: bool = True

    def ratio(self, seconds: Mapping[str, Floats]) -> float:
        """Median over the rounds of the speed, or cost, in units of ``factor`` times the other task."""
        cost = multiples(seconds, self.task, self.against, self.factor)
        return float(np.median(1 / cost if self.is_speed else cost))

    def is_met(self, seconds: Mapping[str, Floats]) -> bool:
        """Whether the median keeps the bound."""
        ratio = self.ratio(seconds)
        return ratio >= self.bound if self.is_speed else ratio <= self.bound

    def text(self) -> str:
        """Such as ``≥ 5 × the speed of the loop``."""
        what = f"the speed of {self.words}" if self.is_speed else self.words
        return f"{'≥' if self.is_speed else '≤'} {self.bound:g} × {what}"


def targets(scene: Scene, names: Iterable[str]) -> list[Target]:
    """Those whose tasks were both measured; the two about other libraries hold for ResNet-18 at 128 px."""
    channels = int(scene.blackbox.forward_features(scene.images[:1]).shape[1])
    together, measured = explaining.ALL_CLASSES, set(names)
    best, forwards = f"{limits.WORK}: best float32", channels + 1
    found = [
        Target(f"{together}: {explaining.CAMS}", FORWARD, 1.2, 1, "a float32 forward", is_speed=False),
        Target(f"{together}: {explaining.SOFTCAM}", best, 1.02, 1, "a best float32 forward", is_speed=False),
        *_scorecam_targets(forwards),
        Target(f"{learning.WORK}: {learning.EPOCH}", f"{learning.WORK}: {learning.BARE}", 0.95, 1, "a bare loop"),
        Target(f"{learning.WORK}: {learning.AUGMENTED}", f"{learning.WORK}: {learning.BARE}", 0.95, 1, "a bare loop"),
        *_occlusion_targets(),
    ]
    return [target for target in found if {target.task, target.against} <= measured]


def _scorecam_targets(forwards: int) -> Iterable[Target]:
    library = f"{explaining.BLACK_BOX}: {explaining.SCORECAM}@pytorch-grad-cam"
    for precision in ("float32", "bf16"):
        task = f"{explaining.ALL_CLASSES}: {explaining.scorecam_in(precision)}"
        words = f"{forwards} best {precision} forwards"
        yield Target(task, f"{limits.WORK}: best {precision}", 0.9, forwards, words)
        yield Target(task, library, 4, CLASSES, f"pytorch-grad-cam for {CLASSES} classes")


def _occlusion_targets() -> Iterable[Target]:
    for precision, loop, quantus in (("float32", 5.0, 1.4), ("bf16", 9.0, 2.2)):
        task = f"{occluding.WORK}: harness {precision}"
        yield Target(task, f"{limits.WORK}: best {precision}", 0.9, 1, f"best {precision} forwards")
        yield Target(task, f"{occluding.WORK}: {occluding.LOOP}", loop, 1, "the loop")
        yield Target(task, f"{occluding.WORK}: {occluding.QUANTUS}", quantus, 1, "Quantus")
