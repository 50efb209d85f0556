"""The run of three classes that the tests of scores and maps per class read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.frames.load import Frames, load_frames
from tests.support.class_run import class_config
from tests.support.made import registered_squares, run_tiny


@pytest.fixture(scope="session")
def class_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes; not to be written to."""
    folder = tmp_path_factory.mktemp("classes") / "run"
    with registered_squares():
        outcome = run_tiny(folder, class_config())
    assert outcome.problems == []
    return folder


@pytest.fixture(scope="session")
def class_frames(class_run: Path) -> Frames:
    return load_frames(class_run)
