"""Opponents: maps that coincide, controls, the reference, primary comparisons, margins, and the choice of the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.comparisons.choices import against_best, chosen
from bench.report.comparisons.opponents import coinciding
from bench.report.comparisons.verdict_lines import lines
from bench.report.comparisons.verdict_sentences import reason
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.frames.load import Frames
from bench.report.frames.stored.scores import Scores
from tests.support.decided import MEANS, RECORD, made, score_rows, verdict

CONFIG = {"report": {"reference": "post_a"}}


def test_maps_with_the_same_scores_are_entered_once_under_the_reference(tmp_path: Path) -> None:
    rows = score_rows(MEANS)
    same = rows[(rows["head"] == "plain") & (rows["explainer"] == "post_b")].assign(explainer="post_c")
    facts = RECORD.explainers | {"post_c": RECORD.explainers["post_b"]}
    scores = pd.concat([rows, same.assign(value=same["value"] + 1e-8)], ignore_index=True)
    found = verdict_frame(made(tmp_path, scores, explainers=facts))
    assert set(found["against"]) == {"noise", "post_a", "post_b"}
    assert (
        "post_b (same scores: post_c)"
        in verdict(found, method="soft", against="post_b", metric="precision")["sentence"]
    )
    named = made(tmp_path, scores, explainers=facts, config={"report": {"reference": "post_c"}})
    assert coinciding(named)["x", "net"] == {("plain", "post_c"): [("plain", "post_b")], ("plain", "post_a"): []}
    one_apart = scores.copy()
    one_apart.loc[scores.index[-1], "value"] += 1e-3
    assert set(verdict_frame(made(tmp_path, one_apart, explainers=facts))["against"]) >= {"post_b", "post_c"}


def test_questions_have_families_of_their_own_and_one_primary_comparison(tmp_path: Path) -> None:
    found = verdict_frame(made(tmp_path, score_rows(MEANS), config=CONFIG))
    asked = found.groupby("question")["against"].unique().map(list).to_dict()
    assert asked == {"controls": ["noise"], "reference": ["post_a"], "post-hoc": ["post_b"]}
    first = found[found["primary"]]
    assert set(first["method"]) == {"soft"}  # the first trained head
    assert first.groupby(["family", "question"]).size().tolist() == [1, 1, 1, 1]
    assert (first["p_adjusted"] == first["p"]).all()
    assert set(found["comparisons"]) == {1, 2}


def test_primary_area_is_named_without_its_estimand(tmp_path: Path) -> None:
    """The config says audc@black; comparisons read its images that both classifiers get right."""
    areas = [RECORD.metrics[1].changed(of_curve="relative", variant=fill) for fill in ("zero", "black")]
    rows = score_rows(MEANS)
    rows = pd.concat([rows, rows[rows["metric"] == "audc"].assign(variant="black")], ignore_index=True)
    config = {"report": CONFIG["report"] | {"primary": {"faithfulness": "audc@black"}}}
    found = verdict_frame(made(tmp_path, rows, config=config, metrics=[RECORD.metrics[0], *areas]))
    first = found[found["primary"]].groupby("family")["metric"].unique().map(list).to_dict()
    assert first == {"localisation": ["precision"], "faithfulness": ["audc_right@black"]}


def test_margin_is_a_share_of_the_way_from_floor_to_ceiling(planted: Frames, tmp_path: Path) -> None:
    """The mask is 0.8 above noise in precision and 0.6 below it in AUDC; without it, the margin is 0.01."""
    margins = verdict_frame(planted).groupby("metric")["margin"].first()
    assert margins["precision"] == pytest.approx(0.02 * 0.8, rel=0.02)
    assert margins["audc@zero"] == pytest.approx(0.02 * 0.6, rel=0.02)
    without = {key: value for key, value in MEANS.items() if key[1] != "mask"}
    assert set(verdict_frame(made(tmp_path, score_rows(without)))["margin"]) == {0.01}
    first = next(lines(verdict_frame(planted)))
    assert first.startswith(
        "x: smaller differences do not matter: precision 0.016 (0.02 of the way from noise to mask)"
    )


def test_the_best_is_chosen_by_the_mean_of_the_difference_not_by_that_of_images(planted: Frames) -> None:
    """Half of the images form one group: there post_a is far better, so images and groups choose differently."""
    scores = planted.rows().copy()
    number = scores["image"].str.slice(1).astype(int)
    scores["group"] = np.where(number < 20, "many", scores["image"])
    better = (number < 20) & (scores["explainer"] == "post_a") & (scores["head"] == "plain")
    scores.loc[better & (scores["metric"] == "precision"), "value"] += 0.5
    frames = replace(planted, source=Scores.of(scores))
    images = (
        scores[(scores["head"] == "plain") & (scores["metric"] == "precision")].groupby("explainer")["value"].mean()
    )
    assert images["post_a"] > images["post_b"]
    best = verdict(against_best(verdict_frame(frames), ["precision"]), method="soft")
    assert best["against"] == "post_b"


def test_interval_from_the_best_covers_the_choice(planted: Frames) -> None:
    rows = verdict_frame(planted)
    for best in chosen(planted, rows).to_dict("records"):
        alone = verdict(rows, method=best["method"], against=best["against"], metric=best["metric"])
        assert best["best_of"] == 2
        assert best["high"] - best["low"] > alone["high_alone"] - alone["low_alone"]
        assert best["low"] < best["difference"] < best["high"]


def test_no_evidence_next_to_an_interval_without_zero_is_explained(planted: Frames) -> None:
    row = verdict_frame(planted).iloc[0].to_dict() | {"verdict": "no evidence of a relevant difference", "gated": False}
    shown = {"low": 0.1, "high": 0.3, "difference": 0.2, "margin": 0.01, "p_adjusted": 0.2}
    assert reason(row | shown) == ["the interval excludes 0, but the test does not"]
    assert "primary comparison" in reason(row | shown | {"gated": True})[0]
    assert "margin of 0.500" in reason(row | shown | {"p_adjusted": 0.01, "margin": 0.5})[0]
    assert reason(row | shown | {"low": -0.1}) == []
    assert "interval includes 0" in reason(row | shown | {"low": -0.1, "p_adjusted": 0.01})[0]
