"""Occlusion operators and treatments of resolution: from a run to ranks and their agreement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kendalltau, rankdata

from bench.config import Config
from bench.contracts import Batch, Classifier, Explainer
from bench.metrics import FILLS, RULES
from bench.report.contents import draw_figures
from bench.report.figures.style import paper_style
from bench.report.frames.compared import compared
from bench.report.frames.load import Frames, load_frames
from bench.report.frames.paired import main_variants, title
from bench.report.frames.stored.scores import Scores
from bench.report.gaps import note_missing
from bench.report.studies.fair_resolution import fair_resolution_tables
from bench.report.studies.operators import missing_operators, operator_ranks, operator_tables
from bench.report.tables.main import metric_table
from bench.report.tables.table import TableData
from bench.store.manifest import Manifest
from bench.store.records import MetricFacts
from bench.studies.fair_resolution import Treated, blurred, common
from tests.oracles import bicubic, cells, localisation
from tests.support.made import register_squares, registered_squares, run_tiny, squares, tiny_config
from tests.support.report_store import make_run
from tests.support.tiny import tiny_classifiers

OPERATORS = [f"audc@{name}" for name in FILLS]
#: Rule -> sign of the scores of the default: the same ranks, or the reversed ones.
RULE_SIGNS = [("", 1), ("max", 1), ("sum", -1)]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with registered_squares():
        register_squares("no_healthy", healthy=None)
        yield


def config(**run: object) -> Config:
    settings = {"datasets": ["squares", "no_healthy"], "heads": ["blackbox"], "explainers": ["gradcam", "random"]}
    return tiny_config(**settings | {"metrics": [*OPERATORS, "srg@noise", "srg@donor"]} | run)


def test_every_operator_has_scores_and_donors_need_healthy_images(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path / "run", config())
    assert outcome.problems == []
    frames = load_frames(tmp_path / "run")
    values = frames.rows()[frames.rows()["step"] == -1]
    assert values["value"].notna().all()
    found = values.groupby("dataset")["variant"].unique().map(set)
    assert found["squares"] == set(FILLS)
    assert found["no_healthy"] == set(FILLS) - {"donor"}
    assert not run_tiny(tmp_path / "run", config()).computed
    (note,) = {note for note in operator_tables(frames)["operators"].notes if "operator donor" in note}
    assert note.startswith("no_healthy, compact: the operator donor is absent, because there is no healthy class")


def test_every_operator_is_asked_for_by_all_and_none_twice(tmp_path: Path) -> None:
    """Insertion has no noisy linear imputation: it starts where all is missing."""
    run_tiny(tmp_path / "run", config(datasets=["squares"], explainers=["random"], metrics=["all"]))
    variants = load_frames(tmp_path / "run").rows().groupby("metric")["variant"].unique().map(set)
    rules = set(RULES[1:])
    assert variants["audc"] == variants["srg"] == variants["audc_accuracy"] == set(FILLS) | rules
    assert variants["auic"] == set(FILLS) - {"noise"} | rules
    assert variants["topk_precision"] == {"", "resize"} | rules


# --- The tables ------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    """A run with two operators; scores of the black box, and those of the inherent head's own maps."""
    make_run(tmp_path)
    frames = load_frames(tmp_path)
    draw, parts = np.random.default_rng(5), []
    about = frames.rows()[["dataset", "backbone", "head", "seed", "explainer", "family"]].drop_duplicates()
    for row in about.to_dict("records"):
        for variant in ("zero", "blur"):
            scores = {"image": list("abcd"), "group": list("aabb"), "value": draw.uniform(size=4)}
            scores |= {"label": 1, "predicted": 1, "target": 1, "diseased": True}
            parts.append(pd.DataFrame(scores | row).assign(metric="audc", variant=variant, step=-1))
    return replace(frames, source=Scores.of(pd.concat(parts, ignore_index=True)))


def test_ranks_are_those_of_the_means_and_controls_have_none(frames: Frames) -> None:
    table = operator_tables(frames)["operators"]
    for dataset in ("first", "folder:/a <b>"):
        rows = [row for row in table.rows if row["dataset"] == dataset]
        ranked = [row for row in rows if row["explainer"] != "noise"]
        assert [row["rank audc@zero"] for row in rows if row["explainer"] == "noise"] == [""]
        assert len(ranked) == 3
        for variant in ("zero", "blur"):
            means = [row[f"audc@{variant}"].mean for row in ranked]
            assert [float(row[f"rank audc@{variant}"]) for row in ranked] == rankdata(means).tolist()
    (lacking,) = missing_operators(frames)
    absent = [f"audc@{name}" for name in ("black", "noise", "donor", "max", "point", "sum")]
    assert lacking.message(frames).startswith(f"Not computed: {', '.join(absent)} (operators).")
    note_missing(frames, {"operators": table}, [lacking])
    assert table.notes[-1] == lacking.message(frames)


