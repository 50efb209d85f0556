"""What share of a run is spent outside passes through the network?

python docs/measurements/overhead.py --datasets all --out results/overhead

Takes the arguments of run_benchmark.py, does that run, and prints how the time of its processes is divided: passes
forward and back through a classifier and steps of its optimiser; everything else that is done on data sets; start-up
and report.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import torch

import run_benchmark
from bench.cli import main as cli
from bench.contracts import Classifier
from bench.run import runner
from bench.run.dataset_run import DatasetResult, DatasetRun

#: Names the file that every process adds a line to for each of its data sets.
_FILE = "OVERHEAD_FILE"


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


def register() -> None:
    """Make everything known, in this process or another one of the run, and time what it does."""
    run_benchmark.register()
    network, run = Stopwatch(), DatasetRun.run
    for name in ("forward", "forward_features", "forward_head", "forward_training"):
        network.watch(Classifier, name)
    network.watch(torch.autograd.graph, "_engine_run_backward")
    torch.autograd._engine_run_backward = torch.autograd.graph._engine_run_backward  # type: ignore[attr-defined]
    network.watch(torch._tensor.Tensor, "backward")
    network.watch(torch.optim.SGD, "step")

    def timed(work: DatasetRun) -> Iterator[DatasetResult]:
        started, before = time.perf_counter(), network.seconds
        yield from run(work)
        seconds = {"work": time.perf_counter() - started, "network": network.seconds - before}
        with Path(os.environ[_FILE]).open("a") as file:
            file.write(json.dumps(seconds) + "\n")

    DatasetRun.run = timed  # type: ignore[method-assign]


def main() -> None:
    """Run, then print the shares."""
    whole = Stopwatch()
    whole.watch(runner, "run")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds"
        os.environ[_FILE] = str(file)
        try:
            cli.main(register)
        except SystemExit as stop:
            if stop.code:
                raise
        total = time.perf_counter() - started
        lines = [json.loads(line) for line in file.read_text().splitlines()]
    work, network = (sum(line[name] for line in lines) for name in ("work", "network"))
    outside, rest = work - network, total - whole.seconds
    print(f"{total:.0f} s; {work:.0f} s of all processes on {len(lines)} data sets: {network:.0f} s in the network and")
    print(f"{outside:.0f} s outside it ({outside / work:.0%}); start-up and report {rest:.0f} s")


if __name__ == "__main__":
    main()
