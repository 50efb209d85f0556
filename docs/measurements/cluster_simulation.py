"""Simulation of runs on more workers than this project has, with task times that were measured on two.

    python run_benchmark.py --config quick --datasets cxr-phantom --workers 1 --out results/one
    python run_benchmark.py --config quick --datasets cxr-phantom --workers 2 --out results/two
    python docs/measurements/cluster_simulation.py --run results/one --run results/two --out results/cluster

It plays the scheduler of the benchmark itself (``bench.run.schedule``) in simulated time. First, it plays the cells of
each given run on one and two workers, and prints the prediction next to the measured duration. Then it plays a larger
run, whose tasks take as long as those of the first given one. A worker that dies, or whose job ends, loses what it
works on, but for finished epochs and shares, and comes back after its start-up. The disk is shared by all workers, and
the leading process hands out one task after the other. No cluster was measured. It writes cluster_simulation.png.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

sys.path.insert(0, str(Path(__file__).parents[2]))
import run_benchmark
from bench.config import parse_config
from bench.report.figures.style import WIDTH, paper_style
from bench.run.coordinator import make_schedule
from bench.run.plan import make_plan
from bench.run.schedule import Schedule
from bench.run.tasks import Done, Task
from bench.store.folders import RunStore
from bench.store.records import CellKey

_HOUR = 3600.0
_WORKERS = (1, 2, 8, 32, 128, 512)
#: Most tasks that are played per cell: more shares than this are played in groups, which changes no sum of times.
_MOST_TASKS = 1000


@dataclass(frozen=True)
class Cluster:
    """Seconds and bytes; see ``main`` for the meaning of each."""

    startup: float = 0.0
    handout: float = 0.0
    share_bytes: float = 0.0
    bandwidth: float = math.inf
    mtbf: float = math.inf
    walltime: float = math.inf


@dataclass(frozen=True)
class Work:
    """Tasks of a run.

    Attributes:
        seconds: duration of a task.
        shares: number of shares that a training announces.
        unit: seconds of a task after which a part of it is stored.
        group: number of shares that one played task stands for.
    """

    seconds: Callable[[Task], float]
    shares: Callable[[Task], int]
    unit: Callable[[Task], float]
    group: int = 1


@dataclass
class Played:
    """Result: duration, seconds of computing, of these lost, and seconds that the leading process was busy."""

    seconds: float = 0.0
    busy: float = 0.0
    lost: float = 0.0
    leading: float = 0.0
    deaths: int = 0


def play(made: Schedule, work: Work, cluster: Cluster, workers: int, seed: int = 0) -> Played:
    """Plays a schedule, which is used up, on some number of workers."""
    draw, found = random.Random(seed), Played()
    left: dict[Task, float] = {}

    def end(start: float) -> float:
        life = draw.expovariate(1 / cluster.mtbf) if math.isfinite(cluster.mtbf) else math.inf
        return start + min(life, cluster.walltime)

    ends = [end(0.0) for _ in range(workers)]
    idle: list[tuple[int, Task | None]] = []
    events: list[tuple[float, int, Task | None, bool]] = [(cluster.startup, one, None, True) for one in range(workers)]
    running, leader = 0, 0.0
    while not made.is_over and events:
        now, worker, task, is_done = heapq.heappop(events)
        running -= task is not None
        if not is_done:  # the worker is gone, and another one starts in its place
            found.deaths += 1
            ends[worker] = end(now + cluster.startup)
            heapq.heappush(events, (now + cluster.startup, worker, None, True))
            if task is not None:
                made.back(task)
        else:
            idle.append((worker, task))
            if task is not None:
                number = work.shares(task) if task.kind == "train" else 0
                made.done(task, Done(shares={"": [(0, number)]} if number else {}))
                left.pop(task, None)
        while idle and (chosen := made.next(idle[0][1], depth_first=workers == 1)) is not None:
            one, _ = idle.pop(0)
            handout = cluster.handout * (work.group if chosen.kind == "score" else 1)
            leader = max(now, leader) + handout
            found.leading += handout
            running += 1
            needed = left.get(chosen, work.seconds(chosen))
            if chosen.kind == "score":  # the disk is a limit once all workers ask for more than it gives
                needed = max(needed, cluster.share_bytes * work.group * running / cluster.bandwidth)
            took = min(needed, max(0.0, ends[one] - leader))
            found.busy += took
            heapq.heappush(events, (leader + took, one, chosen, took == needed))
            if took < needed:
                unit = work.unit(chosen)
                kept = math.floor(took / unit) * unit if unit else 0.0
                left[chosen], found.lost = needed - kept, found.lost + took - kept
        found.seconds = now
    return found


@dataclass(frozen=True)
class Measured:
    """A finished run: who did what for how long.

    Attributes:
        folder: of the run.
        cells: cell -> seconds of training, scoring and finishing, and the number of its shares.
        seconds: from the begin of the first of these tasks to the end of the last.
        workers: number of workers.
    """

    folder: Path
    cells: dict[CellKey, tuple[float, float, float, int]]
    seconds: float
    workers: int

    @classmethod
    def of(cls, folder: Path) -> Measured:
        """Reads the work that cell.json and the machine that run.json names."""
        store = RunStore(folder)
        cells, spans = {}, []
        for key in _schedule(folder).cells:  # cells that only others start from are trained, too
            work = store.cell(key).record.work
            kinds = ("train", "score", "finish")
            train, score, finish = (sum(one.seconds for one in work if one.task == kind) for kind in kinds)
            cells[key] = train, score, finish, sum(one.shares for one in work)
            begins = [datetime.fromisoformat(one.started).timestamp() for one in work]
            spans += [(begin, begin + one.seconds) for begin, one in zip(begins, work, strict=True)]
        length = max(end for _, end in spans) - min(begin for begin, _ in spans)
        return cls(folder, cells, length, max(1, len(store.record.workers)))

    def predicted(self, workers: int) -> float:
        """Predicts the duration of the run on some number of workers."""

        def seconds(task: Task) -> float:
            train, score, finish, shares = self.cells.get(task.cell, (0.0, 0.0, 0.0, 0)) if task.cell else (0, 0, 0, 0)
            return {"prepare": 0.0, "train": train, "score": score / max(shares, 1), "finish": finish}[task.kind]

        work = Work(seconds, lambda task: self.cells[task.key][3] if task.cell in self.cells else 0, lambda _: 0.0)
        return play(_schedule(self.folder), work, Cluster(), workers).seconds


def _schedule(folder: Path) -> Schedule:
    """Makes the schedule of a run as it was made then; nothing of the data is read."""
    config = parse_config(RunStore(folder).record.config, folder.name)
    return make_schedule(config, make_plan(config, Path("data"), absent_too=True))


def compare(runs: list[Measured]) -> None:
    """Prints the measured durations and those that the times of each run predict."""
    predictions = " | ".join(f"predicted from {run.folder.name} [s]" for run in runs)
    print(f"| run | workers | measured [s] | {predictions} |")
    print("|---" * (3 + len(runs)) + "|")
    for run in runs:
        predicted = " | ".join(f"{other.predicted(run.workers):.1f}" for other in runs)
        print(f"| {run.folder.name} | {run.workers} | {run.seconds:.1f} | {predicted} |")
    print()


def cells_of(seeds: int, heads: int) -> Schedule:
    """Makes the cells of one data set; every third head is converted from the first."""
    keys = [CellKey("data", "net", str(head), seed) for seed in range(seeds) for head in range(heads)]
    sources = {key: replace(key, head="0") if _is_converted(key) else None for key in keys}
    return Schedule.of(["data"], sources, set(sources))


def _is_converted(key: CellKey) -> bool:
    return int(key.head) % 3 == 1


@dataclass(frozen=True)
class Times:
    """Seconds of the tasks of the larger run: a training, a conversion, a share, its joining, and the studies."""

    train: float
    convert: float
    share: float
    join: float
    studies: float
    epochs: int

    def work(self, shares: int) -> Work:
        """Describes a run with so many shares per cell."""
        group = math.ceil(shares / _MOST_TASKS)

        def seconds(task: Task) -> float:
            train = self.convert if task.cell and _is_converted(task.cell) else self.train
            finish = self.studies + self.join * shares
            return {"prepare": 0.0, "train": train, "score": self.share * group, "finish": finish}[task.kind]

        def unit(task: Task) -> float:
            return {"train": self.train / self.epochs, "score": self.share}.get(task.kind, 0.0)

        return Work(seconds, lambda _: math.ceil(shares / group), unit, group)


def main(  # noqa: PLR0913 (one argument per time)
    run: Annotated[list[Path], typer.Option(help="finished runs of this version")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="folder of the figure")] = Path("results/cluster"),
    images: Annotated[list[int], typer.Option(help="explained images per cell")] = [10**4, 10**5, 10**6, 10**7],  # noqa: B006
    mtbf: Annotated[list[float], typer.Option(help="mean hours between deaths of a worker; 0: none")] = [0, 24, 1],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="seeds")] = 3,
    heads: Annotated[int, typer.Option(help="heads")] = 5,
    batch: Annotated[int, typer.Option(help="images of a share")] = 48,
    train: Annotated[float, typer.Option(help="seconds of a training, unless runs are given")] = 3600,
    share: Annotated[float, typer.Option(help="seconds of a share, unless runs are given")] = 20,
    studies: Annotated[float, typer.Option(help="seconds of the studies of a cell, unless runs are given")] = 300,
    join: Annotated[float, typer.Option(help="seconds of joining the results of a share")] = 0.05,
    epochs: Annotated[int, typer.Option(help="epochs, each with a checkpoint")] = 70,
    startup: Annotated[float, typer.Option(help="seconds until a worker has begun")] = 30,
    handout: Annotated[float, typer.Option(help="seconds of the leading process per task")] = 0.005,
    megabytes: Annotated[float, typer.Option(help="megabytes that a share reads and writes")] = 40,
    bandwidth: Annotated[float, typer.Option(help="megabytes per second of the shared disk")] = 1000,
    walltime: Annotated[float, typer.Option(help="hours of a job; 0: no limit")] = 0,
) -> None:
    """Compares predictions with runs, and prints one row per number of images, deaths and workers."""
    run_benchmark.register()
    runs = [Measured.of(folder) for folder in run]
    times = Times(train, 1.0, share, join, studies, epochs)
    if runs:
        compare(runs)
        times = replace(_mean(runs[0]), join=join, epochs=epochs)
        print(f"seconds: {times}\n")
    cluster = Cluster(startup, handout, megabytes, bandwidth, walltime=walltime * _HOUR or math.inf)
    print("| images | hours between deaths | workers | hours | speed-up | lost | leading process busy |")
    print("|---|---|---|---|---|---|---|")
    curves: dict[str, list[float]] = {}
    for count in images:
        for hours in mtbf:
            work = times.work(math.ceil(count / batch))
            played = [
                play(cells_of(seeds, heads), work, replace(cluster, mtbf=hours * _HOUR or math.inf), number)
                for number in _WORKERS
            ]
            for number, one in zip(_WORKERS, played, strict=True):
                print(
                    f"| {count:,} | {hours or 'none'} | {number} | {one.seconds / _HOUR:,.2f} "
                    f"| {played[0].seconds / one.seconds:.1f} | {one.lost / max(one.busy, 1):.1%} "
                    f"| {one.leading / max(one.seconds, 1):.1%} |",
                    flush=True,
                )
            if not hours:
                curves[f"{count:,} images"] = [played[0].seconds / one.seconds for one in played]
    draw(curves, out / "cluster_simulation.png")


def _mean(run: Measured) -> Times:
    """Averages the times of a run; what takes less than a tenth of the longest training is a conversion."""
    longest = max(train for train, *_ in run.cells.values())
    trained = [train for train, *_ in run.cells.values() if train > longest / 10]
    converted = [train for train, *_ in run.cells.values() if train <= longest / 10]
    scored = [(score, finish, count) for _, score, finish, count in run.cells.values() if count]
    share = sum(score for score, *_ in scored) / sum(count for *_, count in scored)
    finish = mean(finish for _, finish, _ in scored)
    return Times(mean(trained), mean(converted or [0.0]), share, 0.0, finish, 1)


def draw(curves: dict[str, list[float]], file: Path) -> None:
    """Draws the speed-up over the number of workers."""
    with paper_style():
        figure = Figure(figsize=(WIDTH / 2, WIDTH / 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(_WORKERS, _WORKERS, color="0.7", linestyle=":", label="as many as workers")
        for name, values in curves.items():
            axes.plot(_WORKERS, values, marker="o", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="speed-up (simulated)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(_WORKERS, [str(one) for one in _WORKERS])
            axis.set_minor_locator(NullLocator())
        axes.legend(fontsize="small")
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=160)


if __name__ == "__main__":
    typer.run(main)
