"""Tasks that two processes share: whatever the second one has not begun, or loses, the first one does."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, cast

import pytest
from threadpoolctl import ThreadpoolController

from bench.report import two_processes
from bench.report.failures import Failures
from bench.report.frames.load import Frames
from bench.report.two_processes import Shared, Task, half_the_threads
from bench.store.manifest import Manifest


class Pool:
    """Pool that has finished the first task and died at the second one."""

    def __init__(self, folder: Path) -> None:
        self.theirs = Manifest(folder, lenient=True, written={"figures/apart.png"})
        self.given: list[Task] = []

    def submit(self, work: object, folder: Path, task: Task) -> Future[Any]:
        self.given.append(task)
        future: Future[Any] = Future()
        if len(self.given) == 1:
            future.set_result(("apart", self.theirs, Failures(tracebacks={"said": ("name", "traceback")})))
        if len(self.given) == 2:
            future.set_exception(BrokenProcessPool())
        if len(self.given) > 2:
            raise BrokenProcessPool
        return future


def test_what_is_not_begun_or_lost_is_done_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[str] = []
    monkeypatch.setattr(two_processes, "make", lambda task, *_: here.append(task.name) or f"made {task.name}")
    shared = Shared(tmp_path, cast(Any, Pool(tmp_path)))
    shared.add([Task("figures", name) for name in ("done", "lost", "third", "last")])
    shared.add([Task("tables", "first")])
    shared.add([Task("figures", "later")], apart=False)
    files, failures = Manifest(tmp_path, lenient=True), Failures()
    found = shared.results(cast(Frames, None), files, failures, "tables")
    assert (here, found) == (["first"], {Task("tables", "first"): "made first"})
    found = shared.results(cast(Frames, None), files, failures)
    assert here == ["first", "later", "last", "third", "lost"]
    assert found.pop(Task("tables", "first")) == "made first"
    assert found.pop(Task("figures", "done")) == "apart"
    assert found == {Task("figures", name): f"made {name}" for name in here[1:]}
    assert files.written == {"figures/apart.png"}
    assert failures.tracebacks == {"said": ("name", "traceback")}


def test_what_waits_for_the_second_process_does_other_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are ready only after a figure was drawn here; a further one is left for later."""
    slow: Future[Any] = Future()

    class SlowPool:
        def submit(self, work: object, folder: Path, task: Task) -> Future[Any]:
            if task.name != "slow":
                raise RuntimeError("shut down")
            return slow

    def make(task: Task, *arguments: object) -> str:
        slow.set_result(("apart", Manifest(tmp_path, lenient=True), Failures()))
        return f"made {task.name}"

    monkeypatch.setattr(two_processes, "make", make)
    shared = Shared(tmp_path, cast(Any, SlowPool()))
    shared.add([Task("tables", "slow"), Task("figures", "later"), Task("figures", "now")])
    found = shared.results(cast(Frames, None), Manifest(tmp_path, lenient=True), Failures(), "tables")
    assert found == {Task("tables", "slow"): "apart", Task("figures", "now"): "made now"}


def test_two_processes_have_half_of_the_threads_each() -> None:
    blas = ThreadpoolController().select(user_api="blas")

    def threads() -> list[int]:
        return [library.num_threads for library in blas.lib_controllers]

    with blas.limit(limits=4):
        with half_the_threads():
            assert set(threads()) == {2}
            with half_the_threads(), half_the_threads():
                assert set(threads()) == {1}
        assert set(threads()) == {4}
