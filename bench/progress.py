"""Progress of a run: a bar with the remaining time on a terminal, plain lines elsewhere.

Worker processes have no terminal, so what they say reaches the process that shows it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bench.text.media import visible


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("left", ""), style="cyan")


def clock(seconds: float) -> str:
    """Formats seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shows_bars(console: Console) -> bool:
    """Returns whether a progress bar can be shown: on a terminal, and in a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


class Progress(ABC):
    """Interface through which a computation says what it does."""

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
        send: called with every description.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._said: list[tuple[str, ...]] = []

    def update(self, text: str) -> None:
        """Sends the description of the current step."""
        self._send(text)

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
    """Progress of a run on a console; the remaining time is estimated from finished steps of the same kind.

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
        self._started = time.monotonic()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _TimeLeft())
        self._bar = Bar(*columns, console=console, transient=True, disable=not shows_bars(console))
        self._total = len(steps)
        self._task = self._bar.add_task("starting", total=self._total)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def end(self, kind: str, seconds: float | None) -> None:
        """Counts a finished step; ``seconds`` is None if its time must not enter the estimates."""
        if seconds is not None:
            self._seconds[kind].append(seconds)
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

    def update(self, text: str) -> None:
        """Changes the description of the current step on the bar."""
        self._bar.update(self._task, description=visible(text), left=self._left())

    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line above the bar."""
        self.console.print(Text(f"[{clock(time.monotonic() - self._started)}] {text}", style=style), soft_wrap=True)

    def milestone(self, text: str) -> None:
        """Prints a permanent line with the remaining time."""
        left = self._left()
        self.say(f"{text}  ({left})" if left else text)

    def _left(self) -> str:
        known = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        if not known:
            return ""
        typical = sum(known.values()) / len(known)
        seconds = sum(count * known.get(kind, typical) for kind, count in self._waiting.items()) / self.workers
        return f"about {clock(seconds)} left"
