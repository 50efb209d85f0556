"""Ranks over data sets: the published example, closed forms, and simulated runs of which the order is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.comparisons.critical_difference import (
    critical_difference_diagrams,
    critical_difference_frame,
    critical_difference_table,
    missing_critical_difference,
)
from bench.report.frames.load import Frames
from bench.report.frames.stored.scores import Scores
from bench.statistics.friedman import alike, critical_difference, friedman
from tests.support.decided import MEANS, made, score_rows

#: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets: Demšar 2006, table 6.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_ranks_and_critical_difference_of_the_published_example() -> None:
    found = friedman(DEMSAR)
    np.testing.assert_allclose(found.mean_ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.p < 0.05  # the paper: χ² = 9.28 with 3 degrees of freedom, or 0.0257, before its correction for ties


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_the_paper(methods: int, quantile: float) -> None:
    """Demšar 2006, table 5 (a)."""
    found = critical_difference(methods, 20) / np.sqrt(methods * (methods + 1) / 120)
    assert found == pytest.approx(quantile, abs=1e-3)


def test_groups_that_are_alike_by_hand() -> None:
    ranks = np.array([4.0, 1.0, 2.1, 1.5])
    assert alike(ranks, 1.2) == [(1.0, 2.1)]
    assert alike(ranks, 2.0) == [(1.0, 2.1), (2.1, 4.0)]
    assert alike(ranks, np.inf) == [(1.0, 4.0)]
    assert alike(ranks, 0.1) == []
    assert np.isnan(friedman(np.ones((5, 3))).p)


def several(folder: Path, count: int) -> Frames:
    """The same scores on data sets that differ in difficulty and a little noise."""
    rng = np.random.default_rng(0)
    parts = []
    for place in range(count):
        means = {method: tuple(np.array(of) + rng.normal(0, 0.02, 2)) for method, of in MEANS.items()}
        parts.append(score_rows(means).assign(dataset=f"x{place}"))
    frames = made(folder, pd.concat(parts, ignore_index=True))
    cells = pd.concat([frames.cells.assign(dataset=f"x{place}") for place in range(count)], ignore_index=True)
    return replace(frames, cells=cells)


def test_run_of_eight_data_sets(tmp_path: Path) -> None:
    frames = several(tmp_path, 8)
    ranks = critical_difference_frame(frames)
    precision = ranks[ranks["metric"] == "precision"]
    assert precision["method"].tolist() == ["soft", "post_b", "exact", "post_a"]
    assert precision["own"].tolist() == [True, False, True, False]
    assert precision["mean_rank"].iloc[0] == 1
    assert precision["p"].iloc[0] < 0.05
    assert (ranks["n"] == 8).all()
    audc = ranks[ranks["metric"] == "audc@zero"]
    assert set(audc["method"].iloc[:2]) == {"soft", "post_b"}  # lower is better
    mixed = replace(frames, source=Scores.of(frames.rows().sample(frac=1, random_state=1)))
    pd.testing.assert_frame_equal(
        critical_difference_frame(mixed).sort_values(["metric", "method"], ignore_index=True),
        ranks.sort_values(["metric", "method"], ignore_index=True),
    )
    assert len(critical_difference_table(ranks).rows) == len(ranks)
    (drawing,) = critical_difference_diagrams(frames)
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "soft (1.00)" in texts
    assert list(missing_critical_difference(frames)) == []


def test_a_method_without_a_score_somewhere_is_left_out_and_few_blocks_are_no_table(tmp_path: Path) -> None:
    frames = several(tmp_path, 6)
    gone = (frames.rows()["explainer"] == "post_a") & (frames.rows()["dataset"] == "x3")
    ranks = critical_difference_frame(replace(frames, source=Scores.of(frames.rows()[~gone])))
    assert set(ranks["method"]) == {"soft", "exact", "post_b"}
    few = several(tmp_path, 4)
    none = critical_difference_frame(few)
    assert len(none) == 0
    (line,) = missing_critical_difference(few)
    assert "this run has 4" in line.message(few)
    assert list(critical_difference_diagrams(few)) == []
