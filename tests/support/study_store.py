"""A made-up run with grids: heads and data sets under several settings, every score that the studies read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.files import replacing
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey, DatasetFacts
from bench.store.scores import write_scores
from tests.support.report_store import DATASET, EXPLAINERS, make_run, rows

IMAGES = 24  # diseased ones; as many healthy ones
METRICS = [
    ("activation_precision", "localisation", True, ""),
    ("activation_sensitivity", "localisation", True, ""),
    ("topk_precision", "localisation", True, ""),
    ("audc", "faithfulness", False, "zero"),
    ("audc", "faithfulness", False, "blur"),
    ("positive_ratio", "consistency", True, ""),
    ("negative_ratio", "consistency", True, ""),
    ("evidence_gap", "exactness", False, ""),
    ("entropy", "complexity", None, ""),
]
HEALTHY = "negative_ratio"


def head(base: str, paper: str = "arXiv:1", **parameters: Any) -> dict[str, Any]:
    """What the record says about a setting of an inherent head."""
    return {"family": "inherent", "paper": paper, "base": base, "parameters": parameters}


PLAIN = {"family": "black box", "paper": "", "base": "plain", "parameters": {}}


def make_grid(
    folder: Path,
    heads: dict[str, dict[str, Any]],
    datasets: dict[str, dict[str, Any]] | None = None,
    explainers: tuple[str, ...] = tuple(EXPLAINERS),
    **options: Any,
) -> RunStore:
    """Write a run of every combination; facts of data sets may hold "grid", the evidence grid of its cells."""
    datasets = datasets or {"first": {}}
    store = make_run(folder, tuple(datasets), tuple(heads), explainers, **options)
    record = store.record
    keys = ("name", "family", "higher_is_better", "variant")
    record = record.changed(
        heads={name: {key: facts[key] for key in ("family", "paper", "base")} for name, facts in heads.items()},
        datasets={name: _facts_of(name, facts) for name, facts in datasets.items()},
        metrics=[dict(zip(keys, metric, strict=True)) for metric in METRICS],
    )
    store.write_record(record)
    for key in record.cells:
        cell, about = store.cell(key), heads[key.head]
        grid = datasets[key.dataset].get("grid")
        cell.note(base=about["base"], parameters=about["parameters"], evidence_grid=grid)
        _write(cell, key, record.datasets[key.dataset])
    return store


def _facts_of(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    known = DATASET | {"base": name, "size": 64, "side": {"explain": 64}} | facts
    return {key: value for key, value in known.items() if key != "grid"}


def _write(cell: CellStore, key: CellKey, dataset: DatasetFacts) -> None:
    """Predictions and scores, drawn from the names so that every cell differs."""
    generator = np.random.default_rng([sum(map(ord, str(key))), key.seed])
    classes = len(dataset.classes)
    names = [f"i{index}" for index in range(2 * IMAGES)]
    labels = np.where(np.arange(2 * IMAGES) < IMAGES, 1 + np.arange(2 * IMAGES) % (classes - 1), 0)
    logits = generator.normal(size=(2 * IMAGES, classes)) + 2 * np.eye(classes)[labels]
    frame = pd.DataFrame({"image": names, "group": names, "label": labels})
    for index in range(classes):
        frame[f"logit_{index}"] = logits[:, index]
    frame.to_parquet(cell.predictions, index=False)
    for name in EXPLAINERS:
        if cell.scores_file(name).exists():
            scores = _scores(generator, labels[:IMAGES])
            write_scores(replacing(cell.scores_file(name)), [scores], fingerprint="x")


def _scores(generator: np.random.Generator, labels: np.ndarray) -> pd.DataFrame:
    middle = generator.uniform(0.2, 0.7)
    parts = []
    for metric, _, _, variant in METRICS:
        values = np.clip(generator.normal(middle, 0.2, size=(IMAGES, 1)), 0.01, 1)
        part = rows(metric, values * (1e-6 if metric == "evidence_gap" else 1), variant, stepped=False)
        if metric == HEALTHY:
            part = part.assign(image="h" + part["image"], group="h" + part["group"], label=0, diseased=False)
        else:
            part = part.assign(label=labels, target=labels)
        parts.append(part)
    hits = (generator.uniform(size=(IMAGES, 12)) < middle).astype(float)
    hits[0], hits[1, 4:] = np.nan, np.nan
    return pd.concat([*parts, rows("topk_hits", hits)], ignore_index=True)


def set_scores(cell: CellStore, explainer: str, metric: str, values: np.ndarray | float) -> None:
    """Overwrite one metric of an explainer."""
    scores = pd.read_parquet(cell.scores_file(explainer))
    scores.loc[scores["metric"] == metric, "value"] = values
    write_scores(replacing(cell.scores_file(explainer)), [scores], fingerprint="x")


def set_validation(cell: CellStore, *aucs: float) -> None:
    """Overwrite the validation AUC after each epoch, and with it the epoch that is kept."""
    history = {"epoch": range(len(aucs)), "val_auc": aucs, "val_loss": [0.5] * len(aucs)}
    pd.DataFrame(history).to_csv(cell.training, index=False)
    cell.note(best_epoch=int(np.argmax(aucs)))


def set_accuracy(cell: CellStore, wrong: int) -> None:
    """Make exactly the first ``wrong`` test images be classified wrongly."""
    frame = pd.read_parquet(cell.predictions)
    logits = 5.0 * np.eye(2)[frame["label"].to_numpy()]
    logits[:wrong] = logits[:wrong, ::-1]
    frame[["logit_0", "logit_1"]] = logits
    frame.to_parquet(cell.predictions, index=False)
