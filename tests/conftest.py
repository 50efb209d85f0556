"""Settings and fixtures shared by every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

import run_benchmark
from bench.report.figures import style
from bench.report.frames.load import Frames
from tests.support import decided
from tests.support.made import forgotten_afterwards, registered_squares, run_tiny

# The networks here are tiny: a second thread costs more than it computes, most of all on a busy machine.
torch.set_num_threads(1)
# Tests name heads, explainers, metrics, data sets and backbones by their registered names.
run_benchmark.register()


@pytest.fixture
def clean_registries() -> Iterator[None]:
    """Removes whatever the test registers."""
    with forgotten_afterwards():
        yield


@pytest.fixture
def squares() -> Iterator[None]:
    """The synthetic data sets ``squares`` and ``shapes``; removes whatever the test registers."""
    with registered_squares():
        yield


@pytest.fixture
def one_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts copies: these tests show one drawing for all patients, because they check tables, names and layouts."""
    monkeypatch.setattr("bench.data.leaks.check.copy_faults", lambda *values: [])


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed tiny run, shared by every test that only reads it: do not write to it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with registered_squares():
        outcome = run_tiny(folder)
    assert outcome.problems == []
    assert outcome.computed
    return folder


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """The hand-made run with known verdicts (``tests.decided``)."""
    return decided.planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are laid out, but their files stay empty: writing them is most of their time.

    Matplotlib's mathematics would be shown as it is written.
    """

    def lay_out(figure: Figure, target: Path) -> None:
        figure.draw_without_rendering()
        assert not [text for text in figure.findobj(Text) if r"$\math" in text.get_text()]
        assert not [line for line in figure.findobj(Line2D) if str(line.get_marker()).startswith("$")]
        target.touch()

    monkeypatch.setattr(style, "write_png", lay_out)
    monkeypatch.setattr(style, "write_pdf", lambda figure, target: target.touch())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked ``gpu`` where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
