"""A head that converts the trained classifier of another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from torch import nn

from bench.registry import backbone
from bench.report.frames.load import load_frames
from bench.report.tables.main import all_tables
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.made import run_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


def logits_of(folder: Path, head: str) -> np.ndarray:
    cell = RunStore(folder).cell(CellKey("squares", "compact", head, 0))
    return pd.read_parquet(cell.predictions).filter(like="logit_").to_numpy()


def test_predicts_as_the_black_box_and_has_rows_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_tiny(folder, tiny_config(heads=["tte", "blackbox"])).problems == []
    np.testing.assert_allclose(logits_of(folder, "tte"), logits_of(folder, "blackbox"), atol=1e-5)
    frames = load_frames(folder)
    assert set(frames.training["head"]) == {"blackbox"}
    record = frames.cells.set_index("head").loc["tte", "record"]
    assert record.weights_from == "blackbox, trained"
    assert record.evidence_grid == (4, 4)
    gap = frames.rows()[frames.rows()["metric"] == "evidence_gap"]
    assert set(gap["head"]) == {"tte"}
    assert gap["value"].max() < 1e-4
    tables = all_tables(frames)
    for name in ("classification", "localisation", "faithfulness", "consistency"):
        assert "tte" in {row["head"] for row in tables[name].rows}, name


def test_follows_its_black_box_when_that_is_trained_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = tiny_config(heads=["tte"])  # its black box is trained for it, though the run does not name it
    assert run_tiny(folder, config).problems == []
    weights = RunStore(folder).cell(CellKey("squares", "compact", "tte", 0)).weights
    before = load_file(weights)
    assert not run_tiny(folder, config).computed
    changed = config.model_copy(update={"training": config.training.model_copy(update={"lr": 0.01})})
    assert run_tiny(folder, changed).computed
    assert any(not np.array_equal(before[name], value) for name, value in load_file(weights).items())


def test_is_skipped_with_the_reason_where_it_would_not_be_exact(tmp_path: Path) -> None:
    @backbone("maximal", "pools by the maximum")
    def maximal(pretrained: bool) -> tuple[nn.Module, str]:
        layers = [nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
        return nn.Sequential(*layers), "random"

    outcome = run_tiny(tmp_path / "run", tiny_config(heads=["blackbox", "tte"], backbones=["maximal"]))
    assert outcome.problems == []
    cells = load_frames(tmp_path / "run").cells.set_index("head")
    assert cells.loc["blackbox", "status"] == "ok"
    assert cells.loc["tte", "status"] == "skipped"
    assert "AdaptiveMaxPool2d" in cells.loc["tte", "record"].reason
