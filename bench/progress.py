"""Progress of a run: a bar with the remaining time on a terminal, plain lines elsewhere.

Worker processes have no terminal, so what they say reaches the process that shows it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from bench.text.media import visible

#: Kind of the step that reads images.
PREPARE = "prepare"
#: Seconds after which a run without a bar says again what it does.
SILENCE = 30.0
#: Columns of the bar itself, and of the numbers and gaps to its right.
_BAR, _NUMBERS = 10, 33


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("left", ""), style="cyan")


def clock(seconds: float) -> str:
    """Formats seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fitted(text: str, width: int) -> str:
    """Shortens the part of a description before its last colon, which names the cell, to fit into some columns."""
    if len(text) <= width:
        return text
    head, colon, tail = text.rpartition(": ")
    left = width - len(colon + tail) - 1
    return f"{head[:left]}…{colon}{tail}" if left > 0 else f"{text[: max(0, width - 1)]}…"


def shows_bars(console: Console) -> bool:
    """Returns whether a progress bar can be shown: on a terminal, and in a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


class Progress(ABC):
    """Interface through which a computation says what it does."""

    @abstractmethod
    def measured(self, passes: float, seconds: float) -> None:
        """Reports the time of passes inside of a step, such as those of an epoch; a backward pass counts as two."""

    @abstractmethod
    def update(self, text: str) -> None:
        """Shows the description of the current step."""

    @abstractmethod
    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line."""

    @abstractmethod
    def milestone(self, text: str) -> None:
        """Prints a permanent line with the remaining time."""


class SentProgress(Progress):
    """Progress of a worker process: lines are collected for the result of its task, descriptions are sent at once.

    A description that is lost does no harm; a line that came twice, or not at all, would.

    Args:
        send: called with every description, and with passes and their seconds since the last one that was sent; returns
            whether it sends this one.
    """

    def __init__(self, send: Callable[[str, float, float], bool]) -> None:
        self._send = send
        self._passes = self._passing = 0.0
        self._said: list[tuple[str, ...]] = []

    def measured(self, passes: float, seconds: float) -> None:
        """Keeps the time of passes until the next description is sent."""
        self._passes, self._passing = self._passes + passes, self._passing + seconds

    def update(self, text: str) -> None:
        """Sends the description of the current step."""
        if self._send(text, self._passes, self._passing):
            self._passes = self._passing = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Keeps a permanent line."""
        self._said.append(("say", text, style))

    def milestone(self, text: str) -> None:
        """Keeps a permanent line that is to show the remaining time."""
        self._said.append(("milestone", text))

    def take(self) -> list[tuple[str, ...]]:
        """Returns the lines since the last call, each as the name of a method and its arguments."""
        said, self._said = self._said, []
        return said


class RunProgress(Progress):
    """Progress of a run on a console, with the remaining time; without a bar, a line at least every 30 seconds.

    The time of a step is the mean of finished ones of its kind, otherwise that of its image passes at the measured
    rate. Reading images says nothing about the rest, so that there is no estimate before passes were measured.

    Args:
        console: console to write to.
        steps: kinds of all planned steps.
        workers: number of steps that run at the same time; may change.
    """

    def __init__(self, console: Console, steps: list[str], workers: int = 1) -> None:
        self.console = console
        self.workers = workers
        self._waiting: dict[str, int] = defaultdict(int)
        for kind in steps:
            self._waiting[kind] += 1
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._weights: dict[str, float] = {}
        self._passes = self._passing = 0.0
        self._started = self._said = self._ended = time.monotonic()
        self._has_bar = shows_bars(console)
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        columns = (text, BarColumn(bar_width=_BAR), MofNCompleteColumn(), _TimeLeft())
        self._bar = Bar(*columns, console=console, transient=True, disable=not self._has_bar)
        self._total = len(steps)
        self._text = "starting"
        self._task = self._bar.add_task(self._text, total=self._total)
        self._over = Event()

    def __enter__(self) -> RunProgress:
        self._bar.start()
        if not self._has_bar:
            Thread(target=self._repeat, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._bar.stop()

    def _repeat(self) -> None:
        """Prints the current step whenever nothing was printed for ``SILENCE`` seconds."""
        while not self._over.wait(max(0.0, self._said + SILENCE - time.monotonic())):
            if time.monotonic() - self._said >= SILENCE:
                self.milestone(self._text)

    def end(self, kind: str, seconds: float | None) -> None:
        """Counts a finished step; ``seconds`` is None if its time must not enter the estimates."""
        if seconds is not None:
            self._seconds[kind].append(seconds)
        self._ended = time.monotonic()
        self._waiting[kind] -= 1
        self._bar.advance(self._task)

    def expect(self, *kinds: str) -> None:
        """Adds steps to those known at the start."""
        for kind in kinds:
            self._waiting[kind] += 1
        self._total += len(kinds)
        self._bar.update(self._task, total=self._total)

    def skip(self, *kinds: str) -> None:
        """Removes planned steps that are not needed."""
        for kind in kinds:
            self.end(kind, None)

    def weigh(self, kind: str, passes: float) -> None:
        """Notes how many images a step of this kind passes forward; a backward pass counts as two."""
        self._weights[kind] = passes

    def measured(self, passes: float, seconds: float) -> None:
        """Adds the time of passes to the measured rate."""
        self._passes, self._passing = self._passes + passes, self._passing + seconds

    def update(self, text: str) -> None:
        """Changes the description of the current step."""
        self._text = visible(text)
        width = self.console.width - _BAR - _NUMBERS
        self._bar.update(self._task, description=fitted(self._text, width), left=self._left())

    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line above the bar."""
        self._said = time.monotonic()
        self.console.print(Text(f"[{clock(self._said - self._started)}] {text}", style=style), soft_wrap=True)

    def milestone(self, text: str) -> None:
        """Prints a permanent line with the remaining time."""
        left = self._left()
        self.say(f"{text}  ({left})" if left else text)

    def _left(self) -> str:
        known = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        weighed = [kind for kind in known if self._weights.get(kind)]
        passes = self._passes + sum(self._weights[kind] for kind in weighed)
        rate = (self._passing + sum(known[kind] for kind in weighed)) / passes if passes else 0.0
        guessed = {kind: weight * rate for kind, weight in self._weights.items() if passes} | known
        others = [seconds for kind, seconds in guessed.items() if kind != PREPARE]
        if not others:
            return ""
        typical = sum(others) / len(others)
        every = sum(count * guessed.get(kind, typical) for kind, count in self._waiting.items()) / self.workers
        passed = time.monotonic() - self._ended  # part of a step that has not ended
        return f"about {clock(max(every - passed, every / 10))} left"
