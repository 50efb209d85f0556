"""A made-up run with everything that statistics must respect: groups of images, two seeds, and undefined scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.files import replacing
from bench.store.folders import CellStore, RunStore
from bench.store.scores import write_scores
from tests.support.report_store import EXPLAINERS
from tests.support.study_store import PLAIN, head, make_grid

HEADS = {"plain": PLAIN, "dense": head("own", l1=0.0, l2=0.0), "weak": head("own", l1=1e-4, l2=0.0)}
_UNDEFINED = 7  # every so many diseased images lack a score


def make_grouped(folder: Path) -> RunStore:
    """Write a run whose images form groups of one, two and three."""
    store = make_grid(folder, HEADS, {"first": {"grid": (4, 4)}, "second": {}}, seeds=(0, 1))
    for key in store.record.cells:
        cell = store.cell(key)
        predictions = pd.read_parquet(cell.predictions)
        predictions.assign(group=groups_of(predictions["image"])).to_parquet(cell.predictions, index=False)
        for name in EXPLAINERS:
            if cell.scores_file(name).exists():
                _regroup(cell, name)
    return store


def groups_of(images: pd.Series) -> np.ndarray:
    """Names of the groups (N,) of images: i0; i1 and i2; i3, i4 and i5; and so on."""
    number = images.str.extract(r"(\d+)$", expand=False).astype(int).to_numpy()
    return np.char.mod("g%02d", 3 * (number // 6) + np.array([0, 1, 1, 2, 2, 2])[number % 6])


def _regroup(cell: CellStore, explainer: str) -> None:
    scores = pd.read_parquet(cell.scores_file(explainer))
    about_images = scores["image"] != ""
    number = scores["image"].str.extract(r"(\d+)$", expand=False).fillna("-1").astype(int)
    undefined = about_images & (number % _UNDEFINED == len(explainer) % _UNDEFINED) & (scores["step"] < 0)
    scores.loc[about_images, "group"] = groups_of(scores.loc[about_images, "image"])
    scores["value"] = scores["value"].where(~undefined)
    write_scores(replacing(cell.scores_file(explainer)), [scores], fingerprint="x")
