"""Coordination of a run: hands out tasks, writes down what comes back, and shows the progress.

It is the only one that notes failures and that writes the record of the run; workers write results.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.config import Config
from bench.errors import UserError
from bench.files import telling
from bench.progress import RunProgress
from bench.run.expected import shares_of, weigh_steps
from bench.run.options import RunOptions
from bench.run.plan import Plan, plan_head, source_of
from bench.run.schedule import Schedule
from bench.run.tasks import Done, Ended, Task, by_worker, unwritable
from bench.store.cell_facts import WorkFacts
from bench.store.folders import RunStore
from bench.store.records import CellKey, DatasetFacts


def make_schedule(config: Config, plan: Plan) -> Schedule:
    """Returns the schedule of a plan: data sets with large images first, because what is begun last should be short."""
    datasets = sorted(plan.datasets, key=lambda name: -plan.configs[name].data.size)
    keys = sorted(plan.cells, key=lambda key: datasets.index(key.dataset))
    sources: dict[CellKey, CellKey | None] = {}
    while keys:
        key = keys.pop(0)
        source = source_of(plan.cells.get(key) or plan_head(config, key, plan.spec(key.dataset)), key)
        sources[key] = source
        if source is not None and source not in sources and source not in keys:
            keys.insert(0, source)
    return Schedule.of(datasets, sources, set(plan.cells))


@dataclass
class Coordinator:
    """The state of a run.

    Attributes:
        schedule: what is left to do.
        plan: of the run.
        options: of the command line.
        plan_id: hash of the plan, noted in the record of every cell.
        progress: shows what is done.
        note: called with the name and the facts of a data set once they are known.
        computed: whether anything was computed.
    """

    schedule: Schedule
    plan: Plan
    options: RunOptions
    plan_id: str
    progress: RunProgress
    note: Callable[[str, DatasetFacts], None]
    computed: bool = False
    _problems: dict[str | CellKey, list[str]] = field(default_factory=lambda: defaultdict(list))
    _steps: dict[str | CellKey, Counter[str]] = field(default_factory=dict)
    _work: dict[CellKey, dict[tuple[str, str], WorkFacts]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        """Announces the steps that are known, for the estimate of the time left."""
        for name in self.schedule.datasets:
            self._expect(name, [Task("prepare", name).step])
        for key, state in self.schedule.cells.items():
            kinds = ("train", "score", "finish") if state.is_planned else ("train",)
            self._expect(key, [Task(kind, key.dataset, key).step for kind in kinds])  # type: ignore[arg-type]

    @property
    def problems(self) -> list[str]:
        """A line for everything that failed, in the order of the plan."""
        order: list[str | CellKey] = []
        for name in self.plan.datasets:
            order += [name, *(key for key in self.schedule.cells if key.dataset == name)]
        return [line for one in order for line in self._problems.get(one, [])]

    def done(self, task: Task, done: Done) -> None:
        """Handles the result of a task.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        where = by_worker(done.worker, done.host)
        for kind, *words in done.said:
            getattr(self.progress, kind)(words[0] + (where if kind == "milestone" else ""), *words[1:])
        if done.fault:
            raise unwritable(self.options.out, done.fault)
        self.computed |= done.computed
        self._count(task, done)
        if done.facts:
            self.note(task.dataset, done.facts)
            self._weigh(task.dataset, done.facts)
        if task.cell and done.computed:
            self._note_work(task, task.cell, done)
        for line in done.problems:
            self._problem(task.key, line)
        self._end(task, self.schedule.done(task, done))

    def back(self, task: Task) -> None:
        """Takes a task back that nobody has done."""
        self._end(task, self.schedule.back(task))

    def _end(self, task: Task, over: list[CellKey]) -> None:
        """Writes down how cells ended."""
        if task.kind == "prepare" and (ended := self._why(over)):
            self._announce(task.dataset, task.dataset, ended)
        for key in over:
            state = self.schedule.cells[key]
            self.progress.skip(*self._steps.pop(key, Counter()).elements())
            if state.ended and state.is_planned:
                ended = state.ended
                self._note(key, status=ended.status, reason=ended.reason, traceback=ended.traceback)
                if task.kind != "prepare":
                    self._announce(key, str(key), ended)
            elif state.computed and state.is_planned:
                self.progress.milestone(f"{key}: done")
            if key in self._work:
                self._note(key, work=list(self._work[key].values()))

    def _why(self, over: Iterable[CellKey]) -> Ended | None:
        return next((self.schedule.cells[key].ended for key in over), None)

    def _announce(self, of: str | CellKey, name: str, ended: Ended) -> None:
        if ended.status == "skipped":
            self.progress.say(f"{name} skipped: {ended.reason}", style="yellow")
        else:
            self._problem(of, f"{name} failed: {ended.reason}")

    def _problem(self, of: str | CellKey, text: str) -> None:
        self._problems[of].append(text)
        self.progress.say(text, style="red")

    def _expect(self, of: str | CellKey, kinds: list[str]) -> None:
        self._steps.setdefault(of, Counter()).update(kinds)
        self.progress.expect(*kinds)

    def _weigh(self, name: str, facts: DatasetFacts) -> None:
        """States the work on a data set, for the estimate of the time left."""
        weigh_steps(self.progress, self.plan, name, facts)
        for key in self.plan.cells:
            if key.dataset == name:
                self._expect(key, [Task("score", name, key).step] * (shares_of(self.plan, name, facts) - 1))

    def _count(self, task: Task, done: Done) -> None:
        """Counts a finished step, and corrects the number of shares by those that a training has found."""
        left = self._steps.get(task.cell or task.dataset, Counter())
        if left[task.step] > 0:
            left[task.step] -= 1
            self.progress.end(task.step, done.seconds if done.computed else None)
        if task.kind == "train" and task.cell in self.plan.cells and not done.ended:
            step = Task("score", task.dataset, task.cell).step
            shares = sum(stop - start for found in done.shares.values() for start, stop in found)
            more = shares - left[step]
            self._expect(task.cell, [step] * more)
            self.progress.skip(*[step] * -more)
            left[step] = shares

    def _note_work(self, task: Task, key: CellKey, done: Done) -> None:
        began = datetime.fromtimestamp(done.started, UTC).isoformat(timespec="milliseconds")
        known = self._work[key].get((task.kind, done.worker))
        self._work[key][task.kind, done.worker] = WorkFacts(
            task=task.kind,
            worker=done.worker,
            started=known.started if known else began,
            seconds=round(done.seconds + (known.seconds if known else 0), 3),
            shares=(known.shares if known else 0) + (task.kind == "score"),
        )

    def _note(self, key: CellKey, **facts: object) -> None:
        try:
            with telling(lambda *_: None), suppress(UserError):  # it cannot be read: that is the failure
                RunStore(self.options.out).cell(key).note(plan=self.plan_id, **facts)
        except OSError as error:
            raise unwritable(self.options.out, str(error.strerror)) from error
