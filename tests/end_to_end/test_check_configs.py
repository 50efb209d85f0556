"""The quick study configs, cut down in size: each shipped grid is run whole and fills its own table and figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from bench.config import load_config, parse_config
from bench.report.contents import TOPICS, draw_figures
from bench.report.frames.load import load_frames
from bench.run.plan import make_plan
from bench.run.runner import RunOptions, run
from bench.store.manifest import Manifest

pytestmark = pytest.mark.slow

#: What is smaller than in the shipped configs; the grids are theirs.
SMALL: dict[str, dict[str, Any]] = {
    "data": {"size": 64, "train": 24, "val": 8, "test": 8},
    "training": {"epochs": 2, "batch_size": 8},
    "explain": {"diseased": 3, "healthy": 1, "faithful": 2, "steps": 3, "gallery": 1},
    "explainers": {"integrated_gradients": {"n_steps": 2}},
}
SIDES = [64, 72, 80, 96]
DOMAINS = ["fundus-phantom", "cxr-phantom"]


def is_lambda_sweep(table: pd.DataFrame) -> None:
    """A row for every λ of both penalties, and for none, by rising λ."""
    found = table.astype({"lambda": float}).groupby("penalty")["lambda"].apply(list).to_dict()
    assert found == {"l1": [0, 1e-6, 1e-5, 5e-5, 2e-4], "l2": [0, 1e-4, 1e-3, 1e-2]}
    of_name = table["head"].str.partition("=")[2].replace("", "0").astype(float)
    assert of_name.tolist() == table["lambda"].astype(float).tolist()
    assert set(table.loc[of_name == 0, "head"]) == {"softcam-dense"}
    assert table[["validation_auc_mean", "auc_mean", "activation_precision_mean"]].notna().all(axis=None)


def is_resolution(table: pd.DataFrame) -> None:
    """Both heads at every side; the compact backbone has stride 8."""
    for head, grids in {"blackbox": ["–"] * 4, "softcam-dense": ["8×8", "9×9", "10×10", "12×12"]}.items():
        rows = table[table["head"] == head]
        assert rows["input side"].tolist() == SIDES
        assert rows["evidence grid"].tolist() == grids
        assert rows["dataset"].tolist() == [f"fundus-phantom@size={side}" for side in SIDES]
    assert table["auc_mean"].notna().all()


def is_pooling(table: pd.DataFrame) -> None:
    """The map adds up to the logit under the two poolings that are means of the evidence, and under no other."""
    assert table["pooling"].tolist() == ["avg", "max", "lse", "topk", "attention"]
    assert table["head"].tolist()[1:] == [f"softcam-dense@pooling={name}" for name in table["pooling"][1:]]
    gap = table.set_index("pooling")["evidence_gap_mean"]
    assert gap[["avg", "attention"]].max() < 1e-4  # float32
    assert gap[["max", "lse", "topk"]].min() > 1e-3


def is_cross_domain(table: pd.DataFrame) -> None:
    """Every head and its maps with values on both data sets."""
    heads = {"blackbox", "tte", "softcam-dense", "softcam-sparse"}
    assert set(table.loc[table["metric"] == "auc ↑", "head"]) == heads
    own = table[table["explainer"] == "softcam"]
    assert set(own["head"]) == heads - {"blackbox"}
    assert set(own["metric"]) >= {"activation precision ↑", "audc@zero ↓", "positive ratio ↑"}
    assert {"random", "mask_oracle"} <= set(table["explainer"])
    values = [f"{name}_mean" for name in DOMAINS]
    assert table.loc[table["metric"] == "auc ↑", values].notna().all(axis=None)
    assert own.loc[own["metric"] == "positive ratio ↑", values].notna().all(axis=None)


STUDIES: dict[str, tuple[dict[str, Any], Callable[[pd.DataFrame], None]]] = {
    "lambda-sweep": ({}, is_lambda_sweep),
    "resolution": ({"sizes": SIDES}, is_resolution),
    "pooling": ({}, is_pooling),
    "cross-domain": ({"datasets": DOMAINS}, is_cross_domain),
}


@pytest.mark.parametrize("name", STUDIES)
def test_shipped_grid_fills_its_table_and_figure(name: str, tmp_path: Path) -> None:
    changes, check = STUDIES[name]
    study = name.replace("-", "_")
    values = load_config(f"{name}-quick").model_dump()
    for section, smaller in (SMALL | {"run": changes}).items():
        values[section] |= smaller
    config, out = parse_config(values, name), tmp_path / "run"
    plan = make_plan(config, tmp_path)
    with (tmp_path / "log.txt").open("w") as log:
        console = Console(file=log)
        outcome = run(config, plan, RunOptions(tmp_path, out, torch.device("cpu")), console, [])
    assert outcome.problems == []
    frames = load_frames(out)
    (topic,) = [topic for topic in TOPICS if topic.name == study]
    check(topic.tables(frames)[study].numbers())
    assert list(draw_figures(frames, Manifest(out), [topic])) == [study]
    assert (out / f"{study}.png").exists()
