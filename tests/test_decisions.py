"""Verdicts, price, model or map, floor and ceiling, strata: hand-made runs of which the answers are known."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bench.comparison import NO_EVIDENCE, SAME
from bench.data.split import Split
from bench.explained import Explained
from bench.image_facts import explained_logits, lesion_facts, write_if_new
from bench.report.decisions import missing, weigh
from bench.report.floor_ceiling import PREVALENCE, floor_ceiling_table
from bench.report.formats import write_table
from bench.report.frames import Frames
from bench.report.model_or_map import decompose, model_or_map_frame
from bench.report.paired import label, metric_rows
from bench.report.price import price_frame
from bench.report.strata import counts, image_facts, strata_frame, thirds
from bench.report.style import paper_style
from bench.report.verdict_figures import win_matrix, wins
from bench.report.verdicts import against_best, disagreement, leading, printed, spoken, tally, too_few, verdict_frame
from bench.store import RunStore

N = 40
RNG = np.random.default_rng(0)
DIFFICULTY, NOISE = RNG.normal(0, 0.1, size=N), RNG.normal(0, 0.01, size=(20, N))
METRICS = [
    {"name": "precision", "variant": "", "family": "localisation", "higher_is_better": True, "images": "diseased"},
    {
        "name": "audc",
        "variant": "zero",
        "family": "faithfulness",
        "higher_is_better": False,
        "images": "diseased",
        "of_network": True,
    },
    {"name": "gini", "variant": "", "family": "complexity", "higher_is_better": None, "images": "all"},
]
RECORD = {
    "explainers": {
        "own": {"family": "inherent", "signed": True, "paper": ""},
        "post_a": {"family": "post-hoc", "signed": True, "paper": ""},
        "post_b": {"family": "post-hoc", "signed": True, "paper": ""},
        "noise": {"family": "control", "signed": False, "paper": "", "role": "floor"},
        "mask": {"family": "control", "signed": False, "paper": "", "role": "ceiling"},
    },
    "heads": {
        "plain": {"family": "black box", "base": "plain", "paper": "", "converts": ""},
        "soft": {"family": "inherent", "base": "soft", "paper": "", "converts": ""},
        "exact": {"family": "inherent", "base": "exact", "paper": "", "converts": "plain"},
    },
    "datasets": {"x": {"classes": ["fine", "ill"], "healthy": 0, "prevalence": 0.02}},
    "metrics": METRICS,
}
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
                facts = cell | {"metric": metric["name"], "variant": metric["variant"], "step": -1}
                facts["family"] = RECORD["explainers"][explainer]["family"]  # type: ignore[index]
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
            {"dataset": "x", "backbone": "net", "head": head, "seed": 0, "status": "ok", "record": {}}
            for head in RECORD["heads"]
        ]
    )
    nothing = pd.DataFrame()
    predictions = nothing if predictions is None else predictions
    known = {"store": RunStore(folder), "record": RECORD | record, "cells": cells, "scores": scores}
    others = {one.name: nothing for one in fields(Frames)}
    return Frames(**(others | known | {"predictions": predictions}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    labels = np.arange(100) % 2
    plain = np.where(labels == 1, 1.0, -1.0) + RNG.normal(0, 0.5, 100)
    logits = {"plain": plain, "soft": plain - 3 * labels * RNG.uniform(0, 1, 100), "exact": plain}
    return made(tmp_path_factory.mktemp("run"), score_rows(MEANS), prediction_rows(logits, labels))


# --- Verdicts --------------------------------------------------------------------------------------------------------


def verdict(rows: pd.DataFrame, **wanted: str) -> pd.Series:
    """The one row with these values."""
    (found,) = (row for _, row in rows.iterrows() if all(row[key] == value for key, value in wanted.items()))
    return found


def test_verdicts_find_what_was_planted(frames: Frames) -> None:
    rows = verdict_frame(frames)
    assert len(rows) == 2 * 2 * 2  # two heads, two post-hoc methods, two metrics with a direction
    assert verdict(rows, method="soft", against="post_a", metric="precision")["verdict"] == "better"
    assert verdict(rows, method="soft", against="post_a", metric="audc@zero")["verdict"] == "better"  # lower
    assert verdict(rows, method="exact", against="post_b", metric="precision")["verdict"] == "worse"
    same = verdict(rows, method="exact", against="post_a", metric="audc@zero")
    assert same["verdict"] in (NO_EVIDENCE, SAME)


def test_difference_and_test_are_those_of_the_pairs(frames: Frames) -> None:
    row = verdict(verdict_frame(frames), method="soft", against="post_b", metric="precision")
    differences = 0.2 + NOISE[2] - NOISE[1]
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert row["high"] - row["low"] < 0.02  # the difficulty of the images, 10 times larger, cancels
    assert (row["effect"], row["n"], row["groups"], row["seeds"]) == (1, N, N, 1)


def test_sentence(frames: Frames) -> None:
    row = verdict(verdict_frame(frames), method="soft", against="post_b", metric="precision")
    start, _, end = row["sentence"].partition(" [")
    assert start == f"soft locates better than post_b on x (precision {row['difference']:+.3f}"
    assert end.endswith("], n = 40, p < 0.001)")


def floored(tmp_path: Path) -> Frames:
    """The sparse head's network loses its prediction at once: its random maps have an AUDC of 0.3, not 0.9."""
    return made(tmp_path, score_rows(MEANS | {("soft", "noise"): (0.1, 0.3)}))


