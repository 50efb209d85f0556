"""Reports of random valid configs: whatever is asked for and whatever fails, there is a report with exit code 0.

``SUBSETS=long`` draws twenty times as many.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import deferred
from rich.console import Console

from bench.report import build, two_processes
from bench.report.build import build_report
from bench.report.figures import style
from tests.support.made import forgotten_afterwards
from tests.support.subsets.configs import Drawn, drawn_runs, register_bare
from tests.support.subsets.stored import write_run

DRAWS = 60
IS_LONG = os.environ.get("SUBSETS") == "long"


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leaves out what takes long and does not depend on the config: files of figures, digests, commit, versions."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    with pytest.MonkeyPatch.context() as patched, forgotten_afterwards():
        for name in ("write_png", "write_pdf"):
            patched.setattr(style, name, lambda figure, target: target.touch())
        patched.setattr(build, "state_of", lambda *arguments: {"code": "", "figures_asked": "shown"})
        patched.setattr("bench.run.record._git_state", lambda: None)
        patched.setattr("bench.run.record.versions_of", lambda packages: {})
        patched.setattr(build, "MANY_CELLS", 10**6)
        register_bare()
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subsets") / "run"


@settings(
    max_examples=20 * DRAWS if IS_LONG else DRAWS,
    derandomize=not IS_LONG,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(drawn=deferred(drawn_runs))  # the names are read after all are registered
def test_every_valid_config_has_a_report(folder: Path, drawn: Drawn) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    write_run(folder, drawn)
    with pytest.MonkeyPatch.context() as patched:
        if not drawn.has_figures:
            patched.setattr(two_processes, "draw_figures", lambda *arguments: {})
        assert build_report(folder, Console(file=io.StringIO(), width=200)) == []
    assert (folder / "report.html").exists()
