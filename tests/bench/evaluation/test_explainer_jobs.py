"""Cells whose images are divided into several shares: finished shares are not computed again, no piece is left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.config import Config
from bench.contracts import Batch, Classifier, Explainer
from bench.evaluation import explainer_jobs, mixed_precision
from bench.evaluation.batch import EvaluationBatch
from bench.files import read_json
from bench.registry import EXPLAINERS, metric
from tests.support.made import run_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


def config(batch_size: int) -> Config:
    made = tiny_config(heads=["blackbox"], explainers=["gradcam", "random"])
    return made.model_copy(update={"explain": made.explain.model_copy(update={"batch_size": batch_size})})


def scores(run: Path) -> pd.DataFrame:
    rows = pd.concat(pd.read_parquet(file).assign(of=file.stem) for file in sorted(run.glob("cells/*/*/scores/*")))
    rows = rows[rows["image"] != ""]
    return rows.sort_values(["of", "metric", "variant", "image", "step"]).reset_index(drop=True)


def recorded(run: Path) -> dict[str, Any]:
    return (read_json(next(run.glob("cells/*/*/cell.json"))) or {})["inference"]


def test_the_number_of_shares_does_not_matter(tmp_path: Path) -> None:
    for size in (2, 6):
        assert run_tiny(tmp_path / str(size), config(size), save_maps=True).problems == []
    pd.testing.assert_frame_equal(scores(tmp_path / "2"), scores(tmp_path / "6"), rtol=1e-4, atol=1e-5)
    for kind in ("maps", "gallery"):
        ours, theirs = (next((tmp_path / size).glob(f"cells/*/*/{kind}/gradcam.npz")) for size in ("2", "6"))
        with np.load(ours) as one, np.load(theirs) as other:
            assert one.files == other.files
            for name in one.files:
                np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6)
    assert not list(tmp_path.glob("*/cells/*/*/pieces/*"))


def test_a_share_is_freed_when_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the garbage collector, because memory must not grow with the number of images."""
    alive: weakref.WeakSet[EvaluationBatch] = weakref.WeakSet()
    most: list[int] = []
    real = explainer_jobs.score_batch

    def watched(batch: EvaluationBatch, *arguments: Any) -> Any:
        alive.add(batch)
        most.append(len(alive))
        return real(batch, *arguments)

    monkeypatch.setattr(explainer_jobs, "score_batch", watched)
    gc.disable()
    try:
        assert run_tiny(tmp_path / "run", config(2)).problems == []
    finally:
        gc.enable()
    assert len(most) > 4
    assert set(most) == {1}


def test_a_stopped_run_continues_after_the_last_finished_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = EXPLAINERS["gradcam"].explain_batch

    def stopping(self: Explainer, classifier: Classifier, batch: Batch) -> Tensor:
        seen.append(len(batch.images))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(self, classifier, batch)

    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", config(2))
    assert not list((tmp_path / "run").glob("cells/*/*/scores/*"))
    assert run_tiny(tmp_path / "run", config(2)).problems == []
    assert seen == [2, 2, 2, 2]  # only the third share is explained again
    monkeypatch.undo()
    run_tiny(tmp_path / "whole", config(2))
    pd.testing.assert_frame_equal(scores(tmp_path / "run"), scores(tmp_path / "whole"))


def test_pieces_of_other_settings_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EXPLAINERS["random"].explain_batch

    def stopping(*arguments: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(EXPLAINERS["random"], "explain_batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", config(2))
    monkeypatch.setattr(EXPLAINERS["random"], "explain_batch", real)
    other = config(2)
    other = other.model_copy(update={"explain": other.explain.model_copy(update={"steps": 5})})
    assert run_tiny(tmp_path / "run", other).problems == []
    run_tiny(tmp_path / "whole", other)
    pd.testing.assert_frame_equal(scores(tmp_path / "run"), scores(tmp_path / "whole"))


def test_a_single_share_is_stored_explainer_by_explainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(*arguments: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(EXPLAINERS["random"], "explain_batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", config(6))
    assert [file.stem for file in (tmp_path / "run").glob("cells/*/*/pieces/0/*.parquet")] == ["gradcam"]


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (lambda c, b: b.images.zero_(), "explainer 'gradcam' changed the images"),
        (lambda c, b: b.targets.data.zero_(), "explainer 'gradcam' changed the targets"),
        (lambda c, b: c.train(), "gradcam: left behind and put back: train mode changed"),
        (lambda c, b: c.features.register_forward_hook(lambda m, i, o: o.clamp(max=0.05)), "put back: a hook left"),
        (lambda c, b: next(c.parameters()).data.mul_(0), "gradcam: left behind and put back: weights changed"),
    ],
)
def test_scores_after_a_careless_explainer_are_those_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: Callable[[Classifier, Batch], object], said: str
) -> None:
    real = EXPLAINERS["gradcam"].explain_batch

    def careless(self: Explainer, classifier: Classifier, batch: Batch) -> Tensor:
        maps = real(self, classifier, batch)
        deed(classifier, batch)
        return maps

    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", careless)
    problems = run_tiny(tmp_path / "run", config(6)).problems
    assert len(problems) == 1
    assert said in problems[0]
    monkeypatch.undo()
    run_tiny(tmp_path / "whole", config(6))
    careful = scores(tmp_path / "whole").query("of == 'random'").reset_index(drop=True)
    ran = scores(tmp_path / "run").query("of == 'random'").reset_index(drop=True)
    pd.testing.assert_frame_equal(ran, careful)


def test_a_metric_that_works_in_place_alters_no_other(tmp_path: Path) -> None:
    @metric("careless", "complexity", ("maps",), None, (0, 1), "", images="all")
    def careless(maps: Tensor) -> Tensor:
        maps.data.zero_()
        return maps.flatten(1).sum(dim=1)

    found = [
        run_tiny(tmp_path / name, tiny_config(explainers=["gradcam"], metrics=[*first, "gini", "pixel_auroc"]))
        for name, first in {"run": ["careless"], "whole": []}.items()
    ]
    assert [outcome.problems for outcome in found] == [[], []]
    with_it = scores(tmp_path / "run").query("metric != 'careless'").reset_index(drop=True)
    pd.testing.assert_frame_equal(with_it, scores(tmp_path / "whole"))


def test_a_chosen_precision_is_recorded_and_kept(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", config(6), precision="bf16", device=torch.device("cpu"))
    assert (recorded(tmp_path / "run")["asked"], recorded(tmp_path / "run")["precision"]) == ("bf16", "bf16")
    assert run_tiny(tmp_path / "run", config(6), precision="bf16").computed is False
    assert run_tiny(tmp_path / "run", config(6), precision="float32").computed is True


def test_scores_of_bf16_outlive_a_run_that_occludes_nothing(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", config(6), precision="bf16")
    before, facts = scores(tmp_path / "run"), recorded(tmp_path / "run")
    few = config(6)
    few = few.model_copy(update={"run": few.run.model_copy(update={"metrics": ["pixel_auroc"]})})
    assert run_tiny(tmp_path / "run", few, precision="bf16").computed is False
    assert recorded(tmp_path / "run") == facts
    pd.testing.assert_frame_equal(scores(tmp_path / "run"), before)


def test_a_precision_that_cannot_be_compared_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(mixed_precision, "choices", lambda *_: ("float32", "bf16"))
    monkeypatch.setattr(mixed_precision, "compare", failing)
    assert run_tiny(tmp_path / "run", config(6), precision="auto").problems == []
    facts = recorded(tmp_path / "run")
    assert (facts["precision"], facts["agree"]) == ("float32", False)
    assert "BFloat16" in facts["failed"]