def test_curves_of_two_networks_are_compared_by_what_random_maps_score_on_each(tmp_path: Path) -> None:
    """Raw 0.4 is better than 0.5; less the floors +0.1 is worse than -0.4, image by image."""
    frames = floored(tmp_path)
    row = verdict(verdict_frame(frames), method="soft", against="post_a", metric="audc@zero")
    scores = frames.scores[frames.scores["metric"] == "audc"].pivot_table(
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


def test_strata_and_squares_take_the_floor_too(tmp_path: Path) -> None:
    frames = floored(tmp_path)
    rows = strata_frame(frames, verdict_frame(frames))
    soft = verdict(rows, method="soft", metric="audc@zero", stratum="all positives")
    assert (soft["ours"], soft["theirs"]) == (pytest.approx(0.1, abs=0.01), pytest.approx(-0.5, abs=0.01))
    square = verdict(model_or_map_frame(frames), metric="audc@zero", post_hoc="post_b")  # 0.4 - 0.9, –, –, 0.4 - 0.3
    assert square["floor"] == "missing"  # the conversion's network has no random maps


def test_intervals_stay_within_what_is_possible(tmp_path: Path) -> None:
    metrics = [METRICS[0] | {"value_range": [0, 1]}, *METRICS[1:]]
    few = score_rows(MEANS)
    few = few[few["image"].isin([f"i{index}" for index in range(6)])]
    ours = few["explainer"] == "own"
    few.loc[ours, "value"] = np.where(few.loc[ours, "image"].isin(["i0"]), 0.0, 1.0)
    rows = strata_frame(run := made(tmp_path, few, metrics=metrics), verdict_frame(run))
    rows = rows[rows["metric"] == "precision"]
    assert (rows["ours_high"] == 1).any()
    assert rows[["ours_low", "ours_high"]].stack().between(0, 1).all()


def test_failing_metrics_are_marked_and_not_spoken_of_and_disagreement_is_named(frames: Frames) -> None:
    """Precision fails on x: the spare metric, which says the opposite, is spoken of instead."""
    spare = frames.scores[frames.scores["metric"] == "precision"].assign(metric="spare")
    spare["value"] = -spare["value"]
    metrics = [METRICS[0], METRICS[0] | {"name": "spare"}]
    given = replace(
        frames, scores=pd.concat([frames.scores, spare], ignore_index=True), record=frames.record | {"metrics": metrics}
    )
    row = verdict(spoken(verdict_frame(given)), method="soft")
    (line,) = disagreement(verdict_frame(given), row.to_dict())
    assert line.startswith("x: the metrics of localisation disagree on soft and post_b: better by precision, worse by")
    names = [f"i{index}" for index in range(9)]
    worth = [
        pd.DataFrame({"map": one, "image": names, "group": names, "value": at}) for one, at in (("a", 0), ("b", 1))
    ]
    tried = pd.concat(worth).assign(dataset="x", metric="precision", variant="")
    given = replace(given, probes={"soundness": tried})
    rows = verdict_frame(given)
    assert set(rows.loc[rows["metric"] == "precision", "sound"]) == {"fails"}
    assert set(rows.loc[rows["metric"] == "spare", "sound"]) == {"not tried"}
    assert set(spoken(rows)["metric"]) == {"spare"}
    assert "precision† +" in verdict(rows, method="soft", against="post_b", metric="precision")["sentence"]
    assert "by metrics that fail†" in tally(rows)
    assert disagreement(rows, spoken(rows).iloc[0].to_dict()) == []


def test_order_of_rows_does_not_matter(frames: Frames) -> None:
    mixed = replace(frames, scores=frames.scores.sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(verdict_frame(frames), verdict_frame(mixed))


def test_only_seeds_that_both_have_are_paired(frames: Frames, tmp_path: Path) -> None:
    scores = pd.concat([score_rows(MEANS), score_rows({("soft", "own"): (9, 9)}).assign(seed=1)])
    pd.testing.assert_frame_equal(verdict_frame(made(tmp_path, scores)), verdict_frame(frames))


def test_undefined_values_are_counted(frames: Frames) -> None:
    scores = frames.scores.copy()
    gone = (scores["head"] == "soft") & (scores["explainer"] == "own") & (scores["image"] == "i3")
    scores.loc[gone, "value"] = np.nan
    row = verdict(verdict_frame(replace(frames, scores=scores)), method="soft", against="post_a", metric="precision")
    assert (row["n"], row["undefined"]) == (N - 1, 1)


def test_best_opponent_is_by_direction(frames: Frames) -> None:
    best = against_best(verdict_frame(frames), ["precision", "audc@zero"])
    assert set(best["against"]) == {"post_b"}
    assert len(best) == 4


def test_tally_and_wins(frames: Frames) -> None:
    rows = verdict_frame(frames)
    soft = rows[rows["method"] == "soft"]
    assert tally(soft).startswith("4 comparisons with 2 post-hoc methods in 2 metrics: 3 better")
    counted = verdict(wins(rows[rows["metric"] == "precision"]), method="soft", against="post_b")
    assert (counted["better"], counted["worse"], counted["all"]) == (1, 0, 1)


# --- Price -----------------------------------------------------------------------------------------------------------


def test_price_is_sklearns_difference(frames: Frames) -> None:
    prices = price_frame(frames, verdict_frame(frames)).set_index("head")
    rows = frames.predictions.set_index("head")
    plain, soft, labels = rows.loc["plain", "logit_1"], rows.loc["soft", "logit_1"], rows.loc["plain", "label"]
    auc = roc_auc_score(labels, soft) - roc_auc_score(labels, plain)
    kappa = cohen_kappa_score(labels, soft > 0) - cohen_kappa_score(labels, plain > 0)
    assert prices.loc["soft", "auc"] == pytest.approx(auc)
    assert prices.loc["soft", "kappa"] == pytest.approx(kappa)
    assert prices.loc["soft", "auc_low"] < auc < prices.loc["soft", "auc_high"]
    assert prices.loc["soft", ["auc_verdict", "accuracy_verdict"]].tolist() == ["inferior", "inferior"]
    assert prices.loc["exact", ["auc", "auc_low", "auc_high", "auc_verdict"]].tolist() == [0, 0, 0, "non-inferior"]


def test_gain_is_positive_where_the_head_is_better(frames: Frames) -> None:
    """Against post_b, the best one: precision +0.2, AUDC 0."""
    soft = price_frame(frames, verdict_frame(frames)).set_index("head").loc["soft"]
    assert soft["gain_localisation"] == pytest.approx(0.2, abs=0.01)
    assert soft["gain_faithfulness"] == pytest.approx(0, abs=0.01)
    assert soft[["gain_localisation_n", "gain_faithfulness_n"]].tolist() == [N, N]
    assert soft["gain_faithfulness_low"] < soft["gain_faithfulness"] < soft["gain_faithfulness_high"]


# --- Model or map ----------------------------------------------------------------------------------------------------


def test_decomposition_by_hand() -> None:
    corners = {"black_box_post_hoc": 0.1, "black_box_own": 0.2, "inherent_post_hoc": 0.4, "inherent_own": 0.6}
    arrays = {name: np.array(value) for name, value in corners.items()}
    assert decompose(arrays) == pytest.approx((0.5, (0.3 + 0.4) / 2, 0.15))
    without = {name: value for name, value in arrays.items() if name != "black_box_own"}
    assert decompose(without) == pytest.approx((0.5, 0.3, 0.2))
    without = {name: value for name, value in arrays.items() if name != "inherent_post_hoc"}
    assert decompose(without) == pytest.approx((0.5, 0.4, 0.1))


def test_model_or_map_uses_the_corners_that_are_there(frames: Frames) -> None:
    rows = model_or_map_frame(frames)
    full = verdict(rows, metric="precision", post_hoc="post_a")  # 0.3, 0.35, 0.5, 0.6
    assert full["missing"] == ""
    assert full["model"] == pytest.approx((0.2 + 0.25) / 2, abs=0.01)
    assert full["total"] == pytest.approx(full["model"] + full["map"])
    assert full["total_low"] < full["total"] < full["total_high"]
    part = verdict(rows, metric="precision", post_hoc="post_b")  # 0.4, 0.35, –, 0.6
    assert part["missing"] == "inherent weights, post-hoc map"
    assert part["map"] == pytest.approx(-0.05, abs=0.01)
    assert set(rows["head"]) == {"soft"}


# --- Floor and ceiling -----------------------------------------------------------------------------------------------


def shares(frames: Frames) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["head"], row["explainer"]): row for row in floor_ceiling_table(frames).rows}


