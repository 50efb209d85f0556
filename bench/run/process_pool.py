"""Processes that work on several data sets at a time, each with its share of the cores.

Most work between two passes through a network runs on one core, and small passes gain little from more cores: two data
sets at a time take less time than one after the other. A process is given everything it needs, writes to the store as
if it were alone, and reports through a pipe.
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
#: Bytes per process: the libraries alone take 1.1 GB.
_MEMORY = 4 * 2**30
_PACKAGES = ("bench", "baselines", "softcam")
#: Seconds that a process has to clean up after it was told to end.
_PATIENCE = 10
#: Exit code of a process that the system killed.
_KILLED = -9


def choose_workers(options: RunOptions, datasets: int) -> int:
    """Returns the number of worker processes, at most one per data set.

    It is the requested number, otherwise limited by cores, memory and 8, and one on a GPU.
    """
    fitting = int(min(torch.get_num_threads(), available_memory() / _MEMORY, _MOST))
    chosen = max(1, fitting) if options.device.type == "cpu" else 1
    return min(options.workers or chosen, datasets)


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a process needs to work on a data set of a run.

    Attributes:
        register: fills the registries.
        config: of the run.
        options: of the command line.
        plan_id: hash of the plan.
        workers: number of processes that share the cores.
    """

    register: Callable[[], object]
    config: Config
    options: RunOptions
    plan_id: str
    workers: int


@dataclass
class _Worker:
    """A process and its messages.

    Attributes:
        work: the data set that it works on.
        process: the process.
        waiting: kinds of steps that are left -> how often.
        done: result of the data set so far.
        is_over: whether it has finished.
        failed: why it ended early, as a line and as a traceback; empty if it did not report that.
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
    """Works on as many data sets at a time as there are workers -> the result of each.

    Data sets with large images are started first, because what is started last should not take long. The data set of a
    process that dies has failed. When this process is told to stop, it ends the others; what they have finished is in
    the store.
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
    """The running processes, by the pipe that each reports through."""

    assignment: WorkerSpec
    progress: RunProgress
    running: dict[Any, _Worker] = field(default_factory=dict)
    done: dict[str, DatasetResult] = field(default_factory=dict)

    def start(self, work: DatasetRun) -> None:
        """Starts a process for a data set."""
        context = get_context("forkserver")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(self.assignment, work.name, theirs))
        self.running[ours] = _Worker(work, process, Counter(work.steps))
        process.start()
        theirs.close()  # only the process holds the other end now, so that its end is noticed

    def hear(self, connection: Any) -> None:
        """Handles a message of a process; notes the result of its data set when the pipe is closed."""
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
        """Records the cells that a process had not finished as failed."""
        work, (reason, trace) = worker.work, worker.failed
        work.done = worker.done
        code = worker.process.exitcode
        killed = " (killed, usually out of memory); try --workers 1" if code == _KILLED else ""
        died = f"worker process exited with code {code}{killed}"
        with work.guard(work.name, [key for key in work.cells if key not in work.done.cells]):
            raise UserError(reason or died) from (RuntimeError(trace) if trace else None)
        self.progress.skip(*worker.waiting.elements())
        return work.done

    def end(self) -> None:
        """Ends all that still run, and gives them time to clean up."""
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
    """Ignores SIGINT inside the block, in the main thread; processes that are started in it inherit that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_server() -> None:
    """Starts the process that all others are copies of, with the modules that this one has imported.

    It ignores Ctrl-C, because this process ends the others, and is started in the root of the project, because it looks
    for modules in its working folder.
    """
    forkserver.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] in _PACKAGES])
    with _deaf(), chdir(Path(__file__).parents[2]):
        forkserver.ensure_running()


class _Stopped(KeyboardInterrupt):
    """The first process told this one to end; handled like Ctrl-C, which no failure of a plugin is."""


def _stop(*_: object) -> None:
    raise _Stopped  # through every ``finally``


def _work(assignment: WorkerSpec, name: str, connection: Connection) -> None:
    """Works on a data set, in a process of its own."""
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads_of_each(assignment.workers))

    def send(*message: object) -> None:
        with suppress(OSError):  # the other end is closed, and this process is about to end
            connection.send(message)

    try:
        assignment.register()
        config, options = assignment.config, assignment.options
        plan = make_plan(config, options.root)
        work = DatasetRun(name, config, plan, options, assignment.plan_id, SentProgress(send), partial(send, "note"))
        for done in work.run():
            send("done", done, False)
        send("done", work.done, True)
    except _Stopped:
        sys.exit(1)
    except BaseException as error:  # a plugin may raise anything, such as the end of the program
        send("failed", one_line(error), traceback.format_exc())


def _end_with_parent() -> None:
    """Ends this process after its parent was killed, because the folder is then no longer locked."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
