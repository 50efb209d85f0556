"""Estimands in tables and verdicts against loops over the curves, and marks of metrics that are not identified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.files import replacing
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.contents import every_table, missing
from bench.report.frames.load import Frames, load_frames
from bench.report.tables.table import TableData
from bench.store.records import CellRecord
from bench.store.scores import write_scores
from tests.oracles.estimands import mean, mean_of_ratios, ratio_of_mean_curves, right
from tests.oracles.faithfulness import area
from tests.support.report_store import PLAN, make_run, rows

N, STEPS = 14, 4
METRICS: list[dict[str, Any]] = [
    {"name": "activation_precision", "family": "localisation", "higher_is_better": True, "uses_zero": True},
    {"name": "pixel_auprc", "family": "localisation", "higher_is_better": True},
    {"name": "audc", "variant": "zero", "family": "faithfulness", "higher_is_better": False, "of_curve": "relative"},
    {"name": "auic", "variant": "zero", "family": "faithfulness", "higher_is_better": True, "of_curve": "absolute"},
    {"name": "srg", "variant": "zero", "family": "faithfulness", "higher_is_better": True, "of_curve": "relative"},
]
Key = tuple[str, str, int]


class Made:
    """Curves of every image of a run of two heads and seeds, some of whose images are missed."""

    def __init__(self, folder: Path, target: str = "contrast") -> None:
        store = make_run(folder, ("first",), seeds=(0, 1))
        self.deletion: dict[Key, np.ndarray] = {}
        self.reverse: dict[Key, np.ndarray] = {}
        self.insertion: dict[Key, np.ndarray] = {}
        self.predicted: dict[tuple[str, int], np.ndarray] = {}
        self.p0: dict[tuple[str, int], np.ndarray] = {}
        generator = np.random.default_rng(4)
        names = [f"i{index}" for index in range(N)]
        for key in store.record.cells:
            cell, place = store.cell(key), (key.head, key.seed)
            p0 = self.p0[place] = generator.uniform(0.05, 0.95, N)
            self.predicted[place] = (p0 > 0.5).astype(int)
            logits = {"logit_0": np.zeros(N), "logit_1": np.log(p0 / (1 - p0))}
            stored = pd.DataFrame({"image": names, "label": 1, **logits})
            stored.sample(frac=1, random_state=1).to_parquet(cell.explained)  # in an order of their own
            for name, outcome in cell.record.explainers.items():
                if outcome.status == "ok":
                    scores = self._scores(generator, (key.head, name, key.seed), p0)
                    write_scores(replacing(cell.scores_file(name)), [scores], fingerprint="x")
            cell.write_record(CellRecord.model_validate(dict(cell.record) | {"plan": PLAN, "target": target}))
        changed: dict[str, Any] = {"metrics": METRICS}
        store.write_record(store.record.changed(**changed))
        self.frames: Frames = load_frames(folder)

    def _scores(self, generator: np.random.Generator, key: Key, p0: np.ndarray) -> pd.DataFrame:
        curves = [generator.uniform(0, 1, (N, STEPS + 1)) for _ in range(3)]
        curves[0][:, 0] = curves[1][:, 0] = p0
        self.deletion[key], self.reverse[key], self.insertion[key] = curves
        audc, back = (np.array([area(one) / one[0] for one in of]) for of in curves[:2])
        values = {
            ("audc", "zero"): audc,
            ("srg", "zero"): back - audc,
            ("auic", "zero"): np.array([area(one) for one in curves[2]]),
            ("activation_precision", ""): generator.uniform(0, 1, N),
            ("pixel_auprc", ""): generator.uniform(0, 1, N),
        }
        parts = [rows(name, one[:, None], variant, stepped=False) for (name, variant), one in values.items()]
        return pd.concat([one.assign(predicted=self.predicted[key[0], key[2]]) for one in parts], ignore_index=True)

    def ratio(self, head: str, explainer: str, seed: int, at: int) -> float:
        """The AUDC of one image."""
        curve = self.deletion[head, explainer, seed][at]
        return float(area(curve) / curve[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("estimands") / "run")


@pytest.fixture(scope="module")
def tables(made: Made) -> dict[str, TableData]:
    return every_table(made.frames)


def one_seed(folder: Path) -> Made:
    """A run of one seed, whose curves need no average over seeds."""
    made = Made(folder)
    keys = [key for key in made.frames.record.cells if key.seed == 0]
    made.frames.store.write_record(made.frames.record.changed(cells=keys))
    made.frames = load_frames(folder)
    return made


def row_of(table: TableData, **keys: str) -> dict[str, Any]:
    return next(row for row in table.rows if all(row[key] == value for key, value in keys.items()))


def test_curves_are_averaged_over_images_before_they_are_divided(tmp_path: Path) -> None:
    made = one_seed(tmp_path / "run")
    tables = every_table(made.frames)
    key, p0 = ("plain", "post_a", 0), made.p0["plain", 0].tolist()
    audc = ratio_of_mean_curves(made.deletion[key].tolist(), p0)
    expected = {
        "audc@zero": mean_of_ratios(made.deletion[key].tolist()),
        "audc_curve@zero": audc,
        "auic_curve@zero": ratio_of_mean_curves(made.insertion[key].tolist(), p0),
        "srg_curve@zero": ratio_of_mean_curves(made.reverse[key].tolist(), p0) - audc,
    }
    row = row_of(tables["faithfulness"], explainer="post_a")
    for name, value in expected.items():
        assert row[name].mean == pytest.approx(value, rel=1e-9)
        assert (row[name].n, row[name].undefined) == (N, 0)
        assert row[name].low < value < row[name].high
    chosen = right(made.deletion[key].tolist(), made.predicted["plain", 0].tolist(), [1] * N)
    assert row["audc_right@zero"].mean == pytest.approx(mean_of_ratios(chosen), rel=1e-9)
    assert (row["audc_right@zero"].n, row["audc_right@zero"].undefined) == (len(chosen), N - len(chosen))
    assert 0 < len(chosen) < N


def test_tables_show_each_estimand(tables: dict[str, TableData]) -> None:
    columns = [column.name for column in tables["faithfulness"].columns]
    assert columns[:3] == ["audc@zero", "audc_curve@zero", "audc_right@zero"]
    full = tables["estimands"]
    assert {row["metric"] for row in full.rows} == {"audc@zero", "auic@zero", "srg@zero"}
    main, mine = row_of(tables["faithfulness"], explainer="noise"), row_of(full, metric="auic@zero", explainer="noise")
    assert [mine[name] for name in ("all images", "curve", "right")] == [
        main[name] for name in ("auic@zero", "auic_curve@zero", "auic_right@zero")
    ]


def test_verdicts_compare_images_that_both_classifiers_get_right(made: Made) -> None:
    verdicts = verdict_frame(made.frames)
    assert {"audc_right@zero", "auic_right@zero", "srg_right@zero", "activation_precision"} < set(verdicts["metric"])
    row = verdicts.query("metric == 'audc_right@zero' and against == 'post_a'").iloc[0]
    differences = []
    for at in range(N):
        seeds = [s for s in (0, 1) if made.predicted["plain", s][at] == made.predicted["own", s][at] == 1]
        if seeds:
            pairs = [(made.ratio("own", "evidence", s, at), made.ratio("plain", "post_a", s, at)) for s in seeds]
            differences.append(mean(ours - theirs for ours, theirs in pairs))
    assert row["n"] == len(differences) < N
    assert row["difference"] == pytest.approx(mean(differences))


def test_without_stored_logits_there_is_no_curve(tmp_path: Path) -> None:
    made = Made(tmp_path / "run")
    for key in made.frames.record.cells:
        made.frames.store.cell(key).explained.unlink()
    columns = {column.name for column in every_table(load_frames(tmp_path / "run"))["faithfulness"].columns}
    assert "audc_right@zero" in columns
    assert "audc_curve@zero" not in columns


def test_metrics_of_the_zero_are_marked_and_not_decided_if_maps_explain_a_logit(
    tmp_path: Path, made: Made, tables: dict[str, TableData]
) -> None:
    logit = Made(tmp_path / "run", "logit").frames
    compared = set(verdict_frame(logit)["metric"])
    assert "activation_precision" not in compared
    assert "pixel_auprc" in compared
    table = every_table(logit)["localisation"]
    assert [column.mark for column in table.columns] == ["‡", ""]
    assert any("not identified on first: activation_precision" in note for note in table.notes)
    gaps = [one.message(logit) for one in missing(logit)]
    assert any("verdicts on activation_precision on first" in line and 'target = "contrast"' in line for line in gaps)
    assert [column.mark for column in tables["localisation"].columns] == ["", ""]
    assert not any("identify" in one.message(made.frames) for one in missing(made.frames))