def test_share_of_the_way_by_hand(frames: Frames) -> None:
    rows = shares(frames)
    assert rows["plain", "post_a"]["precision"].mean == pytest.approx(100 * 0.2 / 0.8, abs=1.5)
    assert rows["plain", "post_a"]["audc@zero"].mean == pytest.approx(100 * 0.4 / 0.6, abs=1.5)  # lower is better
    assert rows["plain", "post_a"][PREVALENCE].mean == 2
    assert rows["soft", "own"]["precision"].mean == pytest.approx(100 * 0.5 / 0.8, abs=1.5)
    assert "audc@zero" not in rows["soft", "own"]  # the controls did not run on this classifier
    assert not {explainer for _, explainer in rows} & {"noise", "mask"}


def test_controls_of_localisation_are_pooled_over_classifiers(tmp_path: Path) -> None:
    """A random map does not depend on the classifier: one way for all heads, and a best; faithfulness has neither."""
    frames = made(tmp_path, score_rows(MEANS | {("soft", "noise"): (0.3, 0.9), ("soft", "mask"): (0.9, 0.5)}))
    rows = shares(frames)
    for method, precision in {("plain", "post_b"): 0.4, ("soft", "own"): 0.6}.items():
        assert rows[method]["precision"].mean == pytest.approx(100 * (precision - 0.2) / 0.7, abs=1.5)
    assert rows["plain", "post_b"]["audc@zero"].mean == pytest.approx(100 * 0.5 / 0.6, abs=1.5)
    assert rows["soft", "own"]["audc@zero"].mean == pytest.approx(100 * 0.5 / 0.4, abs=1.5)
    assert {column for _, column in floor_ceiling_table(frames).best()} == {"precision"}


