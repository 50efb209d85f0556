"""Fraction of a run that is spent outside of passes through the network.

    python docs/measurements/overhead.py --datasets all --out results/overhead

It takes the arguments of run_benchmark.py, does that run, and prints the time of its processes in three parts: forward
and backward passes and optimiser steps; all other work on tasks; start-up and report.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import torch

import run_benchmark
from bench.cli import main as cli
from bench.contracts import Classifier
from bench.run import runner
from bench.run.tasks import Done, Task
from bench.run.workspace import Workspace

#: Environment variable: the file to which every process adds one line per task.
_FILE = "OVERHEAD_FILE"


class Stopwatch:
    """Seconds inside the outermost of all watched functions."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def watch(self, owner: Any, name: str) -> None:
        """Replaces a function of a class or module by a timed one."""
        setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, timed unless another timed function calls it."""

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
    """Fills the registries in this process or another one of the run, and times its functions."""
    run_benchmark.register()
    network, perform = Stopwatch(), Workspace.perform
    for name in ("forward", "forward_features", "forward_head", "forward_training"):
        network.watch(Classifier, name)
    network.watch(torch.autograd.graph, "_engine_run_backward")
    torch.autograd._engine_run_backward = torch.autograd.graph._engine_run_backward  # type: ignore[attr-defined]
    network.watch(torch._tensor.Tensor, "backward")
    network.watch(torch.optim.SGD, "step")

    def timed(workspace: Workspace, task: Task) -> Done:
        started, before = time.perf_counter(), network.seconds
        done = perform(workspace, task)
        seconds = {"tasks": time.perf_counter() - started, "network": network.seconds - before}
        with Path(os.environ[_FILE]).open("a") as file:
            file.write(json.dumps(seconds) + "\n")
        return done

    Workspace.perform = timed  # type: ignore[method-assign]


def main() -> None:
    """Runs, then prints the parts."""
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
    busy, network = (sum(line[name] for line in lines) for name in ("tasks", "network"))
    outside, rest = busy - network, total - whole.seconds
    print(f"{total:.0f} s; {busy:.0f} s of all processes on {len(lines)} tasks: {network:.0f} s in the network and")
    print(f"{outside:.0f} s outside of it ({outside / busy:.0%}); start-up and report {rest:.0f} s")


if __name__ == "__main__":
    main()
