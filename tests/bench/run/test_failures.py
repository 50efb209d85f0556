"""What goes wrong in a method, a metric or a cell is one line, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.registry import EXPLAINERS, metric, register_explainer
from bench.report.frames.load import load_frames
from tests.support.made import run_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


def test_memory_that_runs_out_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = EXPLAINERS["gradcam"].explain_batch

    def hungry(self: Explainer, classifier: Classifier, batch: Batch) -> Tensor:
        sizes.append(len(batch.images))
        if len(batch.images) > 1:
            raise torch.OutOfMemoryError("made up")
        return real(self, classifier, batch)

    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", hungry)
    assert run_tiny(tmp_path / "run", tiny_config(heads=["blackbox"])).problems == []
    assert sizes[:3] == [4, 2, 1]


class Nan(Explainer):
    """NaN on one image, and an exception, a wrong shape or nothing but NaN when told to."""

    name, family, signed, paper = "nan", "post-hoc", True, ""

    def __init__(self, fault: str = "one") -> None:
        self.fault = fault

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        maps = images.mean(dim=1).clone()
        if self.fault == "raises":
            raise RuntimeError("made to fail\nin two lines")
        if self.fault == "shape":
            return maps[:, 0]
        maps[:1] = torch.nan
        return maps if self.fault == "one" else maps * torch.nan


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "explainer 'nan' failed: RuntimeError: made to fail in two lines"),
        ("shape", "explainer 'nan' returned shape (4, 32) of torch.float32 for 4 images"),
        ("all", "explainer 'nan' returned only NaN or infinite maps"),
        ("one", "nan: 2 maps hold NaN or infinite values"),
    ],
)
def test_wrong_explainer_is_one_line_and_the_rest_goes_on(tmp_path: Path, fault: str, said: str) -> None:
    register_explainer(Nan)
    config = tiny_config(explainers=["nan", "gradcam"], heads=["blackbox"])
    outcome = run_tiny(tmp_path / "run", config.model_copy(update={"explainers": {"nan": {"fault": fault}}}))
    assert len(outcome.problems) == 1
    assert said in outcome.problems[0]
    assert "\n" not in outcome.problems[0]
    scores = load_frames(tmp_path / "run").rows()
    assert "gradcam" in set(scores["explainer"])
    if fault == "one":
        values = scores[(scores["explainer"] == "nan") & (scores["metric"] == "activation_precision")]["value"]
        assert values.isna().sum() == 1


def test_failed_explainer_is_tried_again(tmp_path: Path) -> None:
    register_explainer(Nan)
    config = tiny_config(explainers=["nan"], heads=["blackbox"])
    broken = config.model_copy(update={"explainers": {"nan": {"fault": "raises"}}})
    assert run_tiny(tmp_path / "run", broken).problems
    assert run_tiny(tmp_path / "run", broken).problems
    EXPLAINERS["nan"].explain = lambda self, classifier, images, targets: images.mean(dim=1)
    assert run_tiny(tmp_path / "run", broken).problems == []


def test_wrong_metric_is_one_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    @metric("wrong", "localisation", ("maps",), True, (0, 1), "")
    def wrong(maps: Tensor) -> Tensor:
        raise ZeroDivisionError("made to fail")

    @metric("scalar", "localisation", ("maps",), True, (0, 1), "")
    def scalar(maps: Tensor) -> Tensor:
        return maps.mean()

    config = tiny_config(explainers=["gradcam"], heads=["blackbox"], metrics=["all"])
    outcome = run_tiny(tmp_path / "run", config)
    assert len(outcome.problems) == 1
    assert "metric wrong failed: ZeroDivisionError: made to fail" in outcome.problems[0]
    assert "metric scalar failed: metric 'scalar' returned ()" in outcome.problems[0]
    assert "activation_precision" in set(load_frames(tmp_path / "run").rows()["metric"])


def test_failed_cell_keeps_its_traceback_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from softcam.heads import Sparse

    def fail(self: object, evidence: Tensor) -> Tensor:
        raise RuntimeError("penalty made to fail")

    monkeypatch.setattr(Sparse, "penalty", fail)
    outcome = run_tiny(tmp_path / "run")
    assert len(outcome.problems) == 1
    frames = load_frames(tmp_path / "run")
    assert frames.cells["status"].tolist() == ["ok", "failed"]
    assert "penalty made to fail" in frames.cells["record"][1].traceback
    monkeypatch.undo()
    assert run_tiny(tmp_path / "run").problems == []
    assert load_frames(tmp_path / "run").cells["status"].tolist() == ["ok", "ok"]


def test_metric_that_fails_half_way_leaves_no_row(tmp_path: Path) -> None:
    calls = []

    @metric("tired", "localisation", ("maps",), True, (0, 1), "")
    def tired(maps: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("tired")
        return maps.mean(dim=(1, 2))

    section = tiny_config().explain.model_copy(update={"batch_size": 2})
    config = tiny_config(explainers=["gradcam"], heads=["blackbox"], metrics=["tired"])
    outcome = run_tiny(tmp_path / "run", config.model_copy(update={"explain": section}))
    assert "metric tired failed" in outcome.problems[0]
    assert "tired" not in set(load_frames(tmp_path / "run").rows().get("metric", []))


def test_explainer_that_cannot_say_whether_it_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Explainer, classifier: Classifier) -> str:
        raise RuntimeError("undecided")

    monkeypatch.setattr(EXPLAINERS["gradcam"], "applies_to", fail)
    outcome = run_tiny(tmp_path / "run", tiny_config(heads=["blackbox"]))
    assert len(outcome.problems) == 1
    assert "explainer 'gradcam' failed: RuntimeError: undecided" in outcome.problems[0]
    assert "random" in set(load_frames(tmp_path / "run").rows()["explainer"])
