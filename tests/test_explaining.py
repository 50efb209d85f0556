"""A cell whose images come in several portions: what is finished is not computed again, and nothing is left lying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.config import Config
from bench.contracts import Batch, Classifier, Explainer
from bench.registry import EXPLAINERS
from tests.made import registered_squares, run_tiny, tiny_config


@pytest.fixture(autouse=True)
def _squares() -> Iterator[None]:
    with registered_squares():
        yield


def config(batch_size: int) -> Config:
    made = tiny_config(heads=["blackbox"], explainers=["gradcam", "random"])
    return made.model_copy(update={"explain": made.explain.model_copy(update={"batch_size": batch_size})})


def scores(run: Path) -> pd.DataFrame:
    rows = pd.concat(pd.read_parquet(file).assign(of=file.stem) for file in sorted(run.glob("cells/*/*/scores/*")))
    rows = rows[rows["image"] != ""]
    return rows.sort_values(["of", "metric", "variant", "image", "step"]).reset_index(drop=True)


def test_portions_do_not_matter(tmp_path: Path) -> None:
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


def test_stopped_between_portions_goes_on_behind_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert seen == [2, 2, 2, 2]  # the third portion alone is explained again
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


def test_precision_that_was_found_is_noted_and_kept(tmp_path: Path) -> None:
    asked = torch.device("cpu")
    run_tiny(tmp_path / "run", config(6), precision="bf16", device=asked)
    from bench.files import read_json

    noted = read_json(next((tmp_path / "run").glob("cells/*/*/cell.json")))["inference"]
    assert (noted["asked"], noted["precision"]) == ("bf16", "bf16")
    assert run_tiny(tmp_path / "run", config(6), precision="bf16").computed is False
    assert run_tiny(tmp_path / "run", config(6), precision="float32").computed is True