def test_agreement_is_scipys_over_the_same_methods(frames: Frames) -> None:
    tables = operator_tables(frames)
    rows = tables["operators_agreement"].rows
    assert [(row["dataset"], row["one"], row["other"], row["methods"]) for row in rows] == [
        ("first", "zero", "blur", "3"),
        ("folder:/a <b>", "zero", "blur", "3"),
    ]
    for row in rows:
        scored = [one for one in tables["operators"].rows if one["dataset"] == row["dataset"]]
        means = [[one[f"audc@{way}"].mean for one in scored if one["explainer"] != "noise"] for way in ("zero", "blur")]
        assert row["kendall_tau"].mean == pytest.approx(kendalltau(*means).statistic)
        assert row["kendall_tau"].n == 4


def test_rules_have_ranks_of_their_own_and_no_verdict(frames: Frames) -> None:
    """Top-k and the order of deletion by other rules: in this table, and in no other where they could be chosen."""
    zero = frames.rows()[frames.rows()["variant"] == "zero"]
    reversed_ = zero.assign(variant="max", value=-zero["value"])
    topk = [zero.assign(metric="topk_precision", variant=way, value=zero["value"] * sign) for way, sign in RULE_SIGNS]
    facts = MetricFacts(name="topk_precision", family="localisation", higher_is_better=True)
    metrics = [*frames.record.metrics, frames.record.metrics[0].changed(variant="max")]
    metrics += [facts.changed(variant=way) for way, _ in RULE_SIGNS]
    record = frames.record.changed(metrics=metrics)
    told = replace(
        frames, source=Scores.of(pd.concat([frames.rows(), reversed_, *topk], ignore_index=True)), record=record
    )
    tables = operator_tables(told)
    rows = tables["operators_agreement"].rows
    first = [row for row in rows if row["dataset"] == "first"]
    found = {(row["metric"], row["one"], row["other"]): row["kendall_tau"].mean for row in first}
    assert found.pop(("audc", "zero", "blur")) == pytest.approx(kendalltau(*_means(tables, "zero", "blur")).statistic)
    assert found == {
        ("topk_precision", "mean", "max"): 1,
        ("topk_precision", "mean", "sum"): -1,
        ("topk_precision", "max", "sum"): -1,
        ("audc", "mean", "max"): -1,
    }
    for row in tables["operators"].rows:
        if row["explainer"] != "noise":
            assert row["rank topk_precision"] == row["rank topk_precision@max"]
            assert float(row["rank topk_precision"]) + float(row["rank topk_precision@sum"]) == 4
    assert [title(one) for one in main_variants(told)] == ["audc@zero", "audc@blur", "topk_precision"]
    of_families = [metric_table(told, name, compared(told)) for name in ("faithfulness", "localisation")]
    shown = [column.name for table in of_families for column in table.columns]
    assert shown == ["audc@zero", "audc@blur", "topk_precision"]
    alone = replace(told, record=record.changed(metrics=[one for one in metrics if one.variant in ("max", "sum")]))
    assert [title(one) for one in main_variants(alone)] == ["audc@max", "topk_precision@max"]


def _means(tables: dict[str, TableData], *ways: str) -> list[list[float]]:
    rows = [row for row in tables["operators"].rows if row["dataset"] == "first" and row["explainer"] != "noise"]
    return [[row[f"audc@{way}"].mean for row in rows] for way in ways]


def test_every_line_ends_at_its_name(frames: Frames) -> None:
    third = frames.rows()[frames.rows()["variant"] == "zero"].assign(variant="black", value=0.5)
    metrics = [*frames.record.metrics, frames.record.metrics[0].changed(variant="black")]
    scores, record = pd.concat([frames.rows(), third], ignore_index=True), frames.record.changed(metrics=metrics)
    with paper_style():
        (drawing,) = operator_ranks(replace(frames, source=Scores.of(scores), record=record))
    assert len(drawing.figure.axes) == 2
    for axis in drawing.figure.axes:  # all tie at the end: one below the other
        names = {text.get_text(): text.get_position()[1] for text in axis.texts}
        assert (set(names), sorted(names.values())) == ({"own", "post_a", "post_b"}, [1, 2, 3])
        assert {line.get_ydata()[-1] for line in axis.lines if len(line.get_xdata()) == 3} == {2.0}


