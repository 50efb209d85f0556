"""The `paper` config on made data in the publishers' layouts, cut down in size: every table of the paper is filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

import baselines  # noqa: F401 (registers what the config names)
import bench.data
import bench.metrics
import bench.models.backbones
import bench.models.timm_backbones
import bench.studies  # noqa: F401
import softcam  # noqa: F401
from bench.config import load_config, parse_config
from bench.report.build import build_report
from bench.report.frames.load import Frames, load_frames
from bench.run.plan import make_plan
from bench.run.runner import RunOptions, run
from tests.support.datasets.fundus import make_eyepacs
from tests.support.datasets.oct import CLASSES, make_oct
from tests.support.datasets.rsna import make_rsna

pytest.importorskip("pydicom")
pytestmark = pytest.mark.slow
#: What is smaller than in the shipped config; all else is as published.
SMALL = {
    "run": {"backbones": ["compact"], "seeds": [0, 1], "pretrained": False},
    "data": {"size": 48},
    "training": {"epochs": 2, "batch_size": 8, "lr": 0.02},
    "explain": {"diseased": 8, "healthy": 6, "faithful": 6, "steps": 4, "batch_size": 8},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_eyepacs(root)
    make_oct(root / "oct2017", scans=1)
    make_rsna(root / "rsna", 60)
    values = load_config("paper").model_dump()
    for section, changes in SMALL.items():
        values[section] |= changes
    values["datasets"]["oct"]["data"]["size"] = 40
    config, out = parse_config(values, "small"), root / "run"
    plan = make_plan(config, root)
    with (root / "log.txt").open("w") as log, pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.data.leaks.check.copy_faults", lambda *values: [])  # all patients have one drawing
        console = Console(file=log)
        outcome = run(config, plan, RunOptions(root, out, torch.device("cpu")), console, [])
        build_report(out, console)
    assert outcome.problems == []
    return out


@pytest.fixture(scope="module")
def frames(finished: Path) -> Frames:
    return load_frames(finished)


def test_every_cell_is_trained_and_keeps_its_data_set_s_recipe(frames: Frames) -> None:
    assert len(frames.cells) == 5 * 5 * 2  # data sets, heads, seeds
    assert set(frames.cells["status"]) == {"ok"}
    assert frames.record.datasets["oct@classes"].size == 40
    published = (0.4133, 0.2724, 0.1859)
    assert frames.record.datasets["fundus@grades"].mean == pytest.approx(published, abs=1e-4)


def test_tables_of_the_paper_are_filled(finished: Path) -> None:
    paper = {path.stem: pd.read_csv(path) for path in (finished / "tables/paper").glob("*.csv")}
    heads = {"blackbox", "tte", "softcam-dense", "softcam-sparse", "softcam-ridge"}
    assert set(paper["classification"]["head"]) == heads
    assert set(paper["classification"]["dataset"]) >= {"fundus", "oct", "cxr"}
    for name in ("topk_precision", "activation"):
        assert set(paper[name]["dataset"]) >= {"fundus", "cxr"}, name
        assert "oct" not in set(paper[name]["dataset"]), name  # which has no masks
    assert set(paper["consistency"]["head"]) == heads - {"blackbox"}
    assert {"gradcam", "scorecam", "softcam"} <= set(paper["audc"]["explainer"])
    assert set(paper["multiclass"]["dataset"]) == {"fundus@grades", "oct@classes"}
    deleted = paper["multiclass_deletion"]
    assert set(deleted[deleted["dataset"] == "oct@classes"]["class"]) == set(CLASSES)


def test_converted_black_box_scores_as_the_black_box(frames: Frames) -> None:
    black, converted = (
        frames.predictions.where(head=[head]).rows().set_index(["dataset", "seed", "image"]).sort_index()
        for head in ("blackbox", "tte")
    )
    black, converted = (rows.filter(like="logit_").fillna(0) for rows in (black, converted))
    np.testing.assert_allclose(converted, black, atol=1e-4)


def test_scans_without_masks_have_everything_but_localisation(frames: Frames) -> None:
    metrics = set(frames.rows()[frames.rows()["dataset"] == "oct"]["metric"])
    assert {"audc", "positive_ratio", "evidence_gap"} <= metrics
    assert not {"activation_precision", "topk_precision"} & metrics
