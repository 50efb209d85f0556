"""A run: works through a plan in this process or with the workers of a cluster, and keeps its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from bench.config import Config
from bench.files import remove_temporary
from bench.memory import available_memory
from bench.progress import RunProgress
from bench.run.cluster.forks import start_server
from bench.run.coordinator import Coordinator, make_schedule
from bench.run.finished.receipt import asked_digest, finished_record, write_receipt
from bench.run.options import RunOptions
from bench.run.plan import Plan
from bench.run.record import new_record, utc_now
from bench.run.workspace import Workspace
from bench.store.cell_facts import MachineFacts, WorkerFacts
from bench.store.folders import RunStore
from bench.store.record_files import RUN_FILE
from bench.store.records import DatasetFacts, RunRecord
from bench.store.run_folder import check_run_folder

_MOST = 8
#: Bytes per process: the libraries alone take 1.1 GB.
_MEMORY = 4 * 2**30


@dataclass
class Outcome:
    """Result of a run: a line for everything that failed, and whether anything was computed."""

    problems: list[str]
    computed: bool


def run(
    config: Config,
    plan: Plan,
    options: RunOptions,
    console: Console,
    problems: list[str],
    register: Callable[[], object] | None = None,
) -> Outcome:
    """Computes everything in the plan that the store does not hold yet.

    Args:
        config: of the run.
        plan: made from it.
        options: of the command line.
        console: that the progress is shown on.
        problems: lines about plugins that were left out; they are part of the outcome.
        register: fills the registries of a new process; without it everything runs in this one.

    Raises:
        UserError: the folder does not hold a run of this version, cannot be written to, or another run works in it; or
            the workers cannot be had.
    """
    damage = check_run_folder(options.out)
    store = RunStore(options.out)
    workers = choose_workers(options, len(plan.cells)) if register else 1
    with store.lock() as token, RunProgress(console, [], workers) as progress:
        started = new_record(config, plan, options, workers)
        for problem in problems:
            progress.say(problem, style="red")
        # A classifier that exists in memory alone is not known by the names in a receipt.
        asked = asked_digest(config, plan, options, started) if register else None
        if not damage and (record := finished_record(asked, store, started)):
            return _nothing_left(store, record, problems, progress)
        if damage:
            progress.say(f"{options.out / RUN_FILE} is damaged ({damage}) and is made again", style="yellow")
        facts = _Facts(store, started)
        coordinator = Coordinator(make_schedule(config, plan), plan, options, started.plan, progress, facts.note)
        remove_temporary(options.out)
        if register and (workers > 1 or options.cluster or options.workers == "gpus"):
            crew = _work_on_workers(coordinator, config, register, token, workers)
        else:
            crew = work_here(coordinator, Workspace(config, plan, options, started.plan, progress))
        problems = [*problems, *coordinator.problems]
        write_receipt(asked, store, facts.finish(crew, problems, bool(options.cluster)))
        return Outcome(problems, coordinator.computed)


class _Facts:
    """The record of a run that works: what becomes known is written at once."""

    def __init__(self, store: RunStore, started: RunRecord) -> None:
        self._store, self._record = store, started
        store.write_record(started)

    def note(self, name: str, facts: DatasetFacts) -> None:
        """Writes the facts about a data set down."""
        self._record = self._record.changed(datasets=self._record.datasets | {name: facts})
        self._store.write_record(self._record)

    def finish(self, crew: dict[str, WorkerFacts], problems: list[str], on_cluster: bool) -> RunRecord:
        """Writes the end of the run down; on a cluster, the machine of the command only waits and is not named."""
        machine = self._record.machine
        if on_cluster and crew:
            first = next(iter(crew.values()))
            machine = MachineFacts.model_validate(first.model_dump(include=set(MachineFacts.model_fields)))
        facts = {"workers": crew, "machine": machine, "finished": utc_now(), "problems": problems}
        self._record = self._record.changed(**facts)
        self._store.write_record(self._record)
        return self._record


def _work_on_workers(
    coordinator: Coordinator, config: Config, register: Callable[[], object], token: str, count: int
) -> dict[str, WorkerFacts]:
    """Does every task on workers, and removes what those leave that were killed; see ``work_on_workers``."""
    if not coordinator.options.cluster:
        start_server()
    from bench.run.cluster.engine import work_on_workers  # imports Dask, which one process does not need

    try:
        return work_on_workers(coordinator, config, register, token, count)
    finally:
        remove_temporary(coordinator.options.out)


def _nothing_left(store: RunStore, record: RunRecord, problems: list[str], progress: RunProgress) -> Outcome:
    """Ends a run that finds all its results in the store; the record is written if it has changed."""
    for name, facts in record.datasets.items():
        for line in facts.doubts:
            progress.say(f"{name}: {line}", style="yellow")
    record = record.changed(problems=problems)
    if record != store.record:
        store.write_record(record)
    return Outcome(problems, computed=False)


def choose_workers(options: RunOptions, cells: int) -> int:
    """Returns the number of worker processes on this machine, at most one per cell unless a number is asked for.

    Without a number, it is limited by cores, memory and 8, and one on a GPU.
    """
    if isinstance(options.workers, int):
        return options.workers
    fitting = int(min(torch.get_num_threads(), available_memory() / _MEMORY, _MOST, cells))
    return max(1, fitting) if options.device.type == "cpu" and not options.cluster and not options.workers else 1


def work_here(coordinator: Coordinator, workspace: Workspace) -> dict[str, WorkerFacts]:
    """Does every task in this process, one cell after the other, so that a debugger sees all of it."""
    task = None
    while (task := coordinator.schedule.next(task, depth_first=True)) is not None:
        coordinator.done(task, workspace.perform(task))
    return {}