def test_one_operator_makes_no_table(frames: Frames) -> None:
    one = replace(frames, source=Scores.of(frames.rows()[frames.rows()["variant"] == "zero"]))
    assert operator_tables(one) == {}
    assert operator_tables(replace(frames, source=Scores.of(frames.rows()[:0]))) == {}


# --- Fair resolution -------------------------------------------------------------------------------------------------


def test_study_scores_the_treated_maps(tmp_path: Path) -> None:
    """The mask itself as the map: on its own grid without fault, and on the feature grid what an oracle says.

    Cell i of the compact backbone looks at ½ + 8i.
    """
    explainers = ["gradcam", "random", "mask_oracle", "inputxgradient", "guided_backprop"]
    settings = config(datasets=["squares"], studies=["fair_resolution"], explainers=explainers, metrics=["audc@zero"])
    assert run_tiny(tmp_path / "run", settings).problems == []
    frames = load_frames(tmp_path / "run")
    rows = frames.studies["fair_resolution"]
    grid = tuple(map(int, rows["common_grid"].iloc[0].split("×")))
    images = {one.id: one for one in squares(tmp_path, "test")}
    exact = rows[(rows["explainer"] == "mask_oracle") & (rows["metric"] == "activation_precision")]
    values = exact.set_index(["treatment", "image"])["value"]
    assert len(exact) == 4 * 4
    for image in exact["image"].unique():
        mask = images[image].mask.numpy()
        pooled = cells.average(mask, grid, (0.5, 0.5), (8, 8))
        coarse = localisation.activation_precision(bicubic.draw(pooled, (32, 32), (0.5, 0.5), (8, 8)), mask)
        assert values["receptive-field", image] == values["grid", image] == pytest.approx(1)
        assert values["common", image] == pytest.approx(coarse, abs=1e-5)
        assert values["blurred", image] < 1
    same = rows[rows["native_grid"] == rows["common_grid"]]
    assert set(same["explainer"]) >= {"gradcam"}
    measured = ["explainer", "metric", "image"]
    kept = same[same["treatment"] != "grid"].groupby(measured)["value"]
    assert (kept.nunique(dropna=False) == 1).all()
    auroc, audc = (rows[rows["metric"] == name] for name in ("pixel_auroc", "audc"))
    wide = auroc.pivot(index=["explainer", "image"], columns="treatment", values="value")
    is_moved = (wide["grid"] - wide["receptive-field"]).abs().groupby("explainer").max() > 1e-3
    assert set(is_moved[is_moved].index) == {"gradcam", "random"}
    stored = frames.rows()[frames.rows()["metric"] == "audc"].set_index(["explainer", "image"])["value"]
    ours = audc[audc["treatment"] == "receptive-field"].set_index(["explainer", "image"])["value"]
    np.testing.assert_allclose(ours, stored[ours.index], rtol=1e-4)
    assert rows[rows["metric"] == "audc"]["image"].nunique() == 2  # explain.faithful allows no more
    tables = fair_resolution_tables(frames)
    assert [row["methods"] for row in tables["fair_resolution_agreement"].rows][:1] == ["3"]
    assert "√" in tables["fair_resolution"].reading
    drawn = draw_figures(frames, Manifest(tmp_path / "figures"))
    assert "fair_resolution" in drawn


def test_maps_are_made_once_for_all_treatments() -> None:
    calls = []

    class Counting(Explainer):
        name, family, signed, paper = "counting", "control", False, ""

        def explain_batch(self, classifier: Classifier, batch: Batch) -> torch.Tensor:
            calls.append(len(batch.seeds))
            return torch.stack([torch.full((8, 8), float(seed)) for seed in batch.seeds])

    treated = Treated(Counting(), (2, 2))
    classifier = tiny_classifiers()["black box"]
    images, targets = torch.zeros(3, 3, 32, 32), torch.zeros(3, dtype=torch.long)
    shapes = []
    for treatment in (treated.treatment, common, blurred):
        treated.treat(treatment)
        maps = treated.explain_batch(classifier, Batch(images, targets, None, (5, 6, 7)))
        shapes.append(tuple(maps.shape[1:]))
        torch.testing.assert_close(maps.mean(dim=(1, 2)), torch.tensor([5.0, 6.0, 7.0]))
    assert shapes == [(8, 8), (2, 2), (32, 32)]
    assert calls == [3]