def test_no_share_of_a_negligible_way(tmp_path: Path) -> None:
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.18, 0.82)})))
    assert np.isnan([rows["plain", "post_a"][name].mean for name in ("precision", "audc@zero")]).all()
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.22, 0.78)})))
    assert np.isfinite([rows["plain", "post_a"][name].mean for name in ("precision", "audc@zero")]).all()


def test_no_share_where_the_ceiling_is_not_above_the_floor(tmp_path: Path) -> None:
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.1, 0.95)})))
    assert np.isnan(rows["plain", "post_a"]["audc@zero"].mean)
    assert np.isnan(rows["plain", "post_a"]["precision"].mean)


# --- Strata ----------------------------------------------------------------------------------------------------------


def test_thirds_and_counts_by_hand() -> None:
    values = pd.Series([0.3, 0.1, 0.2, np.nan, 0.6, 0.5, 0.4], name="confidence")
    parts = dict(thirds(values))
    assert list(parts) == ["lowest third (0.1–0.2)", "middle third (0.3–0.4)", "highest third (0.5–0.6)"]
    assert np.flatnonzero(parts["lowest third (0.1–0.2)"]).tolist() == [1, 2]
    numbers = dict(counts(pd.Series([1, 2, 5, 0, 3, np.nan])))
    assert {name: np.flatnonzero(part).tolist() for name, part in numbers.items()} == {
        "1": [0],
        "2": [1],
        "3 or more": [2, 4],
    }
    assert not dict(counts(pd.Series([1, 1])))


