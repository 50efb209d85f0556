"""Verdicts: who is better, in numbers and in a sentence, on a hand-made run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.report.comparisons.choices import against_best, leading, printed, spoken
from bench.report.comparisons.subgroups import strata_frame
from bench.report.comparisons.verdict_figures import draw_wins, wins
from bench.report.comparisons.verdict_sentences import disagreement, tally, too_few
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.figures.style import paper_style
from bench.report.frames.load import Frames
from bench.report.frames.paired import competing, label
from bench.report.frames.stored.scores import Scores
from bench.statistics.comparison import NO_EVIDENCE, SAME
from tests.support.decided import MEANS, METRICS, NOISE, RECORD, N, floored, made, score_rows, verdict


def test_verdicts_find_what_was_planted(planted: Frames) -> None:
    rows = verdict_frame(planted)
    assert len(rows) == 2 * 3 * 2  # two heads, two post-hoc methods and one control, two metrics with a direction
    assert verdict(rows, method="soft", against="post_a", metric="precision")["verdict"] == "better"
    assert verdict(rows, method="soft", against="post_a", metric="audc@zero")["verdict"] == "better"  # lower
    assert verdict(rows, method="exact", against="post_b", metric="precision")["verdict"] == "worse"
    same = verdict(rows, method="exact", against="post_a", metric="audc@zero")
    assert same["verdict"] in (NO_EVIDENCE, SAME)


def test_difference_and_test_are_those_of_the_pairs(planted: Frames) -> None:
    row = verdict(verdict_frame(planted), method="soft", against="post_b", metric="precision")
    differences = 0.2 + NOISE[2] - NOISE[1]
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert row["high"] - row["low"] < 0.02  # the difficulty of the images, 10 times larger, cancels
    assert (row["effect"], row["n"], row["groups"], row["seeds"]) == (1, N, N, 1)


def test_sentence(planted: Frames) -> None:
    row = verdict(verdict_frame(planted), method="soft", against="post_b", metric="precision")
    start, _, end = row["sentence"].partition(" [")
    assert start == f"soft locates better than post_b on x (precision {row['difference']:+.3f}"
    assert end.endswith("], n = 40, p < 0.001)")


def test_curves_of_two_networks_are_compared_by_what_random_maps_score_on_each(tmp_path: Path) -> None:
    """Raw 0.4 is better than 0.5; less the floors +0.1 is worse than -0.4, image by image."""
    frames = floored(tmp_path)
    row = verdict(verdict_frame(frames), method="soft", against="post_a", metric="audc@zero")
    scores = frames.rows()[frames.rows()["metric"] == "audc"].pivot_table(
        index="image", columns=["head", "explainer"], values="value"
    )
    ours, theirs = (
        scores[head, explainer] - scores[head, "noise"] for head, explainer in (("soft", "own"), ("plain", "post_a"))
    )
    assert row["difference"] == pytest.approx((ours - theirs).mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(ours - theirs).pvalue)
    assert (row["verdict"], row["floor"], row["effect"]) == ("worse", "subtracted", -1)
    assert "against random maps on the same network" in row["sentence"]
    raw = verdict(verdict_frame(frames), method="exact", against="post_b", metric="audc@zero")
    assert (raw["difference"], raw["floor"]) == (pytest.approx(0.1, abs=0.01), "missing")
    assert "raw: no random maps" in raw["sentence"]
    assert verdict(verdict_frame(frames), method="soft", against="post_a", metric="precision")["floor"] == "not needed"


def test_intervals_stay_within_what_is_possible(tmp_path: Path) -> None:
    metrics = [METRICS[0].changed(value_range=(0, 1)), *METRICS[1:]]
    few = score_rows(MEANS)
    few = few[few["image"].isin([f"i{index}" for index in range(6)])]
    ours = few["explainer"] == "own"
    few.loc[ours, "value"] = np.where(few.loc[ours, "image"].isin(["i0"]), 0.0, 1.0)
    rows = strata_frame(made(tmp_path, few, metrics=metrics))
    rows = rows[rows["metric"] == "precision"]
    assert (rows["ours_high"] == 1).any()
    assert rows[["ours_low", "ours_high"]].stack().between(0, 1).all()


def test_failing_metrics_are_marked_and_not_spoken_of_and_disagreement_is_named(planted: Frames) -> None:
    """Precision fails on x: the spare metric, which says the opposite, is spoken of instead."""
    spare = planted.rows()[planted.rows()["metric"] == "precision"].assign(metric="spare")
    spare["value"] = -spare["value"]
    metrics = [METRICS[0], METRICS[0].changed(name="spare")]
    given = replace(
        planted,
        source=Scores.of(pd.concat([planted.rows(), spare], ignore_index=True)),
        record=planted.record.changed(metrics=metrics),
    )
    row = verdict(spoken(verdict_frame(given)), method="soft")
    (line,) = disagreement(verdict_frame(given), row.to_dict())
    assert line.startswith("x: the metrics of localisation disagree on soft and post_b: better by precision, worse by")
    names = [f"i{index}" for index in range(9)]
    worth = [
        pd.DataFrame({"map": one, "image": names, "group": names, "value": at}) for one, at in (("a", 0), ("b", 1))
    ]
    tried = pd.concat(worth).assign(dataset="x", metric="precision", variant="")
    given = replace(given, studies={"soundness": tried})
    rows = verdict_frame(given)
    assert set(rows.loc[rows["metric"] == "precision", "sound"]) == {"fails"}
    assert set(rows.loc[rows["metric"] == "spare", "sound"]) == {"not tried"}
    assert set(spoken(rows)["metric"]) == {"spare"}
    assert "precision† +" in verdict(rows, method="soft", against="post_b", metric="precision")["sentence"]
    assert "by metrics that fail†" in tally(rows)
    assert disagreement(rows, spoken(rows).iloc[0].to_dict()) == []


def test_order_of_rows_does_not_matter(planted: Frames) -> None:
    mixed = replace(planted, source=Scores.of(planted.rows().sample(frac=1, random_state=3)))
    pd.testing.assert_frame_equal(verdict_frame(planted), verdict_frame(mixed))


def test_only_seeds_that_both_have_are_paired(planted: Frames, tmp_path: Path) -> None:
    scores = pd.concat([score_rows(MEANS), score_rows({("soft", "own"): (9, 9)}).assign(seed=1)])
    pd.testing.assert_frame_equal(verdict_frame(made(tmp_path, scores)), verdict_frame(planted))


def test_undefined_values_are_counted(planted: Frames) -> None:
    scores = planted.rows().copy()
    gone = (scores["head"] == "soft") & (scores["explainer"] == "own") & (scores["image"] == "i3")
    scores.loc[gone, "value"] = np.nan
    row = verdict(
        verdict_frame(replace(planted, source=Scores.of(scores))), method="soft", against="post_a", metric="precision"
    )
    assert (row["n"], row["undefined"]) == (N - 1, 1)


def test_best_opponent_is_by_direction(planted: Frames) -> None:
    best = against_best(verdict_frame(planted), ["precision", "audc@zero"])
    assert set(best["against"]) == {"post_b"}
    assert len(best) == 4


def test_tally_and_wins(planted: Frames) -> None:
    rows = verdict_frame(planted)
    soft = rows[rows["method"] == "soft"]
    said = tally(soft[soft["question"] == "post-hoc"])
    assert said.startswith("against 2 other distinct post-hoc maps: localisation (metrics: 1): 2 better; faithfulness")
    assert tally(soft[soft["question"] == "controls"]).startswith("against 1 controls: localisation (metrics: 1): 1 b")
    counted = verdict(wins(rows[rows["metric"] == "precision"]), method="soft", against="post_b")
    assert (counted["better"], counted["worse"], counted["all"]) == (1, 0, 1)


def test_consistency_is_compared_among_signed_maps_only(planted: Frames) -> None:
    """A map without a sign is positive by construction, which is no agreement with the label."""
    explainers = planted.record.explainers
    unsigned = next(name for name in explainers if name in set(planted.rows()["explainer"]))
    facts = {name: one.changed(signed=name != unsigned) for name, one in explainers.items()}
    changed = replace(planted, record=planted.record.changed(explainers=facts))
    families = ("localisation", "consistency")
    every, signed = (set(competing(changed, METRICS[0].changed(family=name)).methods["explainer"]) for name in families)
    assert unsigned in every
    assert signed == every - {unsigned}


def test_a_head_is_named_alone_unless_it_has_two_kinds_of_own_maps(planted: Frames, tmp_path: Path) -> None:
    """A second inherent explainer of the run that is on another head does not lengthen the names."""
    explainers = RECORD.explainers | {"other": RECORD.explainers["own"]}
    beside = score_rows({("exact", "own"): (0.35, 0.5)}).assign(explainer="other")
    two = made(tmp_path, pd.concat([planted.rows(), beside], ignore_index=True), explainers=explainers)
    assert label(two, ("soft", "own")) == "soft"
    assert {label(two, ("exact", one)) for one in ("own", "other")} == {"own of exact", "other of exact"}
    assert label(two, ("plain", "post_a")) == "post_a"
    assert label(two, ("soft", "post_a")) == "post_a on soft"


def test_the_first_metric_with_enough_images_is_spoken_of(planted: Frames) -> None:
    """Precision loses all but 4 images, another metric of its family comes after it."""
    scores = planted.rows()
    few = scores[(scores["metric"] != "precision") | scores["image"].isin([f"i{index}" for index in range(4)])]
    spare = scores[scores["metric"] == "precision"].assign(metric="spare")
    metrics = [METRICS[0], METRICS[0].changed(name="spare"), METRICS[1]]
    record = planted.record.changed(metrics=metrics)
    rows = verdict_frame(replace(planted, source=Scores.of(pd.concat([few, spare], ignore_index=True)), record=record))
    assert spoken(rows)["metric"].tolist() == ["spare", "spare", "audc@zero", "audc@zero"]
    assert set(spoken(rows)["against"]) == {"post_b"}
    (line,) = too_few(rows)
    assert line == "x: 6 comparisons with too few images (4, 7–9 needed), in the table only: precision"
    assert set(printed(rows, rows)["metric"]) == {"spare", "audc@zero"}
    hopeless = rows[rows["metric"] == "precision"]
    assert len(spoken(hopeless)) == 0
    assert len(leading(hopeless)) == 0
    assert len(printed(hopeless, hopeless)) == len(hopeless)
    assert list(draw_wins(hopeless)) == []
    with paper_style():
        (drawing,) = draw_wins(rows)
    titles = [axis.get_title(loc="left") for axis in drawing.figure.axes]
    assert titles == ["localisation: spare (1 data set)", "faithfulness: audc@zero (1 data set)"]
    assert too_few(rows[rows["metric"] == "spare"]) == []


def test_a_metric_that_no_image_has_is_not_compared(planted: Frames) -> None:
    scores = planted.rows().copy()
    scores.loc[scores["metric"] == "precision", "value"] = np.nan
    assert set(verdict_frame(replace(planted, source=Scores.of(scores)))["metric"]) == {"audc@zero"}
    assert len(verdict_frame(replace(planted, source=Scores.of(scores.assign(value=np.nan))))) == 0


def test_sentence_says_that_groups_are_lacking(planted: Frames) -> None:
    scores = planted.rows().assign(group=planted.rows()["image"].str.slice(0, 2))  # i0 to i9 by their first digit
    row = verdict(
        verdict_frame(replace(planted, source=Scores.of(scores))), method="soft", against="post_b", metric="precision"
    )
    assert (row["groups"], row["needed"]) == (10, 8)
    few = scores[scores["group"].isin(["i1", "i2"])]
    row = verdict(
        verdict_frame(replace(planted, source=Scores.of(few))), method="soft", against="post_b", metric="precision"
    )
    assert row["sentence"].startswith("too few groups of images to compare soft with post_b on x (precision")
    assert row["sentence"].endswith("n = 22 in 2 groups, 8 groups needed)")
