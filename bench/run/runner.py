"""A run: works through a plan, one data set after the other or several at a time, and keeps its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from bench.config import Config
from bench.progress import RunProgress
from bench.run.dataset_run import DatasetRun, RunOptions
from bench.run.finished.receipt import asked_digest, finished_record, write_receipt
from bench.run.plan import Plan
from bench.run.process_pool import WorkerSpec, choose_workers, run_in_processes
from bench.run.record import new_record, utc_now
from bench.store.folders import RunStore
from bench.store.record_files import RUN_FILE
from bench.store.records import DatasetFacts, RunRecord
from bench.store.run_folder import check_run_folder


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
        UserError: the folder does not hold a run of this version, cannot be written to, or another run works in it.
    """
    damage = check_run_folder(options.out)
    store = RunStore(options.out)
    workers = choose_workers(options, len(plan.datasets)) if register else 1
    with store.lock(), RunProgress(console, [], workers) as progress:
        started = new_record(config, plan, options, workers)
        for problem in problems:
            progress.say(problem, style="red")
        # A classifier that exists in memory alone is not known by the names in a receipt.
        asked = asked_digest(config, plan, options, started) if register else None
        if not damage and (record := finished_record(asked, store, started)):
            return _nothing_left(store, record, problems, progress)
        datasets = dict(started.datasets)
        store.write_record(started)
        if damage:
            progress.say(f"{options.out / RUN_FILE} is damaged ({damage}) and is made again", style="yellow")

        def note(name: str, facts: DatasetFacts) -> None:
            datasets[name] = facts
            store.write_record(started.changed(datasets=datasets))

        works = [DatasetRun(name, config, plan, options, started.plan, progress, note) for name in plan.datasets]
        progress.expect(*(step for work in works for step in work.steps))
        if register and workers > 1:
            done = run_in_processes(WorkerSpec(register, config, options, started.plan, workers), works, progress)
        else:
            done = {work.name: list(work.run())[-1] for work in works}
        problems = [*problems, *(problem for name in plan.datasets for problem in done[name].problems)]
        finished = started.changed(datasets=datasets, finished=utc_now(), problems=problems)
        store.write_record(finished)
        write_receipt(asked, store, finished)
        return Outcome(problems, any(one.computed for one in done.values()))


def _nothing_left(store: RunStore, record: RunRecord, problems: list[str], progress: RunProgress) -> Outcome:
    """Ends a run that finds all its results in the store; the record is written if it has changed."""
    for name, facts in record.datasets.items():
        for line in facts.doubts:
            progress.say(f"{name}: {line}", style="yellow")
    record = record.changed(problems=problems)
    if record != store.record:
        store.write_record(record)
    return Outcome(problems, computed=False)
