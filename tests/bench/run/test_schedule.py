"""The schedule: order of tasks, what waits for what, and what a failure takes along."""

from __future__ import annotations

import pytest

from bench.evaluation.explainer_jobs import Failure
from bench.run.schedule import Schedule
from bench.run.tasks import Done, Ended, Task, ranges
from bench.store.records import CellKey

BLACK, DENSE, SPARSE, TTE = (CellKey("a", "net", head, 0) for head in ("black", "dense", "sparse", "tte"))
OTHER = CellKey("b", "net", "black", 0)
SHARES = Done(shares={"": [(0, 2)], "own_class": [(4, 5)]})
FAILED = Done(ended=Ended("failed", "training diverged"))


def schedule() -> Schedule:
    """Two data sets; one cell is converted from the first, one starts from a cell that is not asked for."""
    sources = {BLACK: None, TTE: BLACK, DENSE: None, SPARSE: DENSE, OTHER: None}
    return Schedule.of(["a", "b"], sources, {BLACK, TTE, SPARSE, OTHER})


def take(made: Schedule, count: int, before: Task | None = None) -> list[Task]:
    return [task for _ in range(count) if (task := made.next(before)) is not None]


def read(made: Schedule, *names: str) -> None:
    for name in names:
        made.done(Task("prepare", name), Done())
        if name in made.datasets:
            made.datasets.remove(name)


def test_a_single_worker_finishes_a_cell_before_the_next() -> None:
    made, done = schedule(), []
    task = None
    while (task := made.next(task, depth_first=True)) is not None:
        done.append(task)
        made.done(task, SHARES if task.kind == "train" else Done())
    names = [(task.kind, task.cell.head if task.cell else task.dataset) for task in done]
    of_cell = ["train", *["score"] * 3, "finish"]
    assert names[:6] == [("prepare", "a"), *((kind, "black") for kind in of_cell)]
    assert names[6:11] == [(kind, "tte") for kind in of_cell]
    assert names[11] == ("train", "dense")  # and nothing else, because nobody asked for it
    assert names[12:17] == [(kind, "sparse") for kind in of_cell]
    assert names[17] == ("prepare", "b")
    assert made.is_over
    assert [(task.part, task.share) for task in done[2:5]] == [("", 0), ("", 1), ("own_class", 4)]


def test_several_workers_train_first_what_others_wait_for() -> None:
    made = schedule()
    assert [task.dataset for task in take(made, 3)] == ["a", "b"]
    read(made, "b", "a")
    begun = take(made, 9)
    assert [task.key for task in begun] == [BLACK, DENSE, OTHER]
    assert made.next() is None  # the others have to wait
    made.done(begun[0], SHARES)
    assert [(task.kind, task.key) for task in take(made, 2)] == [("train", TTE), ("score", BLACK)]


def test_a_worker_stays_with_its_cell_and_then_helps_where_most_is_left() -> None:
    made = Schedule.of(["a", "b"], {BLACK: None, DENSE: None, OTHER: None}, {BLACK, DENSE, OTHER})
    read(made, "a", "b")
    trained = take(made, 3)
    for task, shares in zip(trained, (2, 5, 9), strict=True):
        made.done(task, Done(shares={"": [(0, shares)]}))
    assert made.next(trained[0]).key == BLACK
    assert made.next(Task("finish", "a", SPARSE)).key == DENSE  # of the same data set, nobody works on it
    assert made.next().key == OTHER


def test_a_cell_is_finished_after_its_last_share_with_what_failed_on_any() -> None:
    made = Schedule.of(["a"], {BLACK: None}, {BLACK})
    read(made, "a")
    made.done(take(made, 1)[0], SHARES)
    first, second, third = take(made, 3)
    made.done(second, Done(failures={"cam": Failure("no", "trace")}))
    made.done(third, Done())
    assert made.next() is None
    made.done(first, Done(failures={"cam": Failure("later", "")}))
    last = made.next()
    assert last is not None
    assert (last.kind, last.failures) == ("finish", {"": {"cam": Failure("no", "trace")}})
    assert made.done(last, Done()) == [BLACK]
    assert made.is_over


def test_a_failed_training_ends_the_cells_that_wait_for_it() -> None:
    made = schedule()
    read(made, "a", "b")
    black, dense, other = take(made, 3)
    assert made.done(dense, FAILED) == [DENSE, SPARSE]
    ended = made.cells[SPARSE].ended
    assert ended is not None
    assert ended.reason == (
        "head 'sparse' starts from the trained weights of 'dense', whose training failed: training diverged"
    )
    made.done(black, Done())
    made.done(other, Done())
    assert {task.key for task in take(made, 9)} == {BLACK, OTHER, TTE}


def test_a_failed_share_ends_its_cell_when_the_others_are_back() -> None:
    made = Schedule.of(["a"], {BLACK: None, TTE: BLACK}, {BLACK, TTE})
    read(made, "a")
    made.done(take(made, 1)[0], SHARES)
    begun = take(made, 3)
    assert [task.kind for task in begun] == ["train", "score", "score"]
    assert made.done(begun[1], FAILED) == []
    assert made.next() is None
    assert made.done(begun[2], Done()) == [BLACK]
    assert made.done(begun[0], Done()) == []  # trained weights are there, so the other cell goes on
    assert made.next().kind == "finish"


def test_a_data_set_that_cannot_be_read_ends_its_cells() -> None:
    made = schedule()
    first = made.next()
    assert made.done(first, FAILED) == [BLACK, TTE, DENSE, SPARSE]
    assert made.next().dataset == "b"


def test_a_share_that_is_taken_back_ends_a_cell_that_has_failed_meanwhile() -> None:
    made = Schedule.of(["a"], {BLACK: None}, {BLACK})
    read(made, "a")
    made.done(take(made, 1)[0], SHARES)
    first, second, _ = take(made, 3)
    assert made.done(first, FAILED) == []
    assert made.back(second) == []
    assert made.back(second) == [BLACK]
    assert made.is_over


@pytest.mark.parametrize("kind", ["prepare", "train", "score", "finish"])
def test_a_task_that_nobody_has_done_can_be_had_again(kind: str) -> None:
    made = Schedule.of(["a"], {BLACK: None}, {BLACK})
    while (task := made.next()).kind != kind:
        made.done(task, SHARES if task.kind == "train" else Done())
    assert made.back(task) == []
    assert not made.is_over
    assert made.next() == task


def test_numbers_are_joined_to_ranges() -> None:
    assert ranges([]) == []
    assert ranges([3]) == [(3, 4)]
    assert ranges([0, 1, 4, 5, 6, 9]) == [(0, 2), (4, 7), (9, 10)]
