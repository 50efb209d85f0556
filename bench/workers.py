"""Data sets side by side: each in a process of its own, with its share of the cores.

Most of what is done between two passes through a network runs on one core, and small passes gain little from more: two
data sets beside each other take less time than one after the other. A process is told all it needs, writes to the
store as if it were alone, and says what happens through a pipe.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from bench.config import Config
from bench.errors import UserError
from bench.plan import Plan, make_plan
from bench.progress import RunProgress, SentProgress
from bench.work import Done, Options, Work

#: Each holds the libraries, a network and its images: 1.2 GB at the least.
_MOST = 8
_PACKAGES = ("bench", "baselines", "softcam")


def choose_workers(options: Options, datasets: int) -> int:
    """As many processes as are asked for, else as there are cores, eight at most; one on a GPU, which they would share.

    There are never more than data sets.
    """
    chosen = 1 if options.device.type == "cuda" else min(torch.get_num_threads(), _MOST)
    return min(options.workers or chosen, datasets)


@dataclass(frozen=True)
class Assignment:
    """What a process must know to work on a data set of a run.

    Attributes:
        register: makes everything known by name.
        plan_id: of the run.
        threads: that its operators may use.
    """

    register: Callable[[], object]
    config: Config
    options: Options
    plan_id: str
    threads: int


@dataclass
class _Worker:
    """A process, the data set that it works on, and what has come of that so far."""

    name: str
    process: BaseProcess
    done: Done = field(default_factory=Done)


def work_apart(
    assignment: Assignment,
    plan: Plan,
    workers: int,
    progress: RunProgress,
    note: Callable[[str, dict[str, Any]], None],
) -> dict[str, Done]:
    """Work on the data sets of a plan, as many at a time as there are workers -> what came of each.

    Large images go first: what begins last should be over soon. The data set of a process that dies has failed. When
    this process is told to stop, the others are ended; what they have finished is in the store.

    Args:
        progress, note: as for ``Work``.
    """
    context = get_context("forkserver")
    _start_server()
    waiting = deque(sorted(plan.datasets, key=lambda name: -plan.configs[name].data.size))
    running: dict[Any, _Worker] = {}
    done: dict[str, Done] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                ours, theirs = context.Pipe(duplex=False)
                name = waiting.popleft()
                process = context.Process(target=_work, args=(assignment, name, theirs))
                process.start()
                running[ours] = _Worker(name, process)
                theirs.close()  # its other end is then the process's alone, and says when that is gone
            for connection in wait(list(running)):
                worker = running[connection]
                if _hears(connection, worker, progress, note):
                    continue
                del running[connection]
                worker.process.join()
                done[worker.name] = (
                    worker.done if not worker.process.exitcode else _died(worker, assignment, plan, progress, note)
                )
    finally:
        _end([worker.process for worker in running.values()])
    return done


def _start_server() -> None:
    """Processes begin as copies of one that has imported what this one has, and is deaf to Ctrl-C, as they are.

    Ctrl-C is for this process, which ends the others.
    """
    forkserver.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] in _PACKAGES])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def _hears(connection: Any, worker: _Worker, progress: RunProgress, note: Callable[..., None]) -> bool:
    """Do what a process asks for; False where it has nothing more to say."""
    try:
        kind, *values = connection.recv()
    except EOFError:
        return False
    if kind == "done":
        worker.done = values[0]
    else:
        (note if kind == "note" else getattr(progress, kind))(*values)
    return True


def _died(
    worker: _Worker, assignment: Assignment, plan: Plan, progress: RunProgress, note: Callable[..., None]
) -> Done:
    """The cells that a process had not finished when it died have failed."""
    work = Work(
        worker.name, assignment.config, plan, assignment.options, assignment.plan_id, progress, note, worker.done
    )
    with work.guard(worker.name, [key for key in work.cells if key not in worker.done.cells]):
        raise UserError(
            f"its process died with exit code {worker.process.exitcode} (-9 where memory runs out); "
            "the same command goes on from there, with --workers 1 in one process"
        )
    return work.done


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _work(assignment: Assignment, name: str, connection: Connection) -> None:
    """What a process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(assignment.threads)
    assignment.register()

    def send(*message: object) -> None:
        with suppress(OSError):  # nobody listens any more, and this process is about to end
            connection.send(message)

    plan = make_plan(assignment.config, assignment.options.root)
    progress, note = SentProgress(send), partial(send, "note")
    for done in Work(name, assignment.config, plan, assignment.options, assignment.plan_id, progress, note).run():
        send("done", done)


def _end_with_parent() -> None:
    """A process whose parent was killed must not write to a folder that is no longer locked."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
