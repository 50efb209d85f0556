"""Duration of a run on some number of workers, by playing its schedule with estimated task times."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from bench.run.schedule import Schedule
from bench.run.tasks import Done, Task

#: Seconds of a task; and part -> number of shares of a cell.
Seconds = Callable[[Task], float]


@dataclass(frozen=True)
class Forecast:
    """Duration of a run.

    Attributes:
        seconds: from the first task to the last.
        busy: seconds that all workers compute.
    """

    seconds: float
    busy: float


def forecast(schedule: Schedule, seconds: Seconds, shares: Callable[[Task], int], workers: int) -> Forecast:
    """Plays a schedule: whenever a worker is free, it takes the next task, as in a run.

    Args:
        schedule: of the run; it is used up.
        seconds: time of a task.
        shares: number of shares that a training announces.
        workers: number of workers.
    """
    free: list[tuple[float, int, Task | None]] = [(0.0, number, None) for number in range(workers)]
    heapq.heapify(free)
    ends: list[tuple[float, int, Task]] = []
    now = busy = 0.0
    idle: list[tuple[int, Task | None]] = []
    while not schedule.is_over:
        while free and free[0][0] <= now:
            _, number, last = heapq.heappop(free)
            idle.append((number, last))
        while idle and (task := schedule.next(idle[0][1], depth_first=workers == 1)) is not None:
            number, _ = idle.pop(0)
            took = seconds(task)
            busy += took
            heapq.heappush(ends, (now + took, number, task))
        if not ends:
            break
        now, number, task = heapq.heappop(ends)
        found = {"": [(0, shares(task))]} if task.kind == "train" and shares(task) else {}
        schedule.done(task, Done(shares=found))
        heapq.heappush(free, (now, number, task))
    return Forecast(now, busy)
