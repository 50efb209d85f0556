"""Progress: what a process says reaches the one that shows it, and the time left counts all that work."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench.progress import Progress, RunProgress, SentProgress


def test_descriptions_are_sent_and_lines_are_kept() -> None:
    heard: list[str] = []
    progress = SentProgress(heard.append)
    progress.update("a text")
    progress.say("red", style="red")
    progress.milestone("done")
    assert heard == ["a text"]
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
