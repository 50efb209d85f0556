"""Study fair_resolution where there are no masks: it reads the other metrics, or is skipped with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.made import forgotten_afterwards, run_tiny, tiny_config
from tests.support.subsets.configs import register_bare


@pytest.mark.parametrize(
    ("metrics", "read"), [(["pixel_auroc", "audc"], {"audc"}), (["pixel_auroc", "topk_precision"], set())]
)
def test_without_masks(tmp_path: Path, metrics: list[str], read: set[str]) -> None:
    about: dict[str, Any] = {"datasets": ["no-masks"], "heads": ["blackbox"], "explainers": ["gradcam"]}
    config = tiny_config(**about, metrics=["gini"], studies=["fair_resolution"])
    config = config.model_copy(update={"studies": {"fair_resolution": {"metrics": metrics}}})
    with forgotten_afterwards():
        register_bare()
        assert run_tiny(tmp_path, config).problems == []
    found = [file for file in tmp_path.rglob("*.parquet") if "studies" in file.parts]
    assert {name for file in found for name in pd.read_parquet(file)["metric"]} == read
    (cell,) = tmp_path.rglob("cell.json")
    assert ("no masks" in cell.read_text().partition('"studies"')[2]) == (not read)
