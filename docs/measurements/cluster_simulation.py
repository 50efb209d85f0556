"""Simulation of runs on more workers than this project has: the schedule of a run, played with assumed disturbances.

    python docs/measurements/cluster_simulation.py --images 10000 --images 100000 --mtbf 1 --mtbf 24

It plays the scheduler of the benchmark itself (``bench.run.schedule``) in simulated time. Times of tasks are arguments;
``cell.json`` of a run on several workers holds measured ones (``work``). A worker that dies, or whose job ends, loses
what it works on, but for the finished epochs of a training, and comes back after its start-up. All workers share the
bandwidth of the disk, and the leading process hands out one task after the other. Nothing here was measured on a
cluster.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.run.schedule import Schedule
from bench.run.tasks import Done, Task
from bench.store.records import CellKey

_HOUR = 3600.0
_WORKERS = (1, 2, 8, 32, 128, 512)


@dataclass(frozen=True)
class Cluster:
    """Times in seconds and sizes in bytes; see ``main`` for the meaning of each."""

    train: float
    share: float
    finish: float
    epochs: int
    startup: float
    handout: float
    share_bytes: float
    bandwidth: float
    mtbf: float
    walltime: float


@dataclass
class Played:
    """Result: duration, seconds of computing, of these lost, and seconds that the leading process was busy."""

    seconds: float = 0.0
    busy: float = 0.0
    lost: float = 0.0
    leading: float = 0.0
    deaths: int = 0


def schedule(seeds: int, heads: int) -> Schedule:
    """The cells of one data set; every third head is converted from the first."""
    sources: dict[CellKey, CellKey | None] = {}
    for seed in range(seeds):
        for head in range(heads):
            first = CellKey("data", "net", "head0", seed)
            sources[CellKey("data", "net", f"head{head}", seed)] = first if head % 3 == 1 else None
    return Schedule.of(["data"], sources, set(sources))


def play(made: Schedule, cluster: Cluster, workers: int, shares: int, seed: int = 0) -> Played:
    """Plays a schedule on some number of workers."""
    draw, found = random.Random(seed), Played()
    left: dict[Task, float] = {}
    begun = [0.0] * workers

    def life() -> float:
        return draw.expovariate(1 / cluster.mtbf) if math.isfinite(cluster.mtbf) else math.inf

    ends = [min(life(), cluster.walltime) for _ in range(workers)]
    idle: list[tuple[int, Task | None]] = []
    events: list[tuple[float, int, Task | None, bool]] = [(cluster.startup, one, None, True) for one in range(workers)]
    heapq.heapify(events)
    running, leader = 0, 0.0
    while not made.is_over and events:
        now, worker, task, is_done = heapq.heappop(events)
        if task is not None:
            running -= 1
            if is_done:
                number = [(0, shares)] if task.kind == "train" else []
                made.done(task, Done(shares={"": number} if number else {}))
                left.pop(task, None)
        if not is_done:  # the worker comes back as a new one
            found.deaths += 1
            begun[worker] = now + cluster.startup
            ends[worker] = begun[worker] + min(life(), cluster.walltime)
            if task is not None:
                made.back(task)
            heapq.heappush(events, (begun[worker], worker, None, True))
        else:
            idle.append((worker, task))
        while idle and (chosen := made.next(idle[0][1], depth_first=workers == 1)) is not None:
            one, _ = idle.pop(0)
            leader = max(now, leader) + cluster.handout
            found.leading += cluster.handout
            running += 1
            read = cluster.share_bytes * running / cluster.bandwidth if chosen.kind == "score" else 0.0
            whole = {"prepare": 0.0, "train": cluster.train, "score": cluster.share, "finish": cluster.finish}
            needed = left.get(chosen, whole[chosen.kind]) + read
            found.busy += min(needed, max(0.0, ends[one] - leader))
            if leader + needed <= ends[one]:
                heapq.heappush(events, (leader + needed, one, chosen, True))
                continue
            done = max(0.0, ends[one] - leader)
            kept = math.floor(done / cluster.train * cluster.epochs) / cluster.epochs * cluster.train
            kept = kept if chosen.kind == "train" else 0.0
            left[chosen] = needed - kept
            found.lost += done - kept
            heapq.heappush(events, (max(now, ends[one]), one, chosen, False))
        found.seconds = now
    return found


def main(  # noqa: PLR0913 (one argument per time)
    images: Annotated[list[int], typer.Option(help="explained images per cell")] = [10**4, 10**5],  # noqa: B006
    mtbf: Annotated[list[float], typer.Option(help="mean hours between deaths of a worker; 0: none")] = [0, 24, 1],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="seeds")] = 3,
    heads: Annotated[int, typer.Option(help="heads")] = 5,
    batch: Annotated[int, typer.Option(help="images of a share")] = 48,
    train: Annotated[float, typer.Option(help="seconds of a training")] = 3600,
    share: Annotated[float, typer.Option(help="seconds of a share")] = 20,
    finish: Annotated[float, typer.Option(help="seconds of joining and studies")] = 300,
    epochs: Annotated[int, typer.Option(help="epochs, each with a checkpoint")] = 70,
    startup: Annotated[float, typer.Option(help="seconds until a worker has begun")] = 30,
    handout: Annotated[float, typer.Option(help="seconds of the leading process per task")] = 0.005,
    megabytes: Annotated[float, typer.Option(help="megabytes that a share reads and writes")] = 10,
    bandwidth: Annotated[float, typer.Option(help="megabytes per second of the shared disk")] = 1000,
    walltime: Annotated[float, typer.Option(help="hours of a job; 0: no limit")] = 0,
) -> None:
    """Prints one row per number of images, deaths and workers."""
    print("| images | hours between deaths | workers | hours | speed-up | lost | leading process busy |")
    print("|---|---|---|---|---|---|---|")
    for count in images:
        for hours in mtbf:
            one = 0.0
            for workers in _WORKERS:
                cluster = Cluster(
                    *(train, share, finish, epochs, startup, handout, megabytes, bandwidth),
                    mtbf=hours * _HOUR if hours else math.inf,
                    walltime=walltime * _HOUR if walltime else math.inf,
                )
                played = play(schedule(seeds, heads), cluster, workers, math.ceil(count / batch))
                one = one or played.seconds
                lost, leading = played.lost / max(played.busy, 1), played.leading / max(played.seconds, 1)
                print(
                    f"| {count:,} | {hours or 'none'} | {workers} | {played.seconds / _HOUR:,.2f} "
                    f"| {one / played.seconds:.1f} | {lost:.1%} | {leading:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    typer.run(main)
