"""The studies on a real phantom, through the whole harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.config import Config, parse_config
from bench.report.build import build_report
from bench.report.frames.load import load_frames
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.made import run_tiny, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("squares", "unsaved")]


def config() -> Config:
    run: dict[str, Any] = {"studies": ["soundness", "counterfactual"], "metrics": ["activation_precision", "audc@zero"]}
    values = tiny_config(datasets=["fundus-phantom", "squares"], **run).model_dump()
    values["datasets"] = {"fundus-phantom": {"data": {"size": 64, "train": 8, "val": 4, "test": 8}}}
    return parse_config(values, "tiny")


def test_phantoms_are_studied_and_others_skipped_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_tiny(folder, config()).problems == []
    frames = load_frames(folder)
    assert set(frames.studies["soundness"]["head"]) == {"blackbox"}
    lesions = frames.studies["counterfactual"]
    assert set(lesions["dataset"]) == {"fundus-phantom"}
    assert {"softcam", "gradcam", "mask_oracle"} <= set(lesions["explainer"])
    oracle = lesions[lesions["explainer"] == "mask_oracle"]
    assert (oracle["mass"] == oracle["pixels"]).all()  # fundus masks are exact
    same = lesions.groupby(["head", "image", "lesion"])["effect"].nunique()
    assert (same == 1).all()
    skipped = RunStore(folder).cell(CellKey("squares", "compact", "blackbox", 0)).record.studies
    assert skipped["soundness"][""].reason == "the data set has no exact masks"
    assert skipped["counterfactual"][""].reason == "the data set cannot remove a lesion"
    build_report(folder, Console(quiet=True), figures="all")
    for name in ("metric_soundness", "counterfactual", "counterfactual_agreement", "metric_agreement"):
        wanted = name != "counterfactual_agreement"  # four methods are too many for so small a run
        assert (folder / "tables" / f"{name}.md").exists() == wanted, name
    assert "counterfactual tau" in (folder / "tables" / "faithfulness.md").read_text(encoding="utf-8")
    assert (folder / "figures" / "counterfactual.png").exists()
