"""Leading process of a run on several workers: gives each worker one task at a time and handles what comes back.

A worker never holds more than the task that it works on, so its death concerns no other one.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, KilledWorker

from bench.errors import UserError, one_line
from bench.run.cluster.worker import Expected, enter, perform, reason_of
from bench.run.coordinator import Coordinator
from bench.run.tasks import Done, Ended, Task
from bench.store.cell_facts import WorkerFacts
from bench.store.run_folder import owns

#: Seconds between two looks at which workers there are.
_LOOK = 1.0
#: Seconds between two requests for the workers that are missing.
_SUBMIT = 60.0
_LIKELY = "its worker process died, usually because memory ran out"


@dataclass
class ClusterLoop:
    """The workers of a run and what each of them does.

    Attributes:
        client: connection to the scheduler.
        coordinator: the state of the run.
        expected: what every worker must have in common with this process.
        setup: what it is sent before its first task.
        where: name of the cluster, for messages.
        submit: asks the cluster again for workers whose time has ended.
        workers: name -> facts about every worker that took part.
    """

    client: Client
    coordinator: Coordinator
    expected: Expected
    setup: bytes
    where: str
    submit: Callable[[], object] = lambda: None
    workers: dict[str, WorkerFacts] = field(default_factory=dict)
    _looked: float = float("-inf")
    _submitted: float = field(default_factory=time.monotonic)
    _ready: dict[str, Task | None] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _entering: dict[str, tuple[str, Future[Any]]] = field(default_factory=dict)
    _running: dict[str, tuple[str, Task, Future[Any]]] = field(default_factory=dict)
    _missed: set[str] = field(default_factory=set)
    _died: set[Task] = field(default_factory=set)
    _events: queue.SimpleQueue[tuple[str, Any]] = field(default_factory=queue.SimpleQueue)

    def run(self) -> None:
        """Works until everything is done.

        Raises:
            UserError: the scheduler is gone, no worker can take part, or the disk cannot be written to.
        """
        self.client.subscribe_topic(self.expected.token, lambda event: self._events.put(("text", event[1])))
        try:
            while not self.coordinator.schedule.is_over:
                self._look()
                self._hand_out()
                self._wait()
        finally:
            with suppress(Exception):  # the scheduler may be gone
                futures = [one[-1] for one in (*self._entering.values(), *self._running.values())]
                self.client.cancel(futures, force=True)

    def _look(self) -> None:
        """Notices workers that have come or gone, at most once in a while."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        try:
            found = self.client.nthreads() if self.client.status == "running" else None
        except (OSError, TimeoutError):
            found = None
        if found is None:
            raise UserError(
                f"the scheduler {self.where} is gone; repeat the command, which continues from what is stored"
            )
        self._require_ownership()
        self._ready = {address: last for address, last in self._ready.items() if address in found}
        for key, (address, future) in list(self._entering.items()):
            if address not in found:
                future.cancel()
                del self._entering[key]
        self._take_back(found)
        known = {*self._ready, *self._refused, *(address for address, _ in self._entering.values())}
        for address in found.keys() - known:
            key = f"enter-{uuid.uuid4().hex}"
            future = self.client.submit(enter, self.expected, self.setup, key=key, workers=[address], pure=False)
            self._entering[key] = address, future
            future.add_done_callback(lambda one: self._events.put(("entered", one.key)))
        if time.monotonic() - self._submitted > _SUBMIT:
            self._submitted = time.monotonic()
            self.submit()
        if not found:
            self.coordinator.progress.update(f"waiting for workers {self.where}")
        if found and not self.workers and found.keys() <= self._refused.keys():
            raise UserError(f"no worker {self.where} can take part: {next(iter(self._refused.values()))}")

    def _require_ownership(self) -> None:
        """Raises ``UserError`` if another run has the folder, as it may after this one slept for a minute."""
        if not owns(self.coordinator.options.out, self.expected.token):
            raise UserError(
                f"stopped: {self.coordinator.options.out} belongs to another run, because this one was silent for a "
                "minute; wait for the other one and repeat the command"
            )

    def _take_back(self, found: Container[str]) -> None:
        """Takes tasks back whose worker has gone without an error, such as one whose time has ended."""
        gone = {key for key, (address, *_) in self._running.items() if address not in found}
        for key in gone & self._missed:  # an error may be on its way, so that this is noticed twice
            _, task, future = self._running[key]
            if not future.done():
                del self._running[key]
                future.cancel()
                self.coordinator.back(task)
        self._missed = gone

    def _hand_out(self) -> None:
        """Gives every idle worker a task, if there is one."""
        busy = {address for address, *_ in self._running.values()}
        for address, last in self._ready.items():
            if address in busy:
                continue
            task = self.coordinator.schedule.next(last, depth_first=len(self._ready) == 1)
            if task is None:
                break
            key = f"{task.kind}-{uuid.uuid4().hex}"
            future = self.client.submit(
                *(perform, self.expected.token, task),
                key=key,
                workers=[address],
                pure=False,
            )
            self._ready[address] = task
            self._running[key] = address, task, future
            future.add_done_callback(lambda one: self._events.put(("done", one.key)))
        self.coordinator.progress.workers = max(1, len(self._running))

    def _wait(self) -> None:
        """Handles what has happened, or waits for it for a while."""
        try:
            self._hear(*self._events.get(timeout=_LOOK))
            while True:
                self._hear(*self._events.get_nowait())
        except queue.Empty:
            return

    def _hear(self, kind: str, what: Any) -> None:
        if kind == "text":
            text, passes, seconds = what
            self.coordinator.progress.measured(passes, seconds)
            self.coordinator.progress.update(text)
        elif kind == "entered" and what in self._entering:
            self._entered(*self._entering.pop(what))
        elif kind == "done" and what in self._running:
            address, task, future = self._running.pop(what)
            self._done(address, task, future)

    def _entered(self, address: str, future: Future[Any]) -> None:
        """Takes a worker in, or refuses it."""
        if future.cancelled():
            return
        try:
            found = future.result()
        except KilledWorker:
            found = _LIKELY
        except Exception as error:  # whatever other versions of packages raise
            found = reason_of(error)
        first = next(iter(self.workers.values()), None)
        if not isinstance(found, str) and first and found.bf16 != first.bf16:
            found = "only some workers compute bf16 in hardware, so trainings would differ; use machines of one kind"
        if isinstance(found, str):
            self._refused[address] = f"worker {address} is refused: {found}"
            self.coordinator.progress.say(self._refused[address], style="yellow")
            return
        self.workers[found.name] = found
        self._ready[address] = None

    def _done(self, address: str, task: Task, future: Future[Any]) -> None:
        """Hands a result on; a task whose worker died gets a second try, and one that is lost is done again."""
        try:
            done: Any = None if future.cancelled() else future.result()
        except KilledWorker:
            self._ready.pop(address, None)  # it has another address when it is back
            if task in self._died:
                reason = f"{task}: {_LIKELY}, twice; use fewer --workers, smaller images or a smaller --batch-size"
                self.coordinator.done(task, Done(ended=Ended("failed", reason)))
                return
            self._died.add(task)
            self.coordinator.progress.say(f"{task}: {_LIKELY}; it is tried once more", style="yellow")
            done = None
        except Exception as error:
            done = Done(ended=Ended("failed", one_line(error)))
        if done is None:
            self.coordinator.back(task)
        elif done.is_abandoned:
            self._require_ownership()
            raise KeyboardInterrupt
        else:
            self.coordinator.done(task, done)
