"""Methods that may be the best: the truly best one must remain, and clearly worse ones must leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.answer.best import best_first, not_shown_worse
from bench.statistics.bootstrap.names import Names
from bench.statistics.bootstrap.paired import Method, Paired
from bench.store.records import MetricFacts
from tests.support.decided import MEANS, METRICS, made, score_rows

HIGHER = MetricFacts(name="score", family="localisation", higher_is_better=True)
LOWER = HIGHER.changed(higher_is_better=False)


def paired(values: np.ndarray, groups: list[str] | None = None) -> tuple[Paired, list[Method]]:
    """One seed, images (N,), methods (C,) on one network."""
    names = pd.Index([f"i{index:02}" for index in range(len(values))])
    methods = [("plain", f"m{index}") for index in range(values.shape[1])]
    columns = dict(zip(methods, values.T[:, None], strict=True))
    return Paired(columns, names, Names.of(np.array(groups or list(names), dtype=object)), (0,)), methods


def test_order_follows_the_direction_of_the_metric(tmp_path: Path) -> None:
    frames = made(tmp_path, score_rows(MEANS))
    scores, methods = paired(np.tile([0.1, 0.5, 0.3], (10, 1)))
    assert [name for _, name in best_first(frames, HIGHER, scores, methods)] == ["m1", "m2", "m0"]
    assert [name for _, name in best_first(frames, LOWER, scores, methods)] == ["m0", "m2", "m1"]


def test_method_without_a_score_is_not_ranked(tmp_path: Path) -> None:
    values = np.tile([0.1, 0.5, 0.3], (10, 1))
    values[:, 1] = np.nan
    scores, methods = paired(values)
    assert ("plain", "m1") not in best_first(made(tmp_path, score_rows(MEANS)), HIGHER, scores, methods)


def test_relevantly_worse_methods_leave_and_close_ones_stay(tmp_path: Path) -> None:
    """m1 is 0.3 worse on every image; m2 is 0.005 worse, less than the margin of 0.01; m3 differs by noise alone."""
    frames, draw = made(tmp_path, score_rows(MEANS)), np.random.default_rng(0)
    base = draw.normal(0.6, 0.1, 40)
    noise = draw.normal(0, 0.001, (3, 40))
    columns = [base, base - 0.3 + noise[0], base - 0.005 + noise[1], base - 0.02 + draw.normal(0, 0.2, 40)]
    scores, methods = paired(np.stack(columns, axis=1))
    ordered = best_first(frames, HIGHER, scores, methods)
    kept = not_shown_worse(frames, HIGHER, scores, ordered)
    assert kept[0] == ordered[0]
    assert ("plain", "m1") not in kept
    assert {("plain", "m2"), ("plain", "m3")} <= set(kept)


def test_one_group_shows_nothing(tmp_path: Path) -> None:
    scores, methods = paired(np.tile([0.9, 0.1], (30, 1)), ["one patient"] * 30)
    frames = made(tmp_path, score_rows(MEANS))
    assert len(not_shown_worse(frames, HIGHER, scores, best_first(frames, HIGHER, scores, methods))) == 2


def test_networks_with_another_floor_are_levelled(tmp_path: Path) -> None:
    """AUDC 0.4 is better than 0.5, but not on a network on which random maps reach 0.3."""
    means = {("plain", "post_a"): (0.3, 0.5), ("soft", "own"): (0.6, 0.4)}
    floors = {("plain", "noise"): (0.1, 0.9), ("soft", "noise"): (0.1, 0.3)}
    frames = made(tmp_path, score_rows(means | floors))
    audc = METRICS[1]
    rows = frames.rows([audc.name])
    wide = rows.pivot(index="image", columns=["head", "explainer"], values="value")
    columns = {(str(head), str(name)): wide[head, name].to_numpy()[None] for head, name in wide.columns}
    scores = Paired(columns, wide.index, Names.of(wide.index.to_numpy(dtype=object)), (0,))
    assert best_first(frames, audc, scores, [("plain", "post_a"), ("soft", "own")])[0] == ("plain", "post_a")


@pytest.mark.slow
def test_best_method_remains_in_95_of_100_studies(tmp_path: Path) -> None:
    """Five methods of nearly equal quality (the hardest case) and skewed scores of 25 images."""
    frames, draw = made(tmp_path, score_rows(MEANS)), np.random.default_rng(1)
    truth, remains, studies = np.array([0.52, 0.5, 0.5, 0.48, 0.3]), 0, 300
    for _ in range(studies):
        difficulty = draw.gamma(1.0, 0.1, (25, 1))
        scores, methods = paired(truth - difficulty * draw.uniform(0.2, 1.8, (25, 5)))
        remains += methods[0] in not_shown_worse(frames, HIGHER, scores, best_first(frames, HIGHER, scores, methods))
    assert remains / studies >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / studies)
