"""Machines of a run: what its seconds were measured on, and which of them did what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from bench.report.frames.load import Frames
from bench.store.cell_facts import GitState, MachineFacts
from bench.store.records import CellKey, RunOrigin, RunRecord


def hardware(record: RunRecord) -> str:
    """Returns the hardware, threads and processes that the seconds of a run depend on."""
    texts = dict.fromkeys(_machines(run) for run in [record, *record.merged])
    if len(texts) > 1:
        named = "; ".join(f"{run.name} on {_machines(run)}" for run in record.merged)
        return f"Seconds of different runs must not be compared, because the machines differ: {named}."
    kinds = {_described(one) for one in record.workers.values()}
    warning = ": seconds of different machines must not be compared" if len(kinds) > 1 else ""
    return f"Measured on {'; '.join(texts)}{warning}."


def merged_runs(record: RunRecord) -> dict[str, str]:
    """Returns title -> text of the facts in which the runs of a merge may differ; empty for any other run."""
    runs = record.merged
    facts = {
        "Merged runs": [f"{run.name} ({len(run.cells)} classifiers, {run.started} to {run.finished})" for run in runs],
        "Machine": [f"{run.name}: " + ", ".join(f"{name} {value}" for name, value in run.machine) for run in runs],
        "Code": [f"{run.name}: {_code(run.git)}" for run in runs],
    }
    return {title: "; ".join(texts) for title, texts in facts.items() if texts}


def work_of_machines(frames: Frames) -> str:
    """Returns what each machine did, for runs on several workers; empty for others."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    rows: Iterator[Any] = frames.cells.itertuples(index=False)
    for row in rows:
        workers = frames.record.origin(_key(row)).workers
        for work in filter(lambda work: work.worker, row.record.work):
            host = workers[work.worker].host if work.worker in workers else "an earlier run"
            counts[host][work.task] += work.shares if work.task == "score" else 1
    names = {"train": "trained", "score": "shares scored", "finish": "finished"}
    texts = [
        f"{host}: {', '.join(f'{count[task]} {name}' for task, name in names.items() if count[task])}"
        for host, count in sorted(counts.items())
    ]
    return "; ".join(texts)


def machines_of_cells(frames: Frames) -> list[str] | None:
    """Returns which machines scored each cell, in the order of ``frames.cells``; None if all are of one kind."""
    rows: list[Any] = list(frames.cells.itertuples(index=False))
    runs = [frames.record.origin(_key(row)) for row in rows]
    kinds = {_described(one) for run in runs for one in run.workers.values()}
    if len(kinds) < 2:
        return None
    names = []
    for row, run in zip(rows, runs, strict=True):
        scored = {work.worker for work in row.record.work if work.task == "score"}
        hosts = {run.workers[name].host for name in scored if name in run.workers}
        names.append(", ".join(sorted(hosts)) or "an earlier run")
    return names


def _key(row: Any) -> CellKey:
    return CellKey(row.dataset, row.backbone, row.head, int(row.seed))


def _machines(run: RunOrigin) -> str:
    """Describes the machines that computed a run; several of different kinds with their names."""
    hosts: dict[str, set[str]] = defaultdict(set)
    for one in run.workers.values():
        hosts[_described(one)].add(one.host)
    if len(hosts) > 1:
        return "; ".join(f"{text} ({', '.join(sorted(names))})" for text, names in hosts.items())
    return next(iter(hosts), _described(run.machine))


def _described(machine: MachineFacts) -> str:
    text = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    text = f"{text} for each of {machine.processes} processes at a time" if machine.processes > 1 else text
    return f"{machine.gpu if machine.gpu != 'none' else machine.cpu}, {text}"


def _code(git: GitState | None) -> str:
    return f"{git.commit[:12]}{', with local changes' if git.dirty else ''}" if git else "unknown"