def test_strata_hold_their_images(frames: Frames, tmp_path: Path) -> None:
    """Images 0–9 are missed by the head, area rises with the index: each mean is that of its images."""
    scores = frames.scores.copy()
    scores.loc[(scores["head"] == "soft") & scores["image"].isin([f"i{i}" for i in range(10)]), "predicted"] = 0
    ours = made(tmp_path, scores)
    lesions = pd.DataFrame({"image": [f"i{i}" for i in range(N)], "lesion_area": np.arange(1, N + 1) / 100})
    file = ours.store.lesions_file("x")
    file.parent.mkdir(parents=True)
    lesions.assign(lesion_count=1.0).to_parquet(file)
    rows = strata_frame(ours, verdict_frame(ours))
    soft = rows[(rows["method"] == "soft") & (rows["metric"] == "precision")].set_index("stratum")
    values = 0.6 + DIFFICULTY + NOISE[2]
    assert soft.loc["all positives", "ours"] == pytest.approx(values.mean())
    assert soft.loc["shared true positives", "ours"] == pytest.approx(values[10:].mean())
    assert soft.loc["shared true positives", "n"] == 30
    smallest = soft[soft["by"] == "lesion area"].iloc[0]
    assert smallest["ours"] == pytest.approx(values[: smallest["n"]].mean())
    assert smallest["difference"] == pytest.approx(smallest["ours"] - smallest["theirs"])


def test_confidence_is_the_black_boxs_in_the_right_class(frames: Frames, tmp_path: Path) -> None:
    ours = made(tmp_path, frames.scores)
    for cell in ours.cells.itertuples():
        margin = {"plain": 2.0, "soft": 9.0, "exact": 9.0}[str(cell.head)]
        file = ours.cell(cell).explained
        file.parent.mkdir(parents=True)
        logits = {"logit_0": [0.0, 0.0], "logit_1": [margin, margin]}
        pd.DataFrame({"image": ["i0", "i1"], "label": [1, 0]} | logits).to_parquet(file)
    found = image_facts(ours, "x", "net")["confidence"]
    chance = 1 / (1 + np.exp(-2.0))
    assert found.to_dict() == pytest.approx({"i0": chance, "i1": 1 - chance})


def test_lesion_facts_by_hand() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 3, 3] = True  # the first two touch at a corner
    ids, labels = ("a", "b", "c"), np.array([1, 1, 0])
    split = Split(
        "test",
        np.zeros((3, 3, 4, 4), np.uint8),
        labels,
        masks,
        np.array([True, True, False]),
        None,
        None,
        ids,
        ids,
        ("fine", "ill"),
        (),
        "",
    )
    facts = lesion_facts(split, Explained(np.array([2, 0, 1]), np.array([False, True, True]), 2))
    assert facts["image"].tolist() == ["c", "a", "b"]
    np.testing.assert_allclose(facts["lesion_area"], [np.nan, 3 / 16, 0])
    np.testing.assert_allclose(facts["lesion_count"], [np.nan, 2, 0])
    logits = explained_logits(split, Explained(np.array([2, 0]), np.array([False, True]), 1), np.eye(2))
    assert logits.to_dict("list") == {"image": ["c", "a"], "label": [0, 1], "logit_0": [1, 0], "logit_1": [0, 1]}


