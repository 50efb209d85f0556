"""What a run says while it works: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("left", ""), style="cyan")


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress(ABC):
    """What work says while it goes on."""

    @contextmanager
    def step(self, kind: str, text: str) -> Iterator[None]:
        """One step of a kind, such as "train" or an explainer's name; its time counts unless it fails."""
        self.update(text)
        started = time.monotonic()
        seconds = None
        try:
            yield
            seconds = time.monotonic() - started
        finally:
            self.end(kind, seconds)

    @abstractmethod
    def end(self, kind: str, seconds: float | None) -> None:
        """A step is over; None where its time says nothing."""

    @abstractmethod
    def expect(self, *kinds: str) -> None:
        """Steps that come on top of those known at the start."""

    def skip(self, *kinds: str) -> None:
        """Planned steps that need not be done."""
        for kind in kinds:
            self.end(kind, None)

    @abstractmethod
    def update(self, text: str) -> None:
        """What is being done now."""

    @abstractmethod
    def say(self, text: str, style: str = "") -> None:
        """A line that stays."""

    @abstractmethod
    def milestone(self, text: str) -> None:
        """A line that stays, with the time left."""


class SentProgress(Progress):
    """Passes everything on to where it is shown.

    Args:
        send: called with the name of a method and its arguments.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    def end(self, kind: str, seconds: float | None) -> None:
        """See ``Progress``, as for the others."""
        self._send("end", kind, seconds)

    def expect(self, *kinds: str) -> None:
        self._send("expect", *kinds)

    def update(self, text: str) -> None:
        self._send("update", text)

    def say(self, text: str, style: str = "") -> None:
        self._send("say", text, style)

    def milestone(self, text: str) -> None:
        self._send("milestone", text)


class RunProgress(Progress):
    """Counts the steps of a run and estimates what is left from how long steps of the same kind took.

    Args:
        console: where to write.
        steps: the kind of every step that will come.
        workers: how many steps are done at a time; may change.
    """

    def __init__(self, console: Console, steps: list[str], workers: int = 1) -> None:
        self.console = console
        self.workers = workers
        self._waiting: dict[str, int] = defaultdict(int)
        for kind in steps:
            self._waiting[kind] += 1
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._started = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._total = len(steps)
        self._task = self._bar.add_task("starting", total=self._total)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def end(self, kind: str, seconds: float | None) -> None:
        """One step fewer."""
        if seconds is not None:
            self._seconds[kind].append(seconds)
        self._waiting[kind] -= 1
        self._bar.advance(self._task)

    def expect(self, *kinds: str) -> None:
        """Steps that come on top of those known at the start."""
        for kind in kinds:
            self._waiting[kind] += 1
        self._total += len(kinds)
        self._bar.update(self._task, total=self._total)

    def update(self, text: str) -> None:
        """Change what the bar says about the step under way."""
        self._bar.update(self._task, description=text, left=self._left())

    def say(self, text: str, style: str = "") -> None:
        """A line that stays, above the bar."""
        self.console.print(Text(f"[{clock(time.monotonic() - self._started)}] {text}", style=style), soft_wrap=True)

    def milestone(self, text: str) -> None:
        """A line that stays, with the time left."""
        left = self._left()
        self.say(f"{text}  ({left})" if left else text)

    def _left(self) -> str:
        known = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        if not known:
            return ""
        typical = sum(known.values()) / len(known)
        seconds = sum(count * known.get(kind, typical) for kind, count in self._waiting.items()) / self.workers
        return f"about {clock(seconds)} left"
