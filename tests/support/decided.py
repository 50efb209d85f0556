"""A hand-made run whose verdicts are known: every method has a planted mean."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.report.frames.load import Frames
from bench.report.frames.stored.reader import CELL
from bench.report.frames.stored.rows import StoredRows
from bench.report.frames.stored.scores import Scores
from bench.store.folders import RunStore
from bench.store.records import CellRecord, MetricFacts
from tests.support.report_store import run_record

N = 40
RNG = np.random.default_rng(0)
DIFFICULTY, NOISE = RNG.normal(0, 0.1, size=N), RNG.normal(0, 0.01, size=(20, N))
METRICS = [
    MetricFacts(name="precision", family="localisation", higher_is_better=True),
    MetricFacts(name="audc", variant="zero", family="faithfulness", higher_is_better=False, of_network=True),
    MetricFacts(name="gini", family="complexity", higher_is_better=None, images="all"),
]
RECORD = run_record(
    explainers={
        "own": {"family": "inherent", "signed": True, "paper": ""},
        "post_a": {"family": "post-hoc", "signed": True, "paper": ""},
        "post_b": {"family": "post-hoc", "signed": True, "paper": ""},
        "noise": {"family": "control", "signed": False, "paper": "", "role": "floor"},
        "mask": {"family": "control", "signed": False, "paper": "", "role": "ceiling"},
        "coarse": {"family": "control", "signed": False, "paper": "", "role": "grid ceiling", "grid": "features"},
    },
    heads={
        "plain": {"family": "black box", "base": "plain", "paper": ""},
        "soft": {"family": "inherent", "base": "soft", "paper": ""},
        "exact": {"family": "inherent", "base": "exact", "paper": "", "converts": "plain"},
    },
    datasets={
        "x": {"base": "x", "size": 32, "classes": ["fine", "ill"], "healthy": 0, "prevalence": 0.02, "topk_chance": 0.1}
    },
    metrics=METRICS,
)
#: (head, explainer) -> mean precision and AUDC.
MEANS = {
    ("plain", "post_a"): (0.3, 0.5),
    ("plain", "post_b"): (0.4, 0.4),
    ("soft", "own"): (0.6, 0.4),
    ("soft", "post_a"): (0.5, 0.45),
    ("exact", "own"): (0.35, 0.5),
    ("plain", "noise"): (0.1, 0.9),
    ("plain", "mask"): (0.9, 0.3),
}


def score_rows(means: dict[tuple[str, str], tuple[float, float]], seeds: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """Long rows: every method shares the difficulty of the images and has a little noise of its own."""
    parts = []
    for place, ((head, explainer), values) in enumerate(means.items()):
        for metric, mean in zip(METRICS, values, strict=False):
            for seed in seeds:
                names = [f"i{index}" for index in range(N)]
                about = {"image": names, "group": names, "label": 1, "predicted": 1, "target": 1, "diseased": True}
                cell = {"dataset": "x", "backbone": "net", "head": head, "seed": seed, "explainer": explainer}
                facts = cell | {"metric": metric.name, "variant": metric.variant, "step": -1}
                facts["family"] = RECORD.explainers[explainer].family
                value = mean + DIFFICULTY + NOISE[place] + 0.001 * seed
                parts.append(pd.DataFrame(about | facts).assign(value=value))
    return pd.concat(parts, ignore_index=True)


def prediction_rows(logits: dict[str, np.ndarray], labels: np.ndarray) -> pd.DataFrame:
    frames = []
    for head, margin in logits.items():
        names = [f"t{index}" for index in range(len(labels))]
        frame = pd.DataFrame({"image": names, "group": names, "label": labels, "logit_0": 0.0, "logit_1": margin})
        frames.append(frame.assign(dataset="x", backbone="net", head=head, seed=0))
    return pd.concat(frames, ignore_index=True)


def made(folder: Path, scores: pd.DataFrame, predictions: pd.DataFrame | None = None, **record: Any) -> Frames:
    cells = pd.DataFrame(
        [
            {
                "dataset": "x",
                "backbone": "net",
                "head": head,
                "seed": 0,
                "status": "ok",
                "record": CellRecord(status="ok"),
            }
            for head in RECORD.heads
        ]
    )
    nothing = pd.DataFrame()
    known = {"store": RunStore(folder), "record": RECORD.changed(**record), "cells": cells, "source": Scores.of(scores)}
    others = {one.name: nothing for one in fields(Frames)} | {"own_class": Scores.of(nothing), "folds": {}}
    stored = StoredRows() if predictions is None else _stored(folder, predictions)
    return Frames(**(others | known | {"predictions": stored}))  # type: ignore[arg-type]


def _stored(folder: Path, predictions: pd.DataFrame) -> StoredRows:
    """The predictions in one file per cell."""
    files = []
    for key, rows in predictions.groupby(CELL, sort=False):
        files.append({"path": str(folder / f"predictions-{len(files)}.parquet")} | dict(zip(CELL, key, strict=True)))
        rows.drop(columns=CELL).to_parquet(files[-1]["path"], index=False)
    return StoredRows(pd.DataFrame(files))


def verdict(rows: pd.DataFrame, **wanted: str) -> pd.Series:
    """The one row with these values."""
    (found,) = (row for _, row in rows.iterrows() if all(row[key] == value for key, value in wanted.items()))
    return found


def floored(tmp_path: Path) -> Frames:
    """The sparse head's network loses its prediction at once: its random maps have an AUDC of 0.3, not 0.9."""
    return made(tmp_path, score_rows(MEANS | {("soft", "noise"): (0.1, 0.3)}))


def planted(folder: Path) -> Frames:
    """A run of every method in ``MEANS``; the predictions of "soft" are worse than those of its black box."""
    draw, labels = np.random.default_rng(1), np.arange(100) % 2
    plain = np.where(labels == 1, 1.0, -1.0) + draw.normal(0, 0.5, 100)
    logits = {"plain": plain, "soft": plain - 3 * labels * draw.uniform(0, 1, 100), "exact": plain}
    return made(folder, score_rows(MEANS), prediction_rows(logits, labels))
