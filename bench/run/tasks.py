"""Tasks of a run, and what comes back of them: names and small records, because images, weights and maps are files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bench.errors import UserError
from bench.evaluation.explainer_jobs import Failure
from bench.store.records import CellKey, DatasetFacts

Kind = Literal["prepare", "train", "score", "finish"]


@dataclass(frozen=True)
class Task:
    """One piece of work, by names; whoever does it asks the store first what is left to do.

    Attributes:
        kind: "prepare" reads a data set, "train" gives a cell its classifier, "score" scores one share of its images,
            and "finish" joins the shares and runs the studies.
        dataset: name of the data set.
        cell: the cell; None for "prepare".
        part: part of the cell whose share is scored.
        share: number of the share.
        failures: part -> explainers that have failed so far, which are not run again.
    """

    kind: Kind
    dataset: str
    cell: CellKey | None = None
    part: str = ""
    share: int = 0
    failures: dict[str, dict[str, Failure]] = field(default_factory=dict, hash=False, compare=False)

    @property
    def key(self) -> CellKey:
        """The cell of a task that has one."""
        if self.cell is None:
            raise ValueError(f"{self} has no cell")
        return self.cell

    @property
    def step(self) -> str:
        """Kind of its step in the progress display; the time left is estimated from steps of the same kind."""
        return self.kind if self.cell is None else f"{self.kind} {self.cell.head}"

    def __str__(self) -> str:
        if self.cell is None:
            return f"{self.dataset}: reading the images"
        words = {"train": "training", "score": f"scoring share {self.share + 1}", "finish": "joining and studies"}
        return f"{self.cell}: {words[self.kind]}"


@dataclass(frozen=True)
class Ended:
    """Reason why a task gave no result: a failure, or "skipped" for what does not apply."""

    status: Literal["failed", "skipped"]
    reason: str
    traceback: str = ""


@dataclass
class Done:
    """Result of a task.

    Attributes:
        computed: whether anything was computed.
        problems: a line for everything that a reader of the scores must know.
        said: messages for the progress display, as the name of one of its methods and arguments.
        shares: of "train": part -> shares to score, as pairs of the first one and the one after the last.
        failures: of "score": explainers that failed.
        facts: of "prepare".
        ended: why the task gave no result; None if it did.
        fault: the system's words for a disk that is full or cannot be written to, which ends the run.
        is_abandoned: the task stopped because its run is over.
        worker: name of the worker that did it; empty for the process of the command.
        host: machine of a worker of a cluster; empty on one machine.
        started: seconds since 1970, by the clock of its machine.
        seconds: duration.
    """

    computed: bool = False
    problems: list[str] = field(default_factory=list)
    said: list[tuple[Any, ...]] = field(default_factory=list)
    shares: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    facts: DatasetFacts | None = None
    ended: Ended | None = None
    fault: str = ""
    is_abandoned: bool = False
    worker: str = ""
    host: str = ""
    started: float = 0.0
    seconds: float = 0.0


def by_worker(name: str, host: str) -> str:
    """Returns who does a task, for the progress display; empty for the process of the command."""
    place = f" on {host}" if host else ""
    return f" (worker {name}{place})" if name else ""


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Joins ascending numbers to ranges (first, after the last).

    Example:
        >>> ranges([0, 1, 2, 5])
        [(0, 3), (5, 6)]
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def unwritable(out: object, why: str) -> UserError:
    """Returns the error that ends a run whose folder cannot be written to."""
    return UserError(
        f"stopped: {why} while writing to {out}; make room and repeat the command, which continues from what is stored"
    )
