"""Builds of the report: from whatever a run left, again where it is stale, figures by a second process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from bench.report.build import build_report
from tests.support.files import ROOT
from tests.support.made import run_tiny, tiny_config
from tests.support.report_store import make_run


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_figures_of_many_cells_are_drawn_whatever_becomes_of_the_second_process(tmp_path: Path, dies: bool) -> None:
    make_run(tmp_path)
    guard = "" if dies else 'if __name__ == "__main__": '  # without it the second process ends in its own start
    script = tmp_path / "script.py"
    script.write_text(f"""from pathlib import Path
from rich.console import Console
from bench.report import build
build.MANY_CELLS = 1
{guard}build.build_report(Path({str(tmp_path)!r}), Console(quiet=True))
""")
    root = str(ROOT)
    done = subprocess.run([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": root}, capture_output=True)
    assert done.returncode == 0
    assert (b"Traceback" in done.stderr) == dies
    assert (tmp_path / "figures" / "deletion_curves.png").exists()


@pytest.mark.slow
def test_the_second_process_ends_with_the_first_even_if_that_is_killed(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    script = tmp_path / "script.py"
    script.write_text(f"""from pathlib import Path
from rich.console import Console
from bench.report import build
build.MANY_CELLS = 1
if __name__ == "__main__": build.build_report(Path({str(tmp_path / "run")!r}), Console(quiet=True))
""")
    first = psutil.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)})
    while not (second := [one for one in first.children() if "spawn_main" in " ".join(one.cmdline())]):
        assert first.poll() is None, "the report ended before it was killed"
        time.sleep(0.05)
    time.sleep(2)  # it follows the first one from its start on
    first.kill()
    first.wait()
    assert psutil.wait_procs(second, timeout=20)[1] == []


@pytest.mark.usefixtures("squares", "unsaved")
@pytest.mark.parametrize("metrics", [["gini"], ["evidence_gap"], ["negative_ratio"]])
def test_report_is_built_whatever_there_is(tmp_path: Path, metrics: list[str]) -> None:
    run_tiny(tmp_path, tiny_config(metrics=metrics, explainers=["gradcam", "softcam"]))
    build_report(tmp_path, Console(quiet=True))
    tables = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "tables").glob("*.md"))
    assert metrics[0].replace("_", " ") in tables


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.usefixtures("squares")
@pytest.mark.parametrize("name", ["tables/complexity.csv", "figures/galleries", "report.html", "scores.parquet"])
def test_a_finished_report_heals(tmp_path: Path, name: str) -> None:
    """A deleted file is written again; a changed one may be an edit of the user: it is named, and stays."""
    out, config = tmp_path / "run", tiny_config(metrics=["gini"], explainers=["gradcam"])
    run_tiny(out, config)
    assert build_report(out, Console(quiet=True)) == []
    file = out / name if name.count(".") else next((out / "figures").glob("*.pdf"))
    before = file.read_bytes()
    file.unlink()
    assert build_report(out, Console(quiet=True), only_if_stale=True) == []
    assert file.read_bytes() == before
    _flip(file)
    for _ in range(2):
        (line,) = build_report(out, Console(quiet=True), only_if_stale=True)
        assert (
            line == f"{file} was changed since it was written and is left as it is; rename or delete it to have it "
            "written again"
        )
    file.unlink()
    assert build_report(out, Console(quiet=True), only_if_stale=True) == []
    assert file.read_bytes() == before


@pytest.mark.usefixtures("squares", "unsaved")
def test_report_is_built_again_where_it_is_stale(tmp_path: Path) -> None:
    out, config, console = tmp_path / "run", tiny_config(metrics=["gini"], explainers=["gradcam"]), Console(quiet=True)

    def built() -> dict[Path, int]:
        build_report(out, console, only_if_stale=True)
        return {file: file.stat().st_mtime_ns for file in (out / "tables").iterdir()}

    run_tiny(out, config)
    first = built()
    run_tiny(out, config)
    assert built() == first
    run_tiny(out, tiny_config(metrics=["gini", "entropy"], explainers=["gradcam"]))
    assert built() != first
    again = built()
    build_report(out, console)
    assert again != {file: file.stat().st_mtime_ns for file in (out / "tables").iterdir()}
