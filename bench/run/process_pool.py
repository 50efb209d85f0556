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
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from bench.config import Config
from bench.devices import threads_of_each
from bench.errors import UserError, one_line
from bench.memory import available_memory
from bench.progress import RunProgress, SentProgress
from bench.run.dataset_run import DatasetResult, DatasetRun, RunOptions
from bench.run.plan import make_plan

_MOST = 8
#: Bytes for each process: the libraries alone take 1.1 GB.
_MEMORY = 4 * 2**30
_PACKAGES = ("bench", "baselines", "softcam")
#: Seconds in which a process that is told to end may tidy up.
_PATIENCE = 10


def choose_workers(options: RunOptions, datasets: int) -> int:
    """As many processes as are asked for; else as there are cores and room in memory, eight at most, and one on a GPU.

    There are never more than data sets.
    """
    fitting = int(min(torch.get_num_threads(), available_memory() / _MEMORY, _MOST))
    chosen = max(1, fitting) if options.device.type == "cpu" else 1
    return min(options.workers or chosen, datasets)


@dataclass(frozen=True)
class WorkerSpec:
    """What a process must know to work on a data set of a run.

    Attributes:
        register: makes everything known by name.
        plan_id: of the run.
        workers: processes that share the cores.
    """

    register: Callable[[], object]
    config: Config
    options: RunOptions
    plan_id: str
    workers: int


@dataclass
class _Worker:
    """A process, and what it has said.

    Attributes:
        work: what it works on.
        waiting: kinds of steps that it has still to do.
        done: what came of the data set so far.
        is_over: whether it has come to the end.
        failed: why it ended early, in a line and as a traceback; empty where it did not say so.
    """

    work: DatasetRun
    process: BaseProcess
    waiting: Counter[str]
    done: DatasetResult = field(default_factory=DatasetResult)
    is_over: bool = False
    failed: tuple[str, str] = ("", "")


def run_in_processes(
    assignment: WorkerSpec, works: Sequence[DatasetRun], progress: RunProgress
) -> dict[str, DatasetResult]:
    """Do all of the work, as many data sets at a time as there are workers -> what came of each.

    Large images go first: what begins last should be over soon. The data set of a process that dies has failed. When
    this process is told to stop, the others are ended; what they have finished is in the store.
    """
    crew = ProcessPool(assignment, progress)
    waiting = deque(sorted(works, key=lambda work: -work.plan.configs[work.name].data.size))
    _start_server()
    try:
        while waiting or crew.running:
            while waiting and len(crew.running) < assignment.workers:
                crew.start(waiting.popleft())
            progress.workers = len(crew.running)
            for connection in wait(list(crew.running)):
                crew.hear(connection)
    finally:
        crew.end()
    return crew.done


@dataclass
class ProcessPool:
    """The processes at work, by the pipe that each is heard through."""

    assignment: WorkerSpec
    progress: RunProgress
    running: dict[Any, _Worker] = field(default_factory=dict)
    done: dict[str, DatasetResult] = field(default_factory=dict)

    def start(self, work: DatasetRun) -> None:
        """Begin with a data set."""
        context = get_context("forkserver")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(self.assignment, work.name, theirs))
        self.running[ours] = _Worker(work, process, Counter(work.steps))
        process.start()
        theirs.close()  # its other end is then the process's alone, and says when that is gone

    def hear(self, connection: Any) -> None:
        """Do what a process asks for; where it has nothing more to say, note what came of its data set."""
        worker = self.running[connection]
        try:
            kind, *values = connection.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            del self.running[connection]
            worker.process.join()
            self.done[worker.work.name] = worker.done if worker.is_over else self._died(worker)
            return
        if kind == "done":
            worker.done, worker.is_over = values
        elif kind == "failed":
            worker.failed = (values[0], values[1])
        elif kind == "note":
            worker.work.note(*values)
        else:
            if kind == "expect":
                worker.waiting.update(values)
            elif kind == "end":
                worker.waiting[values[0]] -= 1
            getattr(self.progress, kind)(*values)

    def _died(self, worker: _Worker) -> DatasetResult:
        """The cells that a process had not finished have failed."""
        work, (reason, trace) = worker.work, worker.failed
        work.done = worker.done
        died = f"its process died with exit code {worker.process.exitcode} (-9 where memory runs out: try --workers 1)"
        with work.guard(work.name, [key for key in work.cells if key not in work.done.cells]):
            raise UserError(reason or died) from (RuntimeError(trace) if trace else None)
        self.progress.skip(*worker.waiting.elements())
        return work.done

    def end(self) -> None:
        """End all that still run, and give them time to tidy up."""
        started = [worker.process for worker in self.running.values() if worker.process.pid]
        with _deaf():
            for process in started:
                process.terminate()
            for process in started:
                process.join(_PATIENCE)
                process.kill()
                process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Without Ctrl-C, in the thread that would hear it; a process that is started here is deaf for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_server() -> None:
    """Processes begin as copies of one that has imported what this one has. Ctrl-C is for this one, which ends them.

    It looks for modules where it is started.
    """
    forkserver.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] in _PACKAGES])
    with _deaf(), chdir(Path(__file__).parents[2]):
        forkserver.ensure_running()


def _work(assignment: WorkerSpec, name: str, connection: Connection) -> None:
    """What a process does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through every ``finally``
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads_of_each(assignment.workers))

    def send(*message: object) -> None:
        with suppress(OSError):  # nobody listens any more, and this process is about to end
            connection.send(message)

    try:
        assignment.register()
        config, options = assignment.config, assignment.options
        plan = make_plan(config, options.root)
        work = DatasetRun(name, config, plan, options, assignment.plan_id, SentProgress(send), partial(send, "note"))
        for done in work.run():
            send("done", done, False)
        send("done", work.done, True)
    except Exception as error:
        send("failed", one_line(error), traceback.format_exc())


def _end_with_parent() -> None:
    """A process whose parent was killed must not write to a folder that is no longer locked."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
