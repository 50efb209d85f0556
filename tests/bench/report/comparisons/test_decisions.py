"""Price, model or map, floor and ceiling, and all decisions together, on a hand-made run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bench.report.comparisons.floor_ceiling import PREVALENCE, floor_ceiling_table
from bench.report.comparisons.model_or_map import decompose, model_or_map_frame
from bench.report.comparisons.price import price_frame
from bench.report.comparisons.verdicts import verdict_frame, verdict_table
from bench.report.contents import TOPICS, draw_figures
from bench.report.frames.load import Frames
from bench.report.frames.stored.scores import Scores
from bench.report.gaps import Missing
from bench.report.tables.table import TableData
from bench.report.tables.writers import write_table
from bench.store.manifest import Manifest
from tests.support.decided import MEANS, N, made, score_rows, verdict

# --- Price -----------------------------------------------------------------------------------------------------------


def test_price_is_sklearns_difference(planted: Frames) -> None:
    prices = price_frame(planted).set_index("head")
    rows = planted.predictions.rows().set_index("head")
    plain, soft, labels = rows.loc["plain", "logit_1"], rows.loc["soft", "logit_1"], rows.loc["plain", "label"]
    auc = roc_auc_score(labels, soft) - roc_auc_score(labels, plain)
    kappa = cohen_kappa_score(labels, soft > 0) - cohen_kappa_score(labels, plain > 0)
    assert prices.loc["soft", "auc"] == pytest.approx(auc)
    assert prices.loc["soft", "kappa"] == pytest.approx(kappa)
    assert prices.loc["soft", "auc_low"] < auc < prices.loc["soft", "auc_high"]
    assert prices.loc["soft", ["auc_verdict", "accuracy_verdict"]].tolist() == ["inferior", "inferior"]
    assert prices.loc["exact", ["auc", "auc_low", "auc_high", "auc_verdict"]].tolist() == [0, 0, 0, "non-inferior"]


def test_gain_is_positive_where_the_head_is_better(planted: Frames) -> None:
    """Against post_b, the best one: precision +0.2, AUDC 0."""
    soft = price_frame(planted).set_index("head").loc["soft"]
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


def test_model_or_map_uses_the_corners_that_are_there(planted: Frames) -> None:
    rows = model_or_map_frame(planted)
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


def test_share_of_the_way_by_hand(planted: Frames) -> None:
    rows = shares(planted)
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


def test_share_of_the_way_to_the_grid_ceiling_by_hand(planted: Frames, tmp_path: Path) -> None:
    """Only of localisation; the control itself is not a method of the table."""
    assert "precision (grid)" not in shares(planted)["plain", "post_a"]
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "coarse"): (0.5, 0.35)})))
    for method, precision in {("plain", "post_a"): 0.3, ("soft", "own"): 0.6}.items():
        assert rows[method]["precision"].mean == pytest.approx(100 * (precision - 0.1) / 0.8, abs=1.5)
        assert rows[method]["precision (grid)"].mean == pytest.approx(100 * (precision - 0.1) / 0.4, abs=2.5)
    assert "audc@zero (grid)" not in rows["plain", "post_a"]
    assert not {explainer for _, explainer in rows} & {"noise", "mask", "coarse"}


def test_no_share_of_a_negligible_way(tmp_path: Path) -> None:
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.18, 0.82)})))
    assert np.isnan([rows["plain", "post_a"][name].mean for name in ("precision", "audc@zero")]).all()
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.22, 0.78)})))
    assert np.isfinite([rows["plain", "post_a"][name].mean for name in ("precision", "audc@zero")]).all()


def test_no_share_where_the_ceiling_is_not_above_the_floor(tmp_path: Path) -> None:
    rows = shares(made(tmp_path, score_rows(MEANS | {("plain", "mask"): (0.1, 0.95)})))
    assert np.isnan(rows["plain", "post_a"]["audc@zero"].mean)
    assert np.isnan(rows["plain", "post_a"]["precision"].mean)


# --- All of it -------------------------------------------------------------------------------------------------------


COMPARED = [topic for topic in TOPICS if topic.is_comparison]


def tables_of(frames: Frames) -> dict[str, TableData]:
    found = [topic.tables(frames) for topic in COMPARED]
    return {name: table for tables in found for name, table in tables.items() if table.rows}


def missing_of(frames: Frames) -> list[Missing]:
    return [one for topic in COMPARED for one in topic.missing(frames)]


def test_every_table_and_figure_is_written(planted: Frames, tmp_path: Path) -> None:
    tables, verdicts = tables_of(planted), verdict_frame(planted)
    lacking = missing_of(planted)[-1]
    assert lacking.message(planted).startswith(
        "Not computed: critical_difference. It needs 5 pairs of data set and backbone, and this run has 1"
    )
    assert list(tables) == ["verdicts", "price", "model_or_map", "strata", "floor_ceiling"]
    for name, table in tables.items():
        write_table(table, Manifest(tmp_path), name)
    assert pd.read_csv(tmp_path / "verdicts.csv")["sentence"].tolist() == verdicts["sentence"].tolist()
    spare = verdicts[verdicts["family"] == "localisation"].assign(metric="spare")
    more = verdict_table(planted, pd.concat([verdicts, spare], ignore_index=True))
    assert more.rows == tables["verdicts"].rows
    assert len(more.numbers()) == len(tables["verdicts"].rows) + len(spare)
    stems = draw_figures(planted, Manifest(tmp_path), COMPARED)
    assert list(stems) == ["win_matrix", "price_pareto", "model_or_map_localisation", "model_or_map_faithfulness"]
    assert all((tmp_path / f"{stem}.png").exists() for stem in stems)


def test_a_run_without_anything_to_compare(tmp_path: Path) -> None:
    alone = made(tmp_path, score_rows({("plain", "post_a"): (0.3, 0.5)}))
    assert tables_of(alone) == {}
    without = replace(alone, record=alone.record.changed(explainers={}), source=Scores.of(alone.rows()[:0]))
    said = "".join(one.message(without) for one in missing_of(without))
    assert all(name in said for name in ("floor_ceiling", "verdicts", "price", "model_or_map"))
    assert draw_figures(alone, Manifest(tmp_path), COMPARED) == {}
    assert tables_of(made(tmp_path, pd.DataFrame())) == {}
