"""Files that a report, a run and the commands may replace: their own and no other."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.check_data.command import check_dataset
from bench.contracts import UserError
from bench.data.loading import Request
from bench.registry import DATASETS
from bench.report import build, two_processes
from bench.report.figures.style import Caption
from bench.store.manifest import NAME, Manifest
from tests.support.files import ROOT, contents, put, write
from tests.support.made import registered_squares, run_tiny, tiny_config
from tests.support.report_store import make_run

SMALL = {"datasets": ("first",), "explainers": ("post_a", "evidence")}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of every figure, which are most of a report's time."""

    def draw(frames: object, files: Manifest, topics: object, failures: object) -> dict[str, Caption]:
        write(files, "drawn.png")
        return {"drawn": Caption("A figure.", "")}

    monkeypatch.setattr(two_processes, "draw_figures", draw)


def report(folder: Path, **options: bool) -> tuple[list[str], str]:
    """Lines about what could not be written, and all that is printed."""
    screen = io.StringIO()
    return build.build_report(folder, Console(file=screen, width=300), **options), screen.getvalue()


@pytest.mark.usefixtures("undrawn")
def test_report_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    """An edited table, a foreign figure and a link; a table of an earlier plan goes."""
    make_run(tmp_path, **SMALL)
    assert report(tmp_path)[0] == []
    write(Manifest(tmp_path), "tables/of_an_earlier_plan.csv")
    (tmp_path / "tables/cost.csv").write_text("edited")
    (tmp_path / "figures/mine.png").write_text("mine")
    (tmp_path / "precious.html").write_text("mine")
    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html").symlink_to("precious.html")
    lines, said = report(tmp_path)
    assert len(lines) == 2
    assert "cost.csv was changed since it was written and is left as it is; rename or delete it" in lines[0]
    assert "report.html is a link and is left as it is" in lines[1]
    assert "not written by this run or changed since: figures/mine.png" in said
    assert all(line in said for line in lines)
    assert (tmp_path / "tables/cost.csv").read_text() == "edited"
    assert (tmp_path / "figures/mine.png").read_text() == "mine"
    assert (tmp_path / "precious.html").read_text() == "mine"
    assert not (tmp_path / "tables/of_an_earlier_plan.csv").exists()
    assert "edited" not in (tmp_path / "tables/cost.md").read_text()
    done = CliRunner().invoke(app, ["report", str(tmp_path)], obj=run_benchmark.register)
    assert done.exit_code == 1
    for name in ("tables/cost.csv", "report.html"):
        (tmp_path / name).unlink()
    assert report(tmp_path, only_if_stale=True)[0] == []
    assert (tmp_path / "tables/cost.csv").exists()


@pytest.mark.usefixtures("undrawn")
def test_linked_folder_of_tables_is_named_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    make_run(folder, **SMALL)
    put(elsewhere, {"cost.csv": "mine", "other/mine.csv": "mine"})
    (folder / "tables").symlink_to(elsewhere)
    before = contents(elsewhere)
    for _ in range(2):
        (line,) = report(folder)[0]
        assert "tables is a link and is left as it is" in line
    assert contents(elsewhere) == before
    assert (folder / "scores.parquet").exists()


@pytest.mark.usefixtures("undrawn")
def test_report_from_before_there_were_notes_is_set_aside(tmp_path: Path) -> None:
    make_run(tmp_path, **SMALL)
    old = {"tables/cost.csv": "old", "figures/mine.png": "mine", "report.html": "old", "report.json": "{"}
    put(tmp_path, old)
    lines, said = report(tmp_path)
    aside = tmp_path / "derived-by-an-earlier-version"
    assert lines == []
    assert f"tables and figures of an earlier version are now in {aside}" in said
    assert contents(aside) == {name: text.encode() for name, text in old.items()}
    assert (tmp_path / "tables/cost.csv").read_text() != "old"
    (tmp_path / NAME).unlink()
    report(tmp_path)
    assert (tmp_path / "derived-by-an-earlier-version-2/tables/cost.csv").exists()
    assert contents(aside) == {name: text.encode() for name, text in old.items()}


@pytest.mark.slow
def test_figures_of_a_second_process_are_known(tmp_path: Path) -> None:
    make_run(tmp_path, **SMALL)
    script = tmp_path / "script.py"
    script.write_text(f"""from pathlib import Path
from rich.console import Console
from bench.report import build
build.MANY_CELLS = 1
if __name__ == "__main__":
    assert build.build_report(Path({str(tmp_path)!r}), Console(quiet=True)) == []
""")
    subprocess.run([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    figures = [path.name for path in (tmp_path / "figures").iterdir()]
    assert "deletion_curves.png" in figures
    assert all(Manifest(tmp_path).inside("figures").is_ours(name) for name in figures)


@pytest.mark.usefixtures("undrawn")
def test_second_run_into_the_folder_computes_and_writes_nothing(tmp_path: Path) -> None:
    out, config = tmp_path / "run", tiny_config(metrics=["gini"], explainers=["gradcam", "softcam"])

    def stamps() -> dict[Path, int]:
        derived = [*out.glob("tables/**/*.*"), *out.glob("figures/*"), *out.glob("report.*"), *out.glob("*.parquet")]
        return {path: path.stat().st_mtime_ns for path in (*derived, out / NAME, *out.rglob("cells/**/*.parquet"))}

    with registered_squares():
        assert run_tiny(out, config).computed
        report(out)
        before = stamps()
        assert not run_tiny(out, config).computed
        assert report(out, only_if_stale=True)[0] == []
    assert len(before) > 20
    assert stamps() == before


@pytest.mark.parametrize("name", ["samples.png", "faults.csv", "splits.csv"])
def test_check_data_refuses_before_it_reads(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("mine")
    monkeypatch.setattr(
        "bench.commands.check_data.command.read_dataset", lambda *arguments: pytest.fail("the images were read")
    )
    request = Request(tmp_path, 32, 0, skip_bad=True)
    with pytest.raises(UserError, match=f"{name} was not written by this benchmark and is not overwritten"):
        check_dataset(DATASETS["cxr-phantom"], request, tmp_path, Console(quiet=True))
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("name", ["speed.csv", "speed.md", "speed.png", "speed.pdf"])
def test_speed_refuses_before_it_measures(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("mine")
    monkeypatch.setattr("bench.commands.speed.command.make_scene", lambda *arguments: pytest.fail("it was measured"))
    done = CliRunner().invoke(app, ["speed", "--out", str(tmp_path)], obj=run_benchmark.register)
    assert isinstance(done.exception, UserError)
    assert f"{name} was not written by this benchmark and is not overwritten" in str(done.exception)
    assert contents(tmp_path) == {name: b"mine"}
