"""Progress: what a process says reaches the one that shows it, and the time left counts all that work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.progress import Progress, RunProgress, SentProgress


def test_progress_is_passed_on_word_for_word() -> None:
    heard: list[tuple[Any, ...]] = []
    progress = SentProgress(lambda *message: heard.append(message))
    with progress.step("train", "a text"):
        pass
    with pytest.raises(ValueError, match="no"), progress.step("gradcam", "another"):
        raise ValueError("no")
    progress.expect("a", "b")
    progress.skip("c")
    progress.say("red", style="red")
    progress.milestone("done")
    assert [message if message[0] != "end" else (*message[:2], message[2] is None) for message in heard] == [
        ("update", "a text"),
        ("end", "train", False),
        ("update", "another"),
        ("end", "gradcam", True),
        ("expect", "a", "b"),
        ("end", "c", True),
        ("say", "red", "red"),
        ("milestone", "done"),
    ]
    assert all(callable(getattr(Progress, kind)) for kind, *_ in heard)


def test_time_left_counts_the_workers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        progress = RunProgress(Console(file=file), ["train"] * 9)
        progress.end("train", 60.0)
        for progress.workers in (1, 2):
            progress.milestone("one")
    assert [line.split("(")[1] for line in log.read_text().splitlines()] == ["about 8:00 left)", "about 4:00 left)"]
