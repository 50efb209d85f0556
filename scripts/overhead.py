"""What share of a run is spent outside passes through the network?

python scripts/overhead.py --datasets all --out results/overhead

Takes the arguments of run_benchmark.py, does that run, and prints how its wall time is divided: passes forward and
back through a classifier and steps of its optimiser; everything else between start and report; the report.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
import torch

import run_benchmark
from bench import cli, runner
from bench.contracts import Classifier


class Stopwatch:
    """Seconds inside the outermost of all watched functions."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def watch(self, owner: Any, name: str) -> None:
        """Replace a function of a class or module by one that is timed."""
        setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed unless it is called by another one that is."""

        def call(*arguments: Any, **named: Any) -> Any:
            started, self._depth = time.perf_counter(), self._depth + 1
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - started

        return call


def main() -> None:
    """Run, then print the shares."""
    network, work = Stopwatch(), Stopwatch()
    for name in ("forward", "forward_features", "forward_head", "forward_training"):
        network.watch(Classifier, name)
    network.watch(torch.autograd.graph, "_engine_run_backward")
    torch.autograd._engine_run_backward = torch.autograd.graph._engine_run_backward  # type: ignore[attr-defined]
    network.watch(torch._tensor.Tensor, "backward")
    network.watch(torch.optim.SGD, "step")
    work.watch(runner, "run")
    started = time.perf_counter()
    try:
        cli.main(run_benchmark.register)
    except SystemExit as stop:
        if stop.code:
            raise
    total = time.perf_counter() - started
    outside = work.seconds - network.seconds
    print(f"{total:.0f} s; before the report {network.seconds:.0f} s in the network and {outside:.0f} s outside it")
    print(f"({outside / work.seconds:.0%} of that time); start-up and report {total - work.seconds:.0f} s")


if __name__ == "__main__":
    main()
