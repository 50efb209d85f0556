"""Progress: what a process says reaches the one that shows it, and the time left counts all that work."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from bench.progress import PREPARE, Progress, RunProgress, SentProgress, fitted


def test_descriptions_are_sent_and_lines_are_kept() -> None:
    heard: list[tuple[str, float, float]] = []
    takes = iter([True, False, True])

    def send(*message: Any) -> bool:
        heard.append(message)
        return next(takes)

    progress = SentProgress(send)
    progress.update("a text")
    progress.measured(30.0, 2.0)
    progress.update("too soon")
    progress.measured(10.0, 1.0)
    progress.update("another")
    progress.say("red", style="red")
    progress.milestone("done")
    assert heard == [("a text", 0.0, 0.0), ("too soon", 30.0, 2.0), ("another", 40.0, 3.0)]
    assert progress.take() == [("say", "red", "red"), ("milestone", "done")]
    assert progress.take() == []
    assert all(callable(getattr(Progress, kind)) for kind in ("say", "milestone"))


def test_time_left_counts_the_workers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        progress = RunProgress(Console(file=file), ["train"] * 9)
        progress.end("train", 60.0)
        for progress.workers in (1, 2):
            progress.milestone("one")
    assert [line.split("(")[1] for line in log.read_text().splitlines()] == ["about 8:00 left)", "about 4:00 left)"]


def shown(progress: RunProgress, log: Path) -> str:
    progress.milestone("one")
    return log.read_text().splitlines()[-1].partition("] ")[2]


def test_time_left_follows_from_passes_until_a_step_of_its_kind_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w", buffering=1) as file:
        progress = RunProgress(Console(file=file), [PREPARE, "training", "gradcam", "gradcam", "study x"])
        progress.measured(30.0, 6.0)
        assert shown(progress, log) == "one"  # no step has passes that are known
        progress.end(PREPARE, 500.0)
        assert shown(progress, log) == "one"  # reading images says nothing about passes
        progress.weigh("training", 300.0)
        progress.weigh("gradcam", 100.0)
        assert shown(progress, log) == "one  (about 2:20 left)"  # 60 + 2·20, and the study as their mean
        progress.end("training", 60.0)
        progress.end("gradcam", 30.0)
        assert shown(progress, log) == "one  (about 1:15 left)"  # 30, and (60 + 30) / 2


def test_time_left_passes_while_a_step_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, now = tmp_path / "log", [0.0]
    monkeypatch.setattr("bench.progress.time.monotonic", lambda: now[0])
    with log.open("w", buffering=1) as file:
        progress = RunProgress(Console(file=file), ["training"] * 2)
        progress.end("training", 100.0)
        now[0] = 40.0
        assert shown(progress, log) == "one  (about 1:00 left)"
        now[0] = 400.0
        assert shown(progress, log) == "one  (about 0:10 left)"  # it takes longer than the first one


def test_without_a_bar_the_current_step_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.progress.SILENCE", 0.02)
    log = tmp_path / "log"
    with log.open("w", buffering=1) as file, RunProgress(Console(file=file), ["training"]) as progress:
        progress.update("busi · compact: epoch 3/40")
        deadline = time.monotonic() + 30
        while len(log.read_text().splitlines()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = log.read_text().splitlines()
    assert len(lines) >= 2
    assert all(line.endswith("] busi · compact: epoch 3/40") for line in lines[1:])


@pytest.mark.parametrize("name", ["busi", "a" * 70])
def test_a_bar_fits_80_columns(name: str) -> None:
    """The epoch stays readable when the name of the cell does not fit."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=25)
    progress = RunProgress(console, ["training"] * 120)
    progress.weigh("training", 10.0)
    progress.measured(1.0, 4000.0)
    with console.capture() as captured:
        progress.update(f"{name} · efficientnet_lite0 · blackbox · seed 0: epoch 11/40, validation AUC 0.959")
        console.print(progress._bar.get_renderable())
    line, *rest = captured.get().rstrip("\n").splitlines()
    assert not [one for one in rest if one.strip()]
    text = Text.from_ansi(line).plain
    assert len(text.rstrip()) <= 80
    assert "epoch 11/40" in text
    assert "0/120" in text
    assert text.rstrip().endswith("left")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("cell: epoch 1", 20, "cell: epoch 1"), ("a long cell: epoch 1", 14, "a lo…: epoch 1"), ("abc", 2, "a…")],
)
def test_descriptions_are_shortened_before_the_last_colon(text: str, width: int, expected: str) -> None:
    assert fitted(text, width) == expected
