"""Scores of classifiers with intervals: of all test images together, in each seed and each bootstrap sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import pandas as pd

from bench.outputs import outputs_of
from bench.report.frames.load import Frames
from bench.report.frames.stored.rows import StoredRows
from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.classification import CLASSIFICATION_SCORES, Integers
from bench.statistics.findings import scores_by_finding
from bench.statistics.intervals import Floats, limits
from bench.store.records import DatasetFacts

#: Lowest and highest possible scores, in the order of ``CLASSIFICATION_SCORES``.
POSSIBLE = np.array([[-1 if name == "kappa" else 0, 1] for name in CLASSIFICATION_SCORES]).T
_RESAMPLES = 500


@dataclass(frozen=True)
class HeadScores:
    """Scores of a classifier.

    Attributes:
        of_seed: seed -> (1+B,1,scores) of ``seed_scores``.
        images: number of test images.
        groups: number of groups of these images.
    """

    of_seed: dict[int, Floats]
    images: int
    groups: int


def head_scores(frames: Frames, dataset: str, backbone: str, head: str) -> HeadScores:
    """Scores the predictions of a classifier, once per run."""
    known, key = _known(frames), (dataset, backbone, head)
    if key not in known:
        stored = frames.predictions.where(dataset=[dataset], backbone=[backbone], head=[head])
        facts = frames.record.datasets[dataset]
        of_seed = {seed: seed_scores(stored.where(seed=[seed]), facts) for seed in stored.seeds}
        known[key] = HeadScores(of_seed, *stored.count())
    return known[key]


@lru_cache(maxsize=2)
def _known(frames: Frames) -> dict[tuple[str, str, str], HeadScores]:
    return {}


def seed_scores(stored: StoredRows, facts: DatasetFacts) -> Floats:
    """Scores the predictions of one head: (1+B,S,scores), of all images, then of B bootstrap samples of groups."""
    return np.stack([_scores(stored.where(seed=[seed]), facts) for seed in stored.seeds], axis=1)


def finding_scores(stored: StoredRows, facts: DatasetFacts) -> Floats:
    """Scores each finding of data with several labels per image: (1+B,S,F,scores), samples as in ``seed_scores``."""
    found = []
    for seed in stored.seeds:
        scores = scores_by_finding(*_inputs(stored.where(seed=[seed]), facts))
        found.append(np.stack(list(scores.values()), axis=2))
    return np.stack(found, axis=1)


def _inputs(stored: StoredRows, facts: DatasetFacts) -> tuple[Floats, Integers, Iterator[Floats], Integers | None]:
    """Returns logits, labels, weights of all images (1,N), then of bootstrap samples in blocks (b,N), and folds."""
    rows = stored.rows()
    if not rows["image"].is_monotonic_increasing:
        rows = rows.sort_values("image")
    logits = rows.filter(like="logit_").dropna(axis=1, how="all").to_numpy(dtype=float)
    weights = chain([np.ones((1, len(rows)))], image_replicates(rows["group"], _RESAMPLES))
    return logits, labels_of(rows, facts), weights, _folds(rows)


def _scores(stored: StoredRows, facts: DatasetFacts) -> Floats:
    (logits, labels, weights, folds), outputs = _inputs(stored, facts), outputs_of(facts)
    about = (facts.healthy, facts.ordered, folds)
    return np.stack(list(outputs.scores(logits, labels, weights, *about).values()), axis=1)


def _folds(rows: pd.DataFrame) -> Integers | None:
    """Returns the fold (N,) of each image; None without cross-validation."""
    folds = rows.get("fold", pd.Series(dtype=float)).dropna()
    return folds.to_numpy(dtype=int) if len(folds) else None


def labels_of(rows: pd.DataFrame, facts: DatasetFacts) -> Integers:
    """Returns the labels of predictions: (N,) classes, or (N,C) with several labels per image."""
    if facts.multilabel:
        columns = [f"label_{index}" for index in range(len(facts.classes))]
        return rows[columns].to_numpy(dtype=int)
    return rows["label"].to_numpy(dtype=int)


def with_limits(samples: Floats, groups: int) -> tuple[Floats, Floats, Floats]:
    """Averages (1+B,S,M) of ``seed_scores``, or differences, over seeds: means with their ``limits``, each (M,)."""
    mean = samples.mean(axis=1)
    return mean[0], *limits(mean[0], mean[1:], np.full(len(mean[0]), groups), samples[0], samples[1:])