def test_a_file_that_did_not_change_keeps_its_time(tmp_path: Path) -> None:
    file, frame = tmp_path / "x.parquet", pd.DataFrame({"image": ["a"], "area": [np.nan]})
    write_if_new(file, frame)
    before = file.stat().st_mtime_ns
    write_if_new(file, frame.copy())
    assert file.stat().st_mtime_ns == before
    write_if_new(file, frame.assign(area=1.0))
    assert pd.read_parquet(file)["area"].tolist() == [1.0]


# --- All of it -------------------------------------------------------------------------------------------------------


def test_every_table_and_figure_is_written(frames: Frames, tmp_path: Path) -> None:
    decisions = weigh(frames)
    tables = decisions.tables(frames)
    (lacking,) = missing(frames, decisions)
    assert lacking.startswith("not there: critical_difference needs 5 data sets or backbones on them, this run has 1")
    assert list(tables) == ["verdicts", "price", "model_or_map", "strata", "floor_ceiling"]
    for name, table in tables.items():
        write_table(table, tmp_path, name)
    assert pd.read_csv(tmp_path / "verdicts.csv")["sentence"].tolist() == decisions.verdicts["sentence"].tolist()
    spare = decisions.verdicts[decisions.verdicts["family"] == "localisation"].assign(metric="spare")
    more = replace(decisions, verdicts=pd.concat([decisions.verdicts, spare], ignore_index=True)).tables(frames)
    assert more["verdicts"].rows == tables["verdicts"].rows
    assert len(more["verdicts"].numbers()) == len(tables["verdicts"].rows) + len(spare)
    stems = decisions.draw(frames, tmp_path)
    assert list(stems) == ["win_matrix", "price_pareto", "model_or_map_localisation", "model_or_map_faithfulness"]
    assert all((tmp_path / f"{stem}.png").exists() for stem in stems)


def test_a_run_without_anything_to_compare(tmp_path: Path) -> None:
    alone = made(tmp_path, score_rows({("plain", "post_a"): (0.3, 0.5)}))
    decisions = weigh(alone)
    assert decisions.tables(alone) == {}
    said = "".join(missing(replace(alone, record=alone.record | {"explainers": {}}), decisions))
    assert all(name in said for name in ("floor_ceiling", "verdicts", "price", "model_or_map"))
    assert decisions.draw(alone, tmp_path) == {}
    assert weigh(made(tmp_path, pd.DataFrame())).tables(made(tmp_path, pd.DataFrame())) == {}


def test_consistency_is_compared_among_signed_maps_only(frames: Frames) -> None:
    """A map without a sign is positive by construction, which is no agreement with the label."""
    explainers = frames.record["explainers"]
    unsigned = next(name for name in explainers if name in set(frames.scores["explainer"]))
    facts = {name: one | {"signed": name != unsigned} for name, one in explainers.items()}
    changed = replace(frames, record=frames.record | {"explainers": facts})
    metric = {"name": frames.scores["metric"].iloc[0], "variant": frames.scores["variant"].iloc[0]}
    families = ("localisation", "consistency")
    every, signed = (set(metric_rows(changed, metric | {"family": name})["explainer"]) for name in families)
    assert unsigned in every
    assert signed == every - {unsigned}


def test_a_head_is_named_alone_unless_it_has_two_kinds_of_own_maps(frames: Frames, tmp_path: Path) -> None:
    """A second inherent explainer of the run that is on another head does not lengthen the names."""
    explainers = RECORD["explainers"] | {"other": RECORD["explainers"]["own"]}  # type: ignore[operator]
    beside = score_rows({("exact", "own"): (0.35, 0.5)}).assign(explainer="other")
    two = made(tmp_path, pd.concat([frames.scores, beside], ignore_index=True), explainers=explainers)
    assert label(two, ("soft", "own")) == "soft"
    assert {label(two, ("exact", one)) for one in ("own", "other")} == {"own of exact", "other of exact"}
    assert label(two, ("plain", "post_a")) == "post_a"
    assert label(two, ("soft", "post_a")) == "post_a on soft"


