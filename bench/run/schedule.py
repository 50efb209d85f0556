"""Schedule of a run: which task may begin, in which order, and what follows from the result of each.

It knows nothing of processes, so that one loop in this process, a cluster and a simulation work through the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.evaluation.explainer_jobs import Failure
from bench.run.tasks import Done, Ended, Task
from bench.store.records import CellKey


@dataclass
class CellState:
    """What is known about a cell while a run works.

    Attributes:
        key: of the cell.
        source: cell whose trained classifier this one needs; None without one.
        is_planned: whether it is a cell of the run; otherwise, it is trained only because others need it.
        stage: the next thing to do.
        running: number of its tasks that are being done.
        shares: part -> ranges of shares that nobody has begun.
        failures: part -> explainer -> why it failed.
        ended: why the cell has failed or was skipped; None if it has not.
        computed: whether anything of it was computed.
    """

    key: CellKey
    source: CellKey | None
    is_planned: bool = True
    stage: str = "train"
    running: int = 0
    shares: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    failures: dict[str, dict[str, Failure]] = field(default_factory=dict)
    ended: Ended | None = None
    computed: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.stage == "over" and not self.running

    @property
    def pending(self) -> int:
        """Number of shares that nobody has begun."""
        return sum(stop - start for ranges in self.shares.values() for start, stop in ranges)


@dataclass
class Schedule:
    """The tasks of a run, as far as they are known.

    Attributes:
        datasets: names of the data sets, in the order in which they are read.
        cells: the cells, in the order of the plan.
    """

    datasets: list[str]
    cells: dict[CellKey, CellState]
    _reading: set[str] = field(default_factory=set)
    _ready: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, datasets: list[str], sources: dict[CellKey, CellKey | None], planned: set[CellKey]) -> Schedule:
        """Makes the schedule of cells.

        Args:
            datasets: names of the data sets, the one to read first at the front.
            sources: cell -> cell that it starts from or is converted from; each of these is in it, too.
            planned: the cells of the run.
        """
        return cls(list(datasets), {key: CellState(key, source, key in planned) for key, source in sources.items()})

    @property
    def is_over(self) -> bool:
        """Whether everything is done."""
        return not self.datasets and not self._reading and all(state.is_over for state in self.cells.values())

    def next(self, before: Task | None = None, depth_first: bool = False) -> Task | None:
        """Takes the best task that may begin now; None if there is none.

        Args:
            before: the task that the worker did last: another one of the same cell, or at least of the same data set,
                finds its files in memory.
            depth_first: finish a cell before the next one is begun, as is best for a single worker. Otherwise trainings
                come first, those that others wait for at their head: they cannot be divided, but shares can fill the
                time of all workers at the end.
        """
        ready = list(self._may_begin())
        if not ready:
            return None
        order = ("finish", "score", "train", "prepare") if depth_first else ("train", "prepare", "finish", "score")
        waiting = [state for state in self.cells.values() if state.stage == "train" and not depth_first]
        needed = {state.source for state in waiting if state.source}

        def rank(task: Task) -> tuple[object, ...]:
            is_near = before is not None and task.dataset == before.dataset
            is_same = is_near and before is not None and task.cell == before.cell
            state = self.cells[task.key] if task.kind == "score" else None
            load = (state.running, -state.pending) if state else (0, 0)  # help where few work and much is left
            is_needed = task.kind == "train" and task.cell in needed
            return not is_needed, order.index(task.kind), not is_same, not is_near, load

        return self._take(min(ready, key=rank))  # the first one of equal rank, in the order of the plan

    def done(self, task: Task, done: Done) -> list[CellKey]:
        """Notes the result of a task -> the cells that end with it."""
        if task.kind == "prepare":
            return self._read(task, done)
        state = self.cells[task.key]
        state.running -= 1
        state.computed |= done.computed
        for name, failure in done.failures.items():
            state.failures.setdefault(task.part, {}).setdefault(name, failure)
        if done.ended:
            return self._end(state, state.ended or done.ended)
        if task.kind == "finish" or (task.kind == "train" and not state.is_planned):
            return self._end(state, None)
        if task.kind == "train":
            state.shares = {part: list(ranges) for part, ranges in done.shares.items()}
        if state.stage == "over":  # it failed while this task was running
            return [state.key] if state.is_over else []
        state.stage = "finish" if not state.pending and not state.running else "score"
        return []

    def back(self, task: Task) -> list[CellKey]:
        """Takes a task back that nobody has done -> the cells that end with it, because they have failed meanwhile."""
        if task.kind == "prepare":
            self._reading.discard(task.dataset)
            self.datasets.insert(0, task.dataset)
            return []
        state = self.cells[task.key]
        state.running -= 1
        if state.stage == "over":
            return [state.key] if state.is_over else []
        state.stage = task.kind
        if task.kind == "score":
            state.shares.setdefault(task.part, []).insert(0, (task.share, task.share + 1))
        return []

    def _may_begin(self) -> Iterator[Task]:
        for name in self.datasets:
            yield Task("prepare", name)
        for state in self.cells.values():
            key = state.key
            if key.dataset not in self._ready or state.stage == "over":
                continue
            if state.stage == "score" and state.pending:
                part, (share, _) = next((part, ranges[0]) for part, ranges in state.shares.items() if ranges)
                yield Task("score", key.dataset, key, part, share, state.failures)
            elif state.running == 0 and state.stage == "finish":
                yield Task("finish", key.dataset, key, failures=state.failures)
            elif state.running == 0 and state.stage == "train" and self._has_source(state):
                yield Task("train", key.dataset, key)

    def _has_source(self, state: CellState) -> bool:
        return state.source is None or self.cells[state.source].stage != "train"

    def _take(self, task: Task) -> Task:
        if task.kind == "prepare":
            self.datasets.remove(task.dataset)
            self._reading.add(task.dataset)
            return task
        state = self.cells[task.key]
        state.running += 1
        if task.kind == "score":
            ranges = state.shares[task.part]
            start, stop = ranges.pop(0)
            if start + 1 < stop:
                ranges.insert(0, (start + 1, stop))
        return task

    def _read(self, task: Task, done: Done) -> list[CellKey]:
        self._reading.discard(task.dataset)
        self._ready.add(task.dataset)
        states = [state for state in self.cells.values() if state.key.dataset == task.dataset]
        if done.ended:
            for state in states:
                state.stage, state.ended = "over", done.ended
        return [state.key for state in states if done.ended]

    def _end(self, state: CellState, ended: Ended | None) -> list[CellKey]:
        """Ends a cell -> the cells that are over with it, those that need its training among them."""
        was_trained = state.stage != "train"
        state.stage, state.ended, state.shares = "over", ended, {}
        over = [state.key] if state.is_over else []
        if was_trained or ended is None:
            return over
        for one in self.cells.values():
            if one.source == state.key and one.stage == "train":
                what = f"head {one.key.head!r} starts from the trained weights of {state.key.head!r}"
                reason = f"{what}, whose training failed: {ended.reason}"
                over += self._end(one, Ended(ended.status, reason, ended.traceback))
        return over
