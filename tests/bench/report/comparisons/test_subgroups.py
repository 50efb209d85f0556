"""Strata: images by area, number of lesions, class and confidence, on a hand-made run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.selection import Selection, lesion_facts
from bench.data.split import Split
from bench.report.comparisons.model_or_map import model_or_map_frame
from bench.report.comparisons.subgroups import counts, strata_frame, thirds
from bench.report.frames.image_facts import image_facts
from bench.report.frames.load import Frames
from bench.report.frames.stored.scores import Scores
from bench.run.cells.cell import explained_logits
from bench.store.stored_files import StoredFiles
from tests.support.decided import DIFFICULTY, NOISE, N, floored, made, verdict


def test_strata_and_squares_take_the_floor_too(tmp_path: Path) -> None:
    frames = floored(tmp_path)
    rows = strata_frame(frames)
    soft = verdict(rows, method="soft", metric="audc@zero", stratum="all positives")
    assert (soft["ours"], soft["theirs"]) == (pytest.approx(0.1, abs=0.01), pytest.approx(-0.5, abs=0.01))
    square = verdict(model_or_map_frame(frames), metric="audc@zero", post_hoc="post_b")  # 0.4 - 0.9, –, –, 0.4 - 0.3
    assert square["floor"] == "missing"  # the conversion's network has no random maps


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


def test_strata_hold_their_images(planted: Frames, tmp_path: Path) -> None:
    """Images 0–9 are missed by the head, area rises with the index: each mean is that of its images."""
    scores = planted.rows().copy()
    scores.loc[(scores["head"] == "soft") & scores["image"].isin([f"i{i}" for i in range(10)]), "predicted"] = 0
    ours = made(tmp_path, scores)
    lesions = pd.DataFrame({"image": [f"i{i}" for i in range(N)], "lesion_area": np.arange(1, N + 1) / 100})
    file = ours.store.lesions_file("x")
    file.parent.mkdir(parents=True)
    lesions.assign(lesion_count=1.0).to_parquet(file)
    rows = strata_frame(ours)
    soft = rows[(rows["method"] == "soft") & (rows["metric"] == "precision")].set_index("stratum")
    values = 0.6 + DIFFICULTY + NOISE[2]
    assert soft.loc["all positives", "ours"] == pytest.approx(values.mean())
    assert soft.loc["shared true positives", "ours"] == pytest.approx(values[10:].mean())
    assert soft.loc["shared true positives", "n"] == 30
    smallest = soft[soft["by"] == "lesion area"].iloc[0]
    assert smallest["ours"] == pytest.approx(values[: smallest["n"]].mean())
    assert smallest["difference"] == pytest.approx(smallest["ours"] - smallest["theirs"])


def test_confidence_is_the_black_boxs_in_the_right_class(planted: Frames, tmp_path: Path) -> None:
    ours = made(tmp_path, planted.rows())
    for cell in ours.cells.itertuples():
        margin = {"plain": 2.0, "soft": 9.0, "exact": 9.0}[str(cell.head)]
        file = ours.cell(cell).first.explained
        file.parent.mkdir(parents=True)
        logits = {"logit_0": [0.0, 0.0], "logit_1": [margin, margin]}
        pd.DataFrame({"image": ["i0", "i1"], "label": [1, 0]} | logits).to_parquet(file)
    found = image_facts(ours, "x", "net", pd.Index(["i1", "i9", "i0"]))["confidence"]
    chance = 1 / (1 + np.exp(-2.0))
    assert found.tolist() == pytest.approx([1 - chance, np.nan, chance], nan_ok=True)


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
    facts = lesion_facts(split, Selection(np.array([2, 0, 1]), np.array([False, True, True]), 2))
    assert facts["image"].tolist() == ["c", "a", "b"]
    np.testing.assert_allclose(facts["lesion_area"], [np.nan, 3 / 16, 0])
    np.testing.assert_allclose(facts["lesion_count"], [np.nan, 2, 0])
    logits = explained_logits(split, Selection(np.array([2, 0]), np.array([False, True]), 1), np.eye(2))
    assert logits.to_dict("list") == {"image": ["c", "a"], "label": [0, 1], "logit_0": [1, 0], "logit_1": [0, 1]}


def test_a_file_that_did_not_change_keeps_its_time(tmp_path: Path) -> None:
    file, frame = tmp_path / "x.parquet", pd.DataFrame({"image": ["a"], "area": [np.nan]})
    files = StoredFiles(tmp_path, tmp_path)
    files.write_frame(file, frame)
    before = file.stat().st_mtime_ns
    files.write_frame(file, frame.copy())
    assert file.stat().st_mtime_ns == before
    files.write_frame(file, frame.assign(area=1.0))
    assert pd.read_parquet(file)["area"].tolist() == [1.0]


def test_strata_show_undirected_metrics_of_healthy_images_without_a_difference(planted: Frames) -> None:
    """The other method is the best one in the directed metric of the same images: post_b."""
    metrics = [
        {"name": "area", "variant": "", "family": "consistency", "higher_is_better": True, "images": "healthy"},
        {"name": "largest", "variant": "", "family": "consistency", "higher_is_better": None, "images": "healthy"},
    ]
    precision = planted.rows()[planted.rows()["metric"] == "precision"].assign(diseased=False, label=0, predicted=0)
    scores = pd.concat([precision.assign(metric="area"), precision.assign(metric="largest")], ignore_index=True)
    ours = replace(planted, source=Scores.of(scores), record=planted.record.changed(metrics=metrics))
    rows = strata_frame(ours)
    shown = rows[(rows["metric"] == "largest") & (rows["stratum"] == "healthy images") & (rows["method"] == "soft")]
    (row,) = shown.to_dict("records")
    assert (row["against"], row["n"]) == ("post_b", N)
    assert row["ours"] == pytest.approx((0.6 + DIFFICULTY + NOISE[2]).mean())
    assert row["ours_low"] < row["ours"] < row["ours_high"]
    assert np.isnan(row["difference"])
