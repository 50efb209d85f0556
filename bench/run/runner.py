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
from bench.run.options import RunOptions
from bench.run.plan import Plan
from bench.run.record import new_record, utc_now
from bench.run.workspace import Workspace
from bench.store.folders import RunStore
from bench.store.record_files import RUN_FILE
from bench.store.records import DatasetFacts, MachineFacts, WorkerFacts
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
    if register and not options.cluster and (workers > 1 or options.workers == "gpus"):
        start_server()
    with store.lock() as token, RunProgress(console, [], workers) as progress:
        remove_temporary(options.out)
        started = new_record(config, plan, options, workers)
        datasets = dict(started.datasets)
        store.write_record(started)
        for problem in problems:
            progress.say(problem, style="red")
        if damage:
            progress.say(f"{options.out / RUN_FILE} is damaged ({damage}) and is made again", style="yellow")

        def note(name: str, facts: DatasetFacts) -> None:
            datasets[name] = facts
            store.write_record(started.changed(datasets=datasets))

        coordinator = Coordinator(make_schedule(config, plan), plan, options, started.plan, progress, note)
        if register and (workers > 1 or options.cluster or options.workers == "gpus"):
            from bench.run.cluster.engine import work_on_workers  # imports Dask, which one process does not need

            try:
                crew = work_on_workers(coordinator, config, register, token, workers)
            finally:
                remove_temporary(options.out)
        else:
            crew = work_here(coordinator, Workspace(config, plan, options, started.plan, progress))
        problems = [*problems, *coordinator.problems]
        facts = {"datasets": datasets, "workers": crew, "finished": utc_now(), "problems": problems}
        if options.cluster and crew:  # the machine of the command only waits
            facts["machine"] = MachineFacts.model_validate(
                next(iter(crew.values())).model_dump(include=set(MachineFacts.model_fields))
            )
        store.write_record(started.changed(**facts))
        return Outcome(problems, coordinator.computed)


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
