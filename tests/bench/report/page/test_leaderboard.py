"""Leaderboard and charts hold the numbers of the tables and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.report.figures.curve_figures import TOPK, first_curves
from bench.report.frames.load import Frames
from bench.report.page.charts.comparisons import strata_charts
from bench.report.page.charts.section import charts_section
from bench.report.page.inline import json_block
from bench.report.page.leaderboard import leaderboard_section
from bench.report.page.section import Content
from bench.report.tables.writers import write_table
from bench.store.manifest import Manifest
from tests.support.page import content
from tests.support.study_store import PLAIN, head, make_grid


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder = tmp_path_factory.mktemp("run")
    make_grid(folder, {"plain": PLAIN, "own": head("own")}, {"first": {}, "second": {}})
    return content(folder)


@pytest.fixture(scope="module")
def board(made: Content) -> dict[str, Any]:
    section = leaderboard_section(made)
    assert section is not None
    data: dict[str, Any] = json.loads(json_block(section.data))
    return data


def test_every_number_is_that_of_the_csv_file(made: Content, board: dict[str, Any], tmp_path: Path) -> None:
    checked = 0
    for group in board["groups"]:
        write_table(made.tables[group["name"]], Manifest(tmp_path), group["name"])
        keys = made.tables[group["name"]].keys
        frame = pd.read_csv(tmp_path / f"{group['name']}.csv").set_index(keys)
        for row in board["rows"]:
            if group["name"] not in row["values"]:
                continue
            expected = frame.loc[tuple(row[key] for key in keys)]
            for column, value in zip(group["columns"], row["values"][group["name"]], strict=True):
                mean, low, high, n, _ = value or [None] * 5
                found = [np.nan if one is None else one for one in (mean, low, high)]
                wanted = [expected[f"{column['name']}_{part}"] for part in ("mean", "low", "high")]
                np.testing.assert_array_equal(found, np.array(wanted, dtype=float))
                assert n is None or n == expected[f"{column['name']}_n"]
                checked += 1
    assert {group["name"] for group in board["groups"]} >= {"localisation", "faithfulness", "classification"}
    assert checked > 50


def test_rows_are_the_methods_of_the_tables(made: Content, board: dict[str, Any]) -> None:
    keys = ("dataset", "backbone", "explainer", "head")
    wanted = [tuple(row[key] for key in keys) for row in made.tables["localisation"].rows]
    assert [tuple(row[key] for key in keys) for row in board["rows"]] == wanted
    assert {row["label"] for row in board["rows"] if row["family"] == "inherent"} == {"own"}


def test_charts_hold_the_curves_of_the_figures(made: Content) -> None:
    section = charts_section(made)
    assert section is not None
    charts = {chart["name"]: chart for chart in json.loads(json_block(section.data))["charts"]}
    assert {"topk_precision", "precision_sensitivity", "win_matrix", "price_pareto", "strata"} <= set(charts)
    frames: Frames = made.frames
    _, curves = first_curves(frames, TOPK)
    panel = charts["topk_precision"]["panels"][1]
    values = pd.DataFrame(panel["values"])
    assert panel["title"].startswith("second")
    for method, curve in curves["second"].items():
        mine = values[values["method"] == method.label]
        np.testing.assert_allclose(mine["mean"].astype(float), curve.mean, rtol=1e-4)
        np.testing.assert_allclose(mine["low"].astype(float), curve.low, rtol=1e-4)
    names = [entry["name"] for entry in charts["topk_precision"]["legend"]]
    assert set(values["method"]) <= set(names)
    assert len(set(names)) == len(names)


def test_subgroups_begin_with_localisation_whatever_was_requested_first(made: Content) -> None:
    record = made.frames.record.changed(metrics=made.frames.record.metrics[::-1])
    (chart,) = strata_charts(replace(made.frames, record=record))
    for panel in chart.panels:
        assert list(dict.fromkeys(panel.values["metric"]))[:2] == ["topk_precision", "audc@blur"]


def test_a_run_without_scores_has_neither(made: Content) -> None:
    nothing = Content(**(vars(made) | {"tables": {"gaps": made.tables["gaps"]}}))
    assert leaderboard_section(nothing) is None
