"""An evaluation of a given model: the plan of a run with one model that is not trained, and its result."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console

from bench.contracts import Classifier, DatasetInfo
from bench.errors import UserError
from bench.given.models.sources import Source
from bench.given.pixels import Normalisation
from bench.given.plan import Wanted, make_config, make_given_plan
from bench.given.results.predictions import NOTHING, Known
from bench.given.results.result import Result
from bench.progress import shows_bars
from bench.run.options import RunOptions
from bench.run.runner import run
from bench.store.folders import RunStore

_PREFIX = "bench-evaluate-"


@dataclass(frozen=True)
class Evaluation:
    """A given model, what it is evaluated on, and what is computed.

    Attributes:
        source: the model, its names, and how it was read.
        classifier: adapted from it.
        normalisation: mean and deviation per channel that it needs.
        datasets: name in the cells -> registered facts.
        wanted: explainers, metrics and settings.
        known: what the user knows about the predictions.
    """

    source: Source
    classifier: Classifier
    normalisation: Normalisation
    datasets: dict[str, DatasetInfo]
    wanted: Wanted
    known: Known = NOTHING

    def run(self, options: RunOptions, console: Console, temporary: bool = False) -> Result:
        """Computes what the run folder does not hold.

        Raises:
            UserError: an unknown name, a folder that holds something else, or a model that failed on every data set.
        """
        config = make_config(self.wanted, self.source, list(self.datasets))
        plan, left_out = make_given_plan(
            config, self.source, self.classifier, self.normalisation, self.datasets, self.wanted.explainers
        )
        outcome = run(config, plan, options, console, [])
        store = RunStore(options.out)
        records = [store.cell(key).record for key in plan.cells if key.head == self.source.head]
        if all(record.status != "ok" for record in records):
            raise UserError(records[0].reason)
        return Result(options.out, [*self.source.said, *left_out], outcome.problems, temporary, self.known)

    def run_in(self, out: str | Path | None, device: torch.device, precision: str, workers: int | None) -> Result:
        """Computes in a run folder, or in a temporary one, which goes if that fails.

        Raises:
            UserError: as ``run``.
        """
        folder = Path(out) if out else Path(tempfile.mkdtemp(prefix=_PREFIX))
        options = RunOptions(Path("data"), folder, device, cache=folder / "cache", precision=precision, workers=workers)
        try:
            return self.run(options, _console(), temporary=out is None)
        except BaseException:
            if out is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def register_all() -> None:
    """Registers everything that can be named; by name, because the program is above its packages."""
    import_module("run_benchmark").register()


def _console() -> Console:
    """Returns the console of the progress: nothing is printed where no bar can be shown, as in a script's log."""
    console = Console(highlight=False)
    return console if shows_bars(console) else Console(quiet=True)
