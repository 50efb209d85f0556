"""Machines of a run: what its seconds were measured on, and which of them did what."""

from __future__ import annotations

from collections import Counter, defaultdict

from bench.report.frames.load import Frames
from bench.store.records import MachineFacts, RunRecord


def hardware(record: RunRecord) -> str:
    """Returns the hardware, threads and processes that the seconds of a run depend on."""
    hosts: dict[str, set[str]] = defaultdict(set)
    for one in record.workers.values():
        hosts[_described(one)].add(one.host)
    if len(hosts) < 2:
        (text,) = hosts or [_described(record.machine)]
        return f"Measured on {text}."
    texts = [f"{text} ({', '.join(sorted(names))})" for text, names in hosts.items()]
    return f"Measured on {'; '.join(texts)}: seconds of different machines are not comparable."


def work_of_machines(frames: Frames) -> str:
    """Returns what each machine did, for runs on several workers; empty for others."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    workers = frames.record.workers
    for record in frames.cells["record"]:
        for work in record.work:
            host = workers[work.worker].host if work.worker in workers else "an earlier run"
            counts[host][work.task] += work.shares if work.task == "score" else 1
    names = {"train": "trained", "score": "shares scored", "finish": "finished"}
    texts = [
        f"{host}: {', '.join(f'{count[task]} {name}' for task, name in names.items() if count[task])}"
        for host, count in sorted(counts.items())
    ]
    return "; ".join(texts)


def _described(machine: MachineFacts) -> str:
    text = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    text = f"{text} for each of {machine.processes} processes at a time" if machine.processes > 1 else text
    return f"{machine.gpu if machine.gpu != 'none' else machine.cpu}, {text}"
