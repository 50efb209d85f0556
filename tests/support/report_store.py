"""A tiny made-up run for the tests of figures and page: real files in the store's layout, no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.files import replacing
from bench.store.cell_facts import LesionReliance, MachineFacts
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey, CellRecord, ExplainerOutcome, RunRecord
from bench.store.scores import write_scores

IMAGES = 5  # the last one is healthy
EXPLAINERS = {
    "evidence": {"family": "inherent", "signed": True, "paper": "arXiv:1"},
    "post_a": {"family": "post-hoc", "signed": True, "paper": "arXiv:2"},
    "post_b": {"family": "post-hoc", "signed": False, "paper": "arXiv:3"},
    "noise": {"family": "control", "signed": False, "paper": ""},
}
HEADS = {
    "plain": {"base": "plain", "family": "black box", "paper": ""},
    "own": {"base": "own", "family": "inherent", "paper": "arXiv:1"},
}
DATASET: dict[str, Any] = {
    "size": 16,
    "classes": ["healthy", "ill"],
    "masks": "pixel",
    "healthy": 0,
    "images": {"train": [4, 4], "val": [2, 2], "test": [2, 3]},
    "side": {"train": 16, "explain": 16},
    "excluded": [],
    "explained_diseased": 4,
    "explained_healthy": 1,
    "brightness_auc": 0.6,
    "prevalence": 0.1,
    "topk_chance": 0.2,
    "licence": "MIT",
}


def make_run(
    folder: Path,
    datasets: tuple[str, ...] = ("first", "folder:/a <b>"),
    heads: tuple[str, ...] = ("plain", "own"),
    explainers: tuple[str, ...] = tuple(EXPLAINERS),
    seeds: tuple[int, ...] = (0,),
    backbones: tuple[str, ...] = ("small",),
    masks: bool = True,
) -> RunStore:
    """Write a run of every combination; inherent explainers only on inherent heads, as which unknown ones count."""
    store = RunStore(folder)
    keys = [CellKey(d, b, h, s) for d in datasets for b in backbones for h in heads for s in seeds]
    store.write_record(_record(keys, datasets, heads, explainers))
    for name in datasets:
        _write_images(store.images_file(name), masks)
    for key in keys:
        _write_cell(store.cell(key), key, explainers, masks)
    return store


PLAN = "this"
MACHINE = MachineFacts(
    device="cpu", gpu="none", cpu="an abacus", processes=1, threads=1, bf16="False", platform="a desk"
)


def run_record(**facts: Any) -> RunRecord:
    """A record of a run; everything that is not given is empty."""
    empty: dict[str, Any] = {"config": {}, "cells": [], "plan": "this", "explained_by": {}, "datasets": {}}
    empty |= {"explainers": {}, "heads": {}, "metrics": [], "packages": {}, "machine": MACHINE, "started": ""}
    return RunRecord.model_validate(empty | facts)


def _record(
    keys: list[CellKey], datasets: tuple[str, ...], heads: tuple[str, ...], explainers: tuple[str, ...]
) -> RunRecord:
    audc = {"name": "audc", "family": "faithfulness", "higher_is_better": False, "images": "diseased"}
    return run_record(
        config={"description": "A made-up run."},
        cells=keys,
        plan=PLAN,
        explained_by={name: list(explainers) for name in heads},
        datasets={name: DATASET | {"base": name} for name in datasets},
        absent={"elsewhere": "not installed"},
        explainers={name: EXPLAINERS[name] for name in explainers},
        heads={name: HEADS.get(name, HEADS["own"] | {"base": name}) for name in heads},
        metrics=[audc | {"variant": variant} for variant in ("zero", "blur")],
        git={"commit": "0123456789abcdef", "dirty": True},
        packages={"torch": "9.9"},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        problems=["something <odd> happened"],
    )


def _write_images(file: Path, masks: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    inside = np.zeros((2, 16, 16), bool)
    inside[0, 4:8, 4:8] = masks
    images = np.arange(2 * 3 * 256).reshape(2, 3, 16, 16) % 256
    np.savez(file, images=images.astype(np.uint8), masks=inside, labels=[1, 0], ids=["i0", "i4"])


def _write_cell(cell: CellStore, key: CellKey, explainers: tuple[str, ...], masks: bool) -> None:
    generator = np.random.default_rng(key.seed)
    (cell.folder / "gallery").mkdir(parents=True)
    labels = np.array([1, 1, 1, 1, 0] * 2)
    names = [*(f"i{index}" for index in range(5)), *(f"other{index}" for index in range(5))]
    margin = generator.normal(size=10) + labels
    frame = pd.DataFrame({"image": names, "group": names, "label": labels, "logit_0": -margin, "logit_1": margin})
    frame.to_parquet(cell.predictions, index=False)
    history = {"epoch": [0, 1, 2], "val_auc": [0.5, 0.8, 0.7], "val_loss": [0.7, 0.5, 0.6]}
    pd.DataFrame(history).to_csv(cell.training, index=False)
    outcomes: dict[str, ExplainerOutcome] = {}
    for name in explainers:
        if (EXPLAINERS[name]["family"] == "inherent") > (HEADS.get(key.head, HEADS["own"])["family"] == "inherent"):
            outcomes[name] = ExplainerOutcome(status="skipped", reason="no evidence")
            continue
        outcomes[name] = ExplainerOutcome(status="ok", fingerprint="x")
        write_scores(replacing(cell.scores_file(name)), [_scores(generator, masks)], fingerprint="x")
        np.savez(cell.gallery_file(name), *generator.normal(size=(2, 4, 4)))
    cell.write_record(
        CellRecord(
            status="ok",
            plan=PLAN,
            base=key.head,
            best_epoch=1,
            weights_from="random initialisation",
            lesion_reliance=LesionReliance(true_positives=9, called_healthy=0.9),
            explainers=outcomes,
        )
    )


def _scores(generator: np.random.Generator, masks: bool) -> pd.DataFrame:
    """Random scores of four diseased images."""
    curves = {("deletion_curve", "blur"): 4, ("deletion_curve", "zero"): 4, ("insertion_curve", "zero"): 4}
    single: dict[tuple[str, str], int] = {("gini", ""): 0}
    if masks:
        curves[("topk_hits", "")] = 3
        single |= {("activation_precision", ""): 0, ("activation_sensitivity", ""): 0}
    parts = [
        rows(metric, generator.uniform(0.1, 1, size=(4, max(steps, 1))).round(2), variant, stepped=steps > 0)
        for (metric, variant), steps in (curves | single).items()
    ]
    cost = rows("seconds_per_map", np.ones((1, 1)), stepped=False).assign(image="", group="", diseased=False)
    return pd.concat([*parts, cost], ignore_index=True)


def rows(metric: str, values: np.ndarray, variant: str = "", stepped: bool = True) -> pd.DataFrame:
    """Values (N,K) as long rows of images i0, i1, …; without steps where there is one value an image."""
    images = [f"i{index}" for index in np.repeat(np.arange(len(values)), values.shape[1])]
    steps = np.tile(np.arange(values.shape[1]), len(values)) if stepped else -1
    about = {"image": images, "group": images, "label": 1, "predicted": 1, "target": 1, "diseased": True}
    return pd.DataFrame(about | {"metric": metric, "variant": variant, "step": steps, "value": values.ravel()})
