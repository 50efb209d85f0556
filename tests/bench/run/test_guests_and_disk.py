"""Plugins that end the program, classifiers that diverge and full disks: each is a line, and the rest goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner

import run_benchmark
from bench.cli.failures import line_of
from bench.cli.main import app
from bench.contracts import Classifier, Explainer
from bench.errors import PluginError, UserError, disk_fault, one_line
from bench.metrics.occlusion import Occluder
from bench.metrics.patches import deletion
from bench.registry import metric, register_explainer
from bench.report.build import build_report
from bench.run.plan import make_plan
from bench.statistics.classification import CLASSIFICATION_SCORES, auc, classification_scores
from bench.store.folders import RunStore
from bench.store.stored_files import StoredFiles
from bench.studies.base import Study, Subject, register_study
from bench.training.loop import require_finite
from tests.support.made import register_squares, run_tiny, tiny_config
from tests.support.tiny import tiny_classifiers

pytestmark = pytest.mark.usefixtures("squares")
RAISED: list[BaseException] = [SystemExit(0), SystemExit("bye"), GeneratorExit()]


class Ends(Explainer):
    """Raises what no explainer should."""

    name, family, signed, paper = "ends", "post-hoc", True, ""
    where, error = "explain", SystemExit(0)

    def __init__(self) -> None:
        self._end("constructor")

    def _end(self, where: str) -> None:
        if where == Ends.where:
            raise Ends.error

    def applies_to(self, classifier: Classifier) -> str:
        self._end("applies_to")
        return ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        self._end("explain")
        return images.mean(dim=1)


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("where", ["explain", "applies_to"])
def test_an_explainer_that_ends_the_program_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    monkeypatch.setattr(Ends, "where", where)
    monkeypatch.setattr(Ends, "error", error)
    register_explainer(Ends)
    config = tiny_config(explainers=["ends", "gradcam"], heads=["blackbox"], metrics=["gini"])
    (problem,) = run_tiny(tmp_path / "run", config).problems
    assert "explainer 'ends'" in problem
    assert "\n" not in problem
    assert RunStore(tmp_path / "run").cell(RunStore(tmp_path / "run").record.cells[0]).is_current("gradcam")


@pytest.mark.parametrize("error", [*RAISED, RuntimeError("no")])
def test_a_constructor_that_ends_the_program_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(Ends, "where", "constructor")
    monkeypatch.setattr(Ends, "error", error)
    register_explainer(Ends)
    with pytest.raises(PluginError, match=r"explainer 'ends' cannot be made with \{\}") as caught:
        make_plan(tiny_config(explainers=["ends"]), tmp_path)
    assert line_of(caught.value) == (str(caught.value), 1)


def test_ctrl_c_stays_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ends, "error", KeyboardInterrupt())
    register_explainer(Ends)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", tiny_config(explainers=["ends"], heads=["blackbox"], metrics=["gini"]))


class EndsStudy(Study):
    """Raises what no study should."""

    name, paper, per_explainer = "endless", "made up", False
    where = ""

    def applies_to(self, subject: Subject) -> str:
        if EndsStudy.where == "applies_to":
            raise SystemExit(0)
        return ""

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        raise SystemExit(0)


@pytest.mark.parametrize("where", ["applies_to", "measure"])
def test_a_study_a_metric_and_a_data_set_that_end_the_program_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(EndsStudy, "where", where)
    register_study(EndsStudy)

    @metric("ends_too", "complexity", ("maps",), None, (0, 1), "")
    def ends_too(maps: Tensor) -> Tensor:
        raise SystemExit(0)

    config = tiny_config(explainers=["random"], heads=["blackbox"], metrics=["gini", "ends_too"], studies=["endless"])
    problems = run_tiny(tmp_path / "run", config).problems
    assert [one for one in problems if "study 'endless' failed: it tried to end the program with exit code 0" in one]
    assert [one for one in problems if "ends_too" in one]
    assert len(problems) == 2


def test_a_plugin_file_that_ends_the_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.py").write_text("import sys; sys.exit(0)")
    done = CliRunner().invoke(app, ["list", "--plugins", str(tmp_path / "q.py")], obj=run_benchmark.register)
    assert "q.py, line 1: it tried to end the program with exit code 0" in str(done.exception)


# --- Diverged classifiers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_score_of_a_classifier_orders_what_is_not_a_number(value: float) -> None:
    logits, labels = np.array([[0.0, 1], [1, 0], [0, 2], [3, 0]]), np.array([0, 0, 1, 1])
    logits[2] = value
    scores = classification_scores(logits, labels)
    assert scores.keys() == CLASSIFICATION_SCORES.keys()
    assert all(np.isnan(values).all() for values in scores.values())


def test_auc_of_probabilities_that_are_nan_is_nan() -> None:
    nothing = np.full((4, 2), np.nan)
    assert np.isnan(auc(nothing, np.array([0, 0, 1, 1]))).all()  # in the order of the file it would be 1
    assert np.isnan(auc(np.full((3, 3), np.nan), np.array([0, 1, 2]), np.ones((5, 3)))).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_and_statistics_that_are_not_numbers_stop_a_training(value: float) -> None:
    classifier = tiny_classifiers()["black box"]
    require_finite(classifier, 3)
    for name, tensor in classifier.state_dict().items():
        if tensor.is_floating_point():
            kept = tensor.flatten()[0].item()
            tensor.view(-1)[0] = value
            with pytest.raises(UserError, match=f"training diverged in epoch 3 .{name} is NaN or infinite"):
                require_finite(classifier, 3)
            tensor.view(-1)[0] = kept


def test_a_last_step_that_diverges_fails_its_cell_and_no_other_data_set(
    tmp_path: Path, unsaved: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.training.loop.learning_rate", lambda *step: 1e30)
    register_squares("other")
    config = tiny_config(datasets=["squares", "other"], heads=["blackbox"], explainers=["random"], metrics=["gini"])
    wild = config.training.model_copy(update={"epochs": 1, "batch_size": 64})
    config = config.model_copy(update={"training": wild})
    problems = run_tiny(tmp_path / "run", config).problems
    assert len(problems) == 2
    assert all("diverged" in one and "\n" not in one for one in problems)


def test_occluded_logits_that_are_not_numbers_are_an_error() -> None:
    occluder = Occluder(lambda images: images.sum(dim=(2, 3)) * torch.nan, torch.ones(1, 3, 2, 2), patch=1)
    with pytest.raises(UserError, match="logits of occluded images are NaN or infinite"):
        occluder.logits(deletion(torch.tensor([[0, 1, 2, 3]]), 2, "zero"))


# --- Disks -----------------------------------------------------------------------------------------------------------


def full(*arguments: Any, **options: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["explained", "scores", "gallery", "cell.json", "weights", "predictions", "data"])
def test_a_full_disk_is_one_line_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = tiny_config(explainers=["random"], heads=["blackbox"], metrics=["gini"])
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        return full() if place in str(target).removeprefix(str(tmp_path)) else real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(UserError, match=r"stopped: No space left on device while writing to .*; make room") as said:
            run_tiny(tmp_path / "run", config)
    assert "\n" not in str(said.value)
    assert run_tiny(tmp_path / "run", config).problems == []


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (OSError(errno.EROFS, "Read-only file system"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError("[Errno 28] Error writing bytes to file"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError("28"), False),
        (UserError("line with os error 28 of a plugin"), False),
    ],
)
def test_a_fault_of_the_disk_is_told_from_others(error: Exception, is_one: bool) -> None:
    assert bool(disk_fault(error)) == is_one
    outer = KeyError("wrapped")
    outer.__cause__ = error
    assert bool(disk_fault(outer)) == is_one
    assert "\n" not in one_line(error)


def test_a_report_waits_for_no_run_and_breaks_none(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", tiny_config(explainers=["random"], heads=["blackbox"], metrics=["gini"]))
    with RunStore(tmp_path / "run").lock(), pytest.raises(UserError, match="another run or report is working in"):
        build_report(tmp_path / "run", Console(quiet=True))
    with pytest.raises(UserError, match="holds no run"):
        build_report(tmp_path / "nothing", Console(quiet=True))
    assert not (tmp_path / "nothing").exists()


def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="lock is a link"), RunStore(tmp_path / "run").lock():
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_notes_that_are_damaged_condemn_no_file(tmp_path: Path) -> None:
    files = StoredFiles(tmp_path, tmp_path)
    for name in ("a", "b"):
        with files.writing(tmp_path / name) as temporary:
            temporary.write_text(name)
    notes = tmp_path / ".digests.jsonl"
    content = notes.read_bytes()
    for broken in (b"", content[: len(content) // 2], b"\xff" * 9 + content, content.replace(b"[", b"{", 1)):
        notes.write_bytes(broken)
        assert {files.state(tmp_path / name) for name in ("a", "b")} == {"good"}


def test_a_data_set_that_ends_the_program_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*arguments: object) -> NoReturn:
        raise SystemExit(0)

    monkeypatch.setattr("bench.data.prepare.build_samples", end)
    config = tiny_config(explainers=["random"], heads=["blackbox"], metrics=["gini"])
    assert run_tiny(tmp_path / "run", config).problems == [
        "squares failed: it tried to end the program with exit code 0"
    ]