def test_the_first_metric_with_enough_images_is_spoken_of(frames: Frames) -> None:
    """Precision loses all but 4 images, another metric of its family comes after it."""
    scores = frames.scores
    few = scores[(scores["metric"] != "precision") | scores["image"].isin([f"i{index}" for index in range(4)])]
    spare = scores[scores["metric"] == "precision"].assign(metric="spare")
    metrics = [METRICS[0], METRICS[0] | {"name": "spare"}, METRICS[1]]
    record = frames.record | {"metrics": metrics}
    rows = verdict_frame(replace(frames, scores=pd.concat([few, spare], ignore_index=True), record=record))
    assert spoken(rows)["metric"].tolist() == ["spare", "spare", "audc@zero", "audc@zero"]
    assert set(spoken(rows)["against"]) == {"post_b"}
    (line,) = too_few(rows)
    assert line == "x: 4 comparisons with too few images (4, 9 needed), in the table only: precision"
    assert set(printed(rows, rows)["metric"]) == {"spare", "audc@zero"}
    hopeless = rows[rows["metric"] == "precision"]
    assert len(spoken(hopeless)) == 0
    assert len(leading(hopeless)) == 0
    assert len(printed(hopeless, hopeless)) == len(hopeless)
    assert list(win_matrix(hopeless)) == []
    with paper_style():
        (drawing,) = win_matrix(rows)
    titles = [axis.get_title(loc="left") for axis in drawing.figure.axes]
    assert titles == ["localisation: spare (1 data set)", "faithfulness: audc@zero (1 data set)"]
    assert too_few(rows[rows["metric"] == "spare"]) == []


def test_a_metric_that_no_image_has_is_not_compared(frames: Frames) -> None:
    scores = frames.scores.copy()
    scores.loc[scores["metric"] == "precision", "value"] = np.nan
    assert set(verdict_frame(replace(frames, scores=scores))["metric"]) == {"audc@zero"}
    assert len(verdict_frame(replace(frames, scores=scores.assign(value=np.nan)))) == 0


def test_sentence_says_that_groups_are_lacking(frames: Frames) -> None:
    scores = frames.scores.assign(group=frames.scores["image"].str.slice(0, 2))  # i0 to i9 by their first digit
    row = verdict(verdict_frame(replace(frames, scores=scores)), method="soft", against="post_b", metric="precision")
    assert (row["groups"], row["needed"]) == (10, 8)
    few = scores[scores["group"].isin(["i1", "i2"])]
    row = verdict(verdict_frame(replace(frames, scores=few)), method="soft", against="post_b", metric="precision")
    assert row["sentence"].startswith("too few groups of images to compare soft with post_b on x (precision")
    assert row["sentence"].endswith("n = 22 in 2 groups, 8 groups needed)")


def test_strata_show_undirected_metrics_of_healthy_images_without_a_difference(frames: Frames) -> None:
    """The other method is the best one in the directed metric of the same images: post_b."""
    metrics = [
        {"name": "area", "variant": "", "family": "consistency", "higher_is_better": True, "images": "healthy"},
        {"name": "largest", "variant": "", "family": "consistency", "higher_is_better": None, "images": "healthy"},
    ]
    precision = frames.scores[frames.scores["metric"] == "precision"].assign(diseased=False, label=0, predicted=0)
    scores = pd.concat([precision.assign(metric="area"), precision.assign(metric="largest")], ignore_index=True)
    ours = replace(frames, scores=scores, record=frames.record | {"metrics": metrics})
    rows = strata_frame(ours, verdict_frame(ours))
    shown = rows[(rows["metric"] == "largest") & (rows["stratum"] == "healthy images") & (rows["method"] == "soft")]
    (row,) = shown.to_dict("records")
    assert (row["against"], row["n"]) == ("post_b", N)
    assert row["ours"] == pytest.approx((0.6 + DIFFICULTY + NOISE[2]).mean())
    assert row["ours_low"] < row["ours"] < row["ours_high"]
    assert np.isnan(row["difference"])
