"""Tables and figures that fail: one line with a traceback each, while everything else is written."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.report import build, contents, making, two_processes
from bench.report.contents import TOPICS, Topic
from bench.report.failures import Failures
from bench.report.figures.style import Drawing
from bench.report.frames.load import Frames, load_frames
from bench.report.tables.table import TableData
from bench.store.manifest import Manifest
from tests.support.report_store import make_run

DATASETS = ("first", "second")
WITHOUT_FIGURES = [replace(topic, figures=(), shown=()) for topic in TOPICS]  # they take long
pytestmark = pytest.mark.usefixtures("unsaved")


def table_of(frames: Frames) -> dict[str, TableData]:
    """A row per data set; one of them cannot be shown."""
    names = list(frames.record.datasets)
    if "first" in names:
        raise KeyError("no column\nof this name")
    return {"added": TableData("Added.", ["dataset"], [], [{"dataset": name} for name in names], [False] * len(names))}


class Undrawable(Text):
    """Fails when the figure is saved, and not before."""

    def draw(self, *args: object, **kwargs: object) -> None:
        raise ValueError("cannot be drawn")


def figure_of(frames: Frames) -> Iterator[Drawing]:
    """A figure per data set; the first can be drawn, the second cannot."""
    for name in frames.record.datasets:
        figure = Figure()
        figure.add_artist(Undrawable() if name == "second" else Text(text=name))
        yield Drawing(f"added_{name}", figure, "Added.")


def report(folder: Path) -> tuple[list[str], str]:
    screen = io.StringIO()
    return build.build_report(folder, Console(file=screen, width=1000), verbose=True), screen.getvalue()


def use(monkeypatch: pytest.MonkeyPatch, topics: list[Topic]) -> None:
    for module in (contents, making, two_processes):
        monkeypatch.setattr(module, "TOPICS", topics)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic whose table and figure fail with one of the data sets."""
    added = Topic("added", table_of, (figure_of,), shown=(figure_of,))
    use(monkeypatch, [*WITHOUT_FIGURES, added])


@pytest.mark.usefixtures("broken")
def test_broken_data_set_takes_neither_the_others_nor_other_tables(tmp_path: Path) -> None:
    make_run(tmp_path, DATASETS)
    lines, said = report(tmp_path)
    assert len(lines) == 2
    assert lines[0].startswith("table added could not be made with first, which it leaves out: KeyError: 'no column")
    assert lines[1].startswith("figure figure_of could not be made with second, which it leaves out: ")
    page = (tmp_path / "report.html").read_text()
    for line in lines:
        assert "\n" not in line
        assert line in said
        assert line.split(":")[0] in page
        assert "Traceback" in (tmp_path / line.split("traceback: ")[1]).read_text()
    assert "second" in (tmp_path / "tables/added.csv").read_text()
    assert "first" not in (tmp_path / "tables/added.csv").read_text()
    assert (tmp_path / "figures/added_first.png").exists()
    assert not (tmp_path / "figures/added_second.png").exists()
    assert "figures/added_first.png" in page
    assert (tmp_path / "tables/cost.csv").exists()
    assert CliRunner().invoke(app, ["report", str(tmp_path)], obj=run_benchmark.register).exit_code == 1


def test_failures_are_gone_once_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, ("first",))
    use(monkeypatch, WITHOUT_FIGURES)
    with monkeypatch.context() as patched:
        use(patched, [*WITHOUT_FIGURES, Topic("added", table_of)])
        (line,) = report(tmp_path)[0]
    assert line.startswith("table added could not be made: KeyError")
    assert Manifest(tmp_path).is_ours(line.split("traceback: ")[1])
    assert build.build_report(tmp_path, Console(quiet=True), only_if_stale=True) == []  # it is not taken for finished
    assert not (tmp_path / "failed").exists()
    assert (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("print_summary", "summary"),
        ("print_details", "details"),
        ("signatures", "warning signs"),
        ("write_page", "report.html"),
        ("write_long_frame", "scores.parquet"),
        ("with_counterfactual", "scores of the study counterfactual"),
    ],
)
def test_whatever_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str) -> None:
    make_run(tmp_path, ("first",), explainers=("post_a", "evidence"))

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    use(monkeypatch, WITHOUT_FIGURES)
    monkeypatch.setattr(making if hasattr(making, place) else two_processes, place, fail)
    (line,) = report(tmp_path)[0]
    assert line.startswith(f"{name} could not be made: ZeroDivisionError")
    assert (tmp_path / "tables/cost.csv").exists()
    assert (tmp_path / "report.html").exists() == (place != "write_page")


def test_data_sets_that_fail_only_together_are_not_blamed(tmp_path: Path) -> None:
    make_run(tmp_path, DATASETS)
    failures = Failures()

    def make(frames: Frames) -> int:
        return 1 // (2 - len(frames.record.datasets))

    assert failures.making("table x", load_frames(tmp_path), make) is None
    (line,) = failures.lines
    assert line.startswith("table x could not be made: ZeroDivisionError")


def test_full_disk_ends_the_report(tmp_path: Path) -> None:
    make_run(tmp_path, DATASETS)

    def make(frames: Frames) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    with pytest.raises(OSError, match="No space"):
        Failures().making("table x", load_frames(tmp_path), make)
