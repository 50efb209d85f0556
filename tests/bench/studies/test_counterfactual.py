"""Counterfactual faithfulness: closed forms of the scores, and a linear model whose lesions have known effects."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from bench.report.contents import every_table
from bench.report.frames.load import CELL, Frames, load_frames
from bench.report.frames.stored.scores import Scores
from bench.report.studies.counterfactual import (
    SCORES,
    agreement_table,
    counterfactual,
    lesion_scores,
    with_counterfactual,
)
from bench.statistics.lesion_ranking import effect_share, lesion_rank_correlation
from bench.store.folders import RunStore
from bench.store.records import MetricFacts
from bench.studies.counterfactual import Counterfactual
from tests.support.report_store import make_run, run_record
from tests.support.scenes import LESION, PLACES, SIDE, STEP, Planted, Scenes, subject_of

EFFECT = np.array([5.0, 1.0, -2.0, 3.0])
WEIGHTS = (0.3, 0.1, -0.2, 0.25)  # of a pixel of the lesion at each place


def area(order: tuple[int, ...], effect: np.ndarray) -> float:
    """Area under the cumulative effect in an order, by trapezoids, one after the other."""
    total = height = 0.0
    for lesion in order:
        total += (height + height + effect[lesion]) / 2
        height += effect[lesion]
    return total / len(order)


@pytest.mark.parametrize("order", [(0, 3, 1, 2), (2, 1, 3, 0), (1, 0, 2, 3), (3, 2, 0, 1)])
def test_effect_share_is_the_area_between_random_and_ideal(order: tuple[int, ...]) -> None:
    mass = np.empty(4)
    mass[list(order)] = [4.0, 3.0, 2.0, 1.0]
    every = [area(one, EFFECT) for one in permutations(range(4))]
    random, ideal = np.mean(every), max(every)
    assert effect_share(mass, EFFECT) == pytest.approx((area(order, EFFECT) - random) / (ideal - random))
    assert effect_share(mass, EFFECT + 7) == pytest.approx(effect_share(mass, EFFECT))


def test_tied_masses_count_as_the_mean_over_their_orders() -> None:
    mass = np.array([1.0, 2.0, 1.0, 1.0])
    orders = [(1, *rest) for rest in permutations((0, 2, 3))]
    every = [area(one, EFFECT) for one in permutations(range(4))]
    expected = (np.mean([area(one, EFFECT) for one in orders]) - np.mean(every)) / (max(every) - np.mean(every))
    assert effect_share(mass, EFFECT) == pytest.approx(expected)
    assert effect_share(np.zeros(4), EFFECT) == pytest.approx(0)


def test_ends_and_undefined_of_both_scores() -> None:
    for score in SCORES.values():
        assert score(EFFECT + 3, EFFECT) == pytest.approx(1)
        assert score(3 - EFFECT, EFFECT) == pytest.approx(-1)
        assert score(np.zeros(4), EFFECT) == 0
        assert np.isnan(score(np.arange(4.0), np.ones(4)))
        assert np.isnan(score(np.array([1.0, np.nan, 0, 0]), EFFECT))
    mass = np.array([1.0, 1.0, 0.0, 2.0])
    assert lesion_rank_correlation(mass, EFFECT) == pytest.approx(kendalltau(mass, EFFECT).statistic)


def weight() -> Tensor:
    grid = torch.full((SIDE, SIDE), 0.01)
    for (row, column), value in zip(PLACES, WEIGHTS, strict=True):
        grid[row : row + LESION, column : column + LESION] = value
    return grid


def study(planted: Tensor | None, images: int = 8, count: int = 20) -> pd.DataFrame:
    rows = Counterfactual(images).measure(subject_of(weight(), count), "planted", Planted(planted))
    about = {"dataset": "scenes", "backbone": "b", "head": "h", "seed": 0, "explainer": "planted", "family": "post-hoc"}
    return rows.assign(**about)


def means(rows: pd.DataFrame) -> dict[str, float]:
    return lesion_scores(rows, "mass", SCORES).groupby("metric")["value"].mean().to_dict()


def test_effects_and_masses_are_those_of_the_linear_model() -> None:
    rows = study(weight())
    assert rows["image"].unique().tolist() == [f"scene-{index:03d}" for index in (2, 3, 4, 7, 8, 9, 12, 13)]
    places = rows["lesion"].to_numpy()
    expected = 3 * LESION**2 * STEP / 255 * np.array(WEIGHTS)[places]
    np.testing.assert_allclose(rows["effect"], expected, rtol=1e-4)
    np.testing.assert_allclose(rows["mass"], LESION**2 * np.clip(np.array(WEIGHTS)[places], 0, None), atol=1e-5)
    assert set(rows["pixels"]) == {LESION**2}


def test_planted_maps_score_one_and_minus_one() -> None:
    perfect = dict.fromkeys(SCORES, pytest.approx(1))
    assert means(study(weight() + 0.3)) == perfect
    assert means(study(weight())) == perfect  # one lesion at most speaks against the class
    assert means(study(0.4 - weight())) == dict.fromkeys(SCORES, pytest.approx(-1))
    assert means(study(torch.zeros(4, 4))) == dict.fromkeys(SCORES, 0)


def test_random_maps_score_nothing_where_lesions_are_alike() -> None:
    found = means(study(None, images=1000, count=1000))
    assert all(abs(value) < 0.08 for value in found.values())  # 600 images, deviation of a mean below 0.04


def test_twins_are_rendered_once_for_all_explainers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    twin = Scenes.counterfactual

    def counted(self: Scenes, index: int, lesion: int | None = None) -> Tensor:
        calls.append(index)
        return twin(self, index, lesion)

    monkeypatch.setattr(Scenes, "counterfactual", counted)
    subject, study = subject_of(weight(), 20), Counterfactual(2)
    first = study.measure(subject, "a", Planted(weight()))
    second = study.measure(subject, "b", Planted(1 - weight()))
    assert calls == [2, 2, 3, 3, 3]
    np.testing.assert_array_equal(first["effect"], second["effect"])
    assert not np.array_equal(first["mass"], second["mass"])


def scores(truth: list[float], audc: list[float], tmp_path: Path) -> Frames:
    """A share and an AUDC of each method, the same on six images, and a control that agrees with neither."""
    parts = []
    for name, values in {"counterfactual_share": [*truth, 9.0], "audc": [*audc, 9.0]}.items():
        for method, value in enumerate(values):
            about = {"explainer": f"m{method}", "family": "control" if method == len(truth) else "post-hoc"}
            images = [f"i{image}" for image in range(6)]
            parts.append(pd.DataFrame({"image": images, "group": images, "metric": name, "value": value} | about))
    rows = pd.concat(parts).assign(dataset="scenes", backbone="b", head="h", variant="", step=-1)
    record = run_record(metrics=[MetricFacts(name="audc", family="faithfulness", higher_is_better=False)])
    lesions = pd.DataFrame({"dataset": ["scenes"], "image": ["i0"], "lesion": [0]})
    nothing = pd.DataFrame()
    about = {"label": 1, "predicted": 1, "target": 1, "diseased": True, "seed": 0}
    own, source = Scores.of(nothing), Scores.of(rows.assign(**about))
    return Frames(RunStore(tmp_path), record, nothing, source, own, *[nothing] * 3, {"counterfactual": lesions})


@pytest.mark.parametrize(
    ("audc", "expected"),
    [([4.0, 3.0, 2.0, 1.0], 1.0), ([1.0, 2.0, 3.0, 4.0], -1.0), ([4.0, 3.0, 1.0, 2.0], 4 / 6)],
)
def test_agreement_of_a_metric_is_tau_over_methods_from_the_better_end(
    audc: list[float], expected: float, tmp_path: Path
) -> None:
    table = agreement_table(scores([0.1, 0.2, 0.3, 0.4], audc, tmp_path))
    (row,) = table.rows
    assert row["score"] == "counterfactual_share"
    assert (row["audc"].mean, row["audc"].low, row["audc"].n) == pytest.approx((expected, expected, 4))
    assert agreement_table(scores([0.1, 0.2, 0.3], [3.0, 2.0, 1.0], tmp_path)).rows == []


def test_scores_lead_the_faithfulness_table_and_old_runs_say_what_is_missing(tmp_path: Path) -> None:
    store = make_run(tmp_path / "run", datasets=("first",), explainers=("evidence", "post_a", "noise"))
    frames = load_frames(store.folder)
    rows = frames.rows().astype({"metric": str, "variant": str})
    rows.loc[rows["metric"] == "gini", ["metric", "variant"]] = "audc", "zero"
    frames = replace(frames, source=Scores.of(rows))
    old = every_table(frames)["faithfulness"]
    assert any("Re-run the same command with --studies counterfactual" in note for note in old.notes)
    about = frames.rows().drop_duplicates(["image", *CELL, "explainer"]).drop(columns=["metric", "variant", "value"])
    mass = {"evidence": (2.0, 1.0), "post_a": (1.0, 2.0), "noise": (1.0, 1.0)}
    lesions = [
        about.assign(lesion=number, pixels=4 + number, mass=[mass[name][number] for name in about["explainer"]])
        .assign(effect=(3.0, 1.0)[number])
        for number in (0, 1)
    ]  # fmt: skip
    studied = replace(frames, studies={"counterfactual": pd.concat(lesions)})
    tables = every_table(with_counterfactual(studied))
    faithfulness = tables["faithfulness"]
    assert [column.name for column in faithfulness.columns[:3]] == [*SCORES, "audc@zero"]
    found = {row["explainer"]: row["counterfactual_tau"].mean for row in faithfulness.rows}
    assert found == {"evidence": 1, "post_a": -1, "noise": 0}
    assert {row["share_by_area"].mean for row in tables["counterfactual"].rows} == {-1.0}
    assert with_counterfactual(frames) is frames


def test_a_method_without_scores_on_one_data_set_is_drawn_on_the_other(tmp_path: Path) -> None:
    frames = load_frames(make_run(tmp_path / "run", ("first", "second"), explainers=("evidence", "post_a")).folder)
    first, second = "first", "second"
    rows = frames.rows()[frames.rows()["metric"] == "gini"].assign(metric="counterfactual_share", variant="")
    rows = rows[(rows["dataset"] == first) | (rows["explainer"] == "evidence")]
    (drawing,) = counterfactual(replace(frames, source=Scores.of(rows)))
    axes = {axis.get_title().split(" ")[0]: axis for axis in drawing.figure.axes}
    drawn = {name: sum(np.isfinite(line.get_xdata()).all() for line in axis.lines) for name, axis in axes.items()}
    assert drawn[first] > drawn[second] > 1
