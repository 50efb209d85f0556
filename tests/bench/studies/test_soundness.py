"""Soundness of metrics: sound ones are found sound, deliberately broken ones are found to fail, and are marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta
from torch import Tensor

from bench.evaluation.requests import resolve_metrics
from bench.registry import METRICS, metric
from bench.report.frames.load import Frames
from bench.report.studies.soundness import judgements, mark_unsound, preference, soundness_table, words
from bench.report.tables.table import Column, TableData, frame_table
from bench.report.tables.writers import cells, entries_of
from bench.store.folders import RunStore
from bench.store.records import MetricFacts
from bench.studies.soundness import DEGRADED, Soundness, blurred, dilated, shuffled
from tests.support.report_store import run_record
from tests.support.scenes import SIDE, Scenes, subject_of

MASKS = torch.stack([Scenes(20).exact_mask(index) for index in range(1, 5)])
BROKEN = ("upside_down", "blind")


@pytest.fixture(autouse=True)
def broken_metrics() -> Iterator[None]:
    """A precision that is read the wrong way round, and a metric that sees nothing."""
    precision = METRICS["activation_precision"].function
    register: Any = {"family": "localisation", "needs": ("maps", "masks"), "value_range": (0, 1), "paper": ""}
    metric("upside_down", higher_is_better=False, **register)(precision)
    metric("blind", higher_is_better=True, **register)(lambda maps, masks: torch.ones(len(maps)))
    yield
    for name in BROKEN:
        METRICS.remove(name)


def frames(rows: pd.DataFrame, metrics: list[str], tmp_path: Any) -> Frames:
    facts = [
        MetricFacts(
            name=one.info.name,
            variant=one.variant,
            family=one.info.family,
            higher_is_better=one.info.higher_is_better,
        )
        for one in resolve_metrics(metrics)
    ]
    nothing = pd.DataFrame()
    record = run_record(metrics=facts)
    return Frames(RunStore(tmp_path), record, *[nothing] * 6, {"soundness": rows.assign(dataset="scenes")})


def study(metrics: list[str]) -> pd.DataFrame:
    subject = subject_of(torch.full((SIDE, SIDE), 0.1), 40, resolve_metrics(metrics))
    return Soundness().measure(subject, "", None)


def test_broken_metrics_fail_and_the_sound_one_does_not(tmp_path: Any) -> None:
    names = ["activation_precision", "activation_sensitivity", "pixel_auprc", *BROKEN]
    found = {one.metric: one for one in judgements(frames(study(names), names, tmp_path))}
    assert found["activation_precision"].verdict == "sound"
    assert found["pixel_auprc"].pairs("fails") == []
    assert "oracle over dilated" in found["upside_down"].pairs("fails")
    assert "dilated over blurred" in found["upside_down"].pairs("fails")
    assert len(found["blind"].pairs("fails")) == len(DEGRADED) - 1
    assert found["activation_sensitivity"].pairs("fails")[0] == "oracle over dilated (tied)"  # it rewards saturation


def test_faithfulness_is_read_where_the_lesions_decide() -> None:
    rows = study(["audc@zero", "activation_precision"])
    by_metric = {name: set(part["image"]) for name, part in rows.groupby("metric")}
    assert len(by_metric["activation_precision"]) == 32
    assert len(by_metric["audc"]) == 8
    subject = subject_of(torch.zeros(SIDE, SIDE), 40, resolve_metrics(["audc@zero", "activation_precision"]))
    blind = Soundness().measure(subject, "", None)  # a model that calls everything healthy
    assert set(blind["metric"]) == {"activation_precision"}


def test_made_maps_are_what_they_are_called() -> None:
    reach = 1  # half of a patch of 2 pixels, at 32 pixels
    loops = torch.zeros_like(MASKS)
    for image, row, column in MASKS.nonzero().tolist():
        rows, columns = (slice(max(at - reach, 0), at + reach + 1) for at in (row, column))
        loops[image, rows, columns] = True
    np.testing.assert_array_equal(dilated(MASKS, ()), loops.float())
    cells = blurred(MASKS, ())
    np.testing.assert_allclose(cells[0, 0, 0], loops[0, :8, :8].float().mean())
    np.testing.assert_allclose(cells.mean(dim=(1, 2)), loops.float().mean(dim=(1, 2)), rtol=1e-6)
    moved = shuffled(MASKS, (1, 2, 3, 4))
    assert torch.equal(moved.flatten(1).sort().values, cells.flatten(1).sort().values)
    assert ((moved != cells).flatten(1).sum(dim=1) <= 5).all()
    assert not torch.equal(moved, cells)
    torch.testing.assert_close(moved[1:2], shuffled(MASKS[1:2], (2,)))


def test_preference_is_exact_and_leaves_ties_out() -> None:
    found = preference("a over b", np.array([0.2, 0.1, 0.3, -0.1, 0, 1e-9, np.nan]))
    assert (found.share.mean, found.share.n, found.share.undefined, found.ties) == (0.75, 6, 1, 2)
    assert found.share.low == pytest.approx(beta.ppf(0.025, 3, 2))  # Clopper–Pearson of 3 in 4
    assert found.share.high == pytest.approx(beta.ppf(0.975, 4, 1))
    assert found.verdict == "not shown"
    assert preference("", np.ones(6)).verdict == "holds"
    assert preference("", np.ones(5)).verdict == "not shown"  # five of five: 0.478 and up
    assert preference("", -np.ones(6)).verdict == "fails"
    assert preference("", np.zeros(6)).verdict == "fails"
    assert preference("", np.zeros(5)).verdict == "not shown"
    assert preference("", np.array([np.nan])).verdict == "not shown"


def rows_of(values: dict[str, list[float]], dataset: str, name: str = "blind") -> pd.DataFrame:
    images = [f"i{index}" for index in range(len(values["oracle"]))]
    parts = [pd.DataFrame({"map": made, "image": images, "group": images, "value": of}) for made, of in values.items()]
    return pd.concat(parts).assign(dataset=dataset, metric=name, variant="")


def test_verdict_of_all_data_sets_marks_every_table(tmp_path: Any) -> None:
    up, down = {"oracle": [1.0] * 6, "random": [0.0] * 6}, {"oracle": [0.0] * 9, "random": [1.0] * 9}
    rows = pd.concat([rows_of(up, "a"), rows_of(up, "b"), rows_of(up, "a", "pixel_auroc")])
    given = frames(rows, ["blind", "pixel_auroc"], tmp_path)
    given = replace(given, studies={"soundness": rows})
    assert {one.verdict for one in judgements(given)} == {"sound"}
    given = replace(given, studies={"soundness": pd.concat([rows, rows_of(down, "c"), rows_of(down, "d")])})
    found = judgements(given)
    assert {one.dataset: one.verdict for one in found if one.metric == "blind"} == {
        "a": "sound", "b": "sound", "c": "fails: oracle over random", "d": "fails: oracle over random",
        "all": "not shown: oracle over random",
    }  # fmt: skip
    given = replace(given, studies={"soundness": rows_of({"oracle": [0.0] * 9, "random": [0.0] * 9}, "a")})
    found = judgements(given)
    columns = [Column("blind", True), Column("blind (grid)", True), Column("pixel_auroc", True)]
    tables = {"shows": TableData("", [], columns), "other": TableData("", [], columns[2:])}
    named = [{"metric": name} for name in ("blind", "blind ↑", "pixel_auroc")]
    tables["rows"] = TableData("", ["metric"], [], named, [False] * 3)
    tables["metric_soundness"] = soundness_table(found)
    mark_unsound(tables, found)
    assert [column.title for column in tables["shows"].columns] == ["blind† ↑", "blind (grid)† ↑", "pixel auroc ↑"]
    assert "† blind fails" in tables["shows"].notes[0]
    assert "oracle over random (tied)" in tables["rows"].notes[0]
    lines = cells(tables["rows"], entries_of(tables["rows"]), str)
    assert [line[0] for line in lines[1:]] == [
        "blind†",
        "blind† ↑",
        "pixel_auroc",
    ]
    assert tables["rows"].numbers()["metric"].tolist() == [row["metric"] for row in named]
    assert tables["other"].notes == tables["metric_soundness"].notes == []


def test_rows_of_a_data_set_are_marked_by_its_own_verdict(tmp_path: Any) -> None:
    """The metric fails on b alone, not pooled; c has no exact lesions and takes the pooled verdict."""
    up, down = {"oracle": [1.0] * 30, "random": [0.0] * 30}, {"oracle": [0.0] * 6, "random": [1.0] * 6}
    given = frames(rows_of(up, "a"), ["blind"], tmp_path)
    given.studies["soundness"] = pd.concat([rows_of(up, "a"), rows_of(down, "b")])
    found = judgements(given)
    assert [words(found, name)["blind"] for name in "abc"] == ["sound", "fails", "sound"]
    frame = pd.DataFrame({"dataset": list("abc"), "metric": "blind", "x": 0.0, "low": 0.0, "high": 0.0, "n": 1})
    table = frame_table("", frame, ["dataset", "metric"], {"x": ""}, [])
    mark_unsound({"rows": table}, found)
    assert [row["metric"] for row in table.rows] == ["blind", "blind†", "blind"]
    assert set(table.numbers()["metric"]) == {"blind"}
    assert "on b: oracle over random" in table.notes[0]


def test_values_are_averaged_over_classifiers_before_they_are_compared(tmp_path: Any) -> None:
    first, second = {"oracle": [3.0] * 6, "random": [0.0] * 6}, {"oracle": [0.0] * 6, "random": [1.0] * 6}
    given = frames(rows_of(first, "a"), ["blind"], tmp_path)
    given.studies["soundness"] = pd.concat([rows_of(first, "a"), rows_of(second, "a")])
    (found,) = judgements(given)
    assert (found.verdict, found.preferences[0].share.n) == ("sound", 6)


def test_masks_of_the_data_set_are_not_read() -> None:
    """``subject_of`` has empty masks, as boxes would be wrong ones: only the exact ones give a perfect oracle."""
    rows = study(["activation_precision"])
    oracle: Tensor = torch.tensor(rows.loc[rows["map"] == "oracle", "value"].to_numpy())
    torch.testing.assert_close(oracle, torch.ones_like(oracle))
