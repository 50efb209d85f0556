"""Studies: the rule that chooses λ, and that their numbers are those of a plain recomputation from the stored files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.report.contents import draw_figures, every_table
from bench.report.figures.style import paper_style
from bench.report.frames.load import Frames, load_frames
from bench.report.sweeps.domains import cross_domain
from bench.report.sweeps.figures import _best_post_hoc
from bench.report.sweeps.figures import cross_domain as draw_cross_domain
from bench.report.sweeps.penalty import Sweep, sweeps
from bench.report.sweeps.tables import lambda_sweep, pooling, resolution
from bench.report.tables.main import all_tables
from bench.report.tables.table import TableData
from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.intervals import limits_of_one
from bench.store.folders import CellStore, RunStore
from bench.store.manifest import Manifest
from bench.store.records import CellKey
from tests.support.study_store import PLAIN, head, make_grid, set_scores, set_validation

DENSE = head("dense", pooling="avg")


def sparse(l1: float) -> dict:
    return head("sparse", l1=l1, pooling="avg")


def cell(store: RunStore, name: str, dataset: str = "first", seed: int = 0) -> CellStore:
    return store.cell(CellKey(dataset, "small", name, seed))


def sweep(folder: Path, aucs: dict[str, float], weights: dict[str, float], dense: bool = True) -> Sweep:
    heads = ({"dense": DENSE} if dense else {}) | {name: sparse(weight) for name, weight in weights.items()}
    store = make_grid(folder, heads)
    for name in heads:
        set_validation(cell(store, name), 0.5, aucs[name], 0.6)
    (found,) = sweeps(load_frames(folder))
    return found


@pytest.mark.parametrize(
    ("aucs", "chosen"),
    [
        ({"a": 0.90, "b": 0.90, "c": 0.90}, ["c"]),  # larger and as good
        ({"a": 0.90, "b": 0.89, "c": 0.88}, ["b"]),  # exactly 0.01 below still counts
        ({"a": 0.80, "b": 0.95, "c": 0.80}, ["b"]),  # better than dense is within
        ({"a": 0.80, "b": 0.80, "c": 0.80}, []),
        ({"a": 0.90, "b": 0.90, "c": float("nan")}, ["b"]),
    ],
)
def test_the_largest_lambda_within_a_hundredth_of_dense_is_chosen(
    aucs: dict[str, float], chosen: list[str], tmp_path: Path
) -> None:
    found = sweep(tmp_path, aucs | {"dense": 0.90}, {"c": 1e-3, "a": 1e-5, "b": 1e-4})
    assert [one.head for one in found.heads] == ["dense", "a", "b", "c"]
    assert found.chosen == chosen
    assert ("no λ is chosen" in found.verdict) == (not chosen)
    table = lambda_sweep(load_frames(tmp_path))
    assert [row["head"] for row in table.rows if row["chosen"]] == chosen
    assert table.notes[1:] == [found.verdict]


def test_heads_of_one_lambda_tie(tmp_path: Path) -> None:
    aucs = {"dense": 0.9, "a": 0.9, "b": 0.9, "b again": 0.895, "b failed": 0.7}
    weights = {"a": 1e-5, "b": 1e-4, "b again": 1e-4, "b failed": 1e-4}
    assert sweep(tmp_path, aucs, weights).chosen == ["b", "b again"]


def test_weights_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    """Seed 1 is an easy one, which "b" has not finished: over all seeds of each it would lose 0.1 against dense."""
    store = make_grid(tmp_path, {"dense": DENSE, "a": sparse(1e-5), "b": sparse(1e-4)}, seeds=(0, 1))
    for name, aucs in {"dense": (0.7, 0.9), "a": (0.68, 0.9), "b": (0.7, 0.0)}.items():
        for seed in (0, 1):
            set_validation(cell(store, name, seed=seed), aucs[seed])
    assert sweeps(load_frames(tmp_path))[0].chosen == ["a"]
    unfinished = cell(store, "b", seed=1)
    unfinished.note(status="training")
    (found,) = sweeps(load_frames(tmp_path))
    assert found.chosen == ["b"]
    rows = {row["head"]: row["validation_auc"].mean for row in lambda_sweep(load_frames(tmp_path)).rows}
    assert rows == pytest.approx({"dense": 0.8, "a": 0.79, "b": 0.7})


def test_without_a_dense_head_nothing_is_chosen(tmp_path: Path) -> None:
    found = sweep(tmp_path, {"a": 0.9, "b": 0.9}, {"a": 1e-5, "b": 1e-4}, dense=False)
    assert found.chosen == []
    assert "no head without a penalty" in found.verdict


def test_dense_is_of_the_same_method_and_pooling(tmp_path: Path) -> None:
    heads = {
        "converted": head("converted", paper="arXiv:2"),
        "dense max": head("dense", pooling="max"),
        "dense": DENSE,
        "both": head("elastic", l1=1e-5, l2=1e-5, pooling="avg"),
        "a": sparse(1e-5),
        "b": sparse(1e-4),
        "ridge a": head("ridge", l2=1e-5, ridge="norm", pooling="avg"),
        "ridge b": head("ridge", l2=1e-4, ridge="norm", pooling="avg"),
    }
    make_grid(tmp_path, heads)
    found = sweeps(load_frames(tmp_path))
    assert [(one.penalty, [each.head for each in one.heads]) for one in found] == [
        ("l1", ["dense", "a", "b"]),
        ("l2", ["dense", "ridge a", "ridge b"]),
    ]


def grid_tables(frames: Frames) -> dict[str, TableData]:
    names = ("lambda_sweep", "resolution", "pooling", "cross_domain")
    return {name: table for name, table in every_table(frames).items() if name in names}


def test_one_lambda_or_unknown_parameters_are_no_sweep(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE, "a": sparse(1e-5), "b": sparse(1e-4)})
    assert "lambda_sweep" in grid_tables(load_frames(tmp_path))
    cell(store, "b").note(parameters=None)
    assert grid_tables(load_frames(tmp_path)) == {}


def test_sweep_rows_are_the_stored_numbers(tmp_path: Path) -> None:
    heads = {"plain": PLAIN, "dense": DENSE, "a": sparse(1e-5), "b": sparse(1e-4)}
    store = make_grid(tmp_path, heads, seeds=(0, 1))
    for seed in (0, 1):
        set_validation(cell(store, "a", seed=seed), 0.5, 0.7 + 0.1 * seed, 0.6)
    ratios = np.array([0.0] * 6 + [0.3] * 18)
    set_scores(cell(store, "a", seed=0), "evidence", "positive_ratio", ratios)
    set_scores(cell(store, "a", seed=1), "evidence", "positive_ratio", 0.5)
    row = next(row for row in lambda_sweep(load_frames(tmp_path)).rows if row["head"] == "a")
    assert row["validation_auc"].mean == pytest.approx(0.75)
    assert row["no_positive_evidence"].mean == pytest.approx(6 / 24 / 2)
    aucs, precisions = [], []
    for seed in (0, 1):
        files = cell(store, "a", seed=seed)
        frame = pd.read_parquet(files.predictions)
        aucs.append(roc_auc_score(frame["label"], frame["logit_1"] - frame["logit_0"]))
        scores = pd.read_parquet(files.scores_file("evidence"))
        precisions.append(scores.loc[scores["metric"] == "activation_precision", "value"].mean())
    assert row["auc"].mean == pytest.approx(np.mean(aucs))
    assert row["auc"].low < row["auc"].mean < row["auc"].high
    assert row["activation_precision"].mean == pytest.approx(np.mean(precisions))


def test_resolution_puts_sizes_of_one_data_set_in_order(tmp_path: Path) -> None:
    sizes = {f"first@size={size}": {"base": "first", "size": size, "grid": [size // 32] * 2} for size in (512, 256)}
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, sizes | {"other": {"size": 64}})
    table = resolution(load_frames(tmp_path))
    shown = [(row["head"], row["input side"], row["evidence grid"], row["explainer"]) for row in table.rows]
    assert shown == [
        ("plain", 256, "8×8", "–"),
        ("plain", 512, "16×16", "–"),
        ("dense", 256, "8×8", "evidence"),
        ("dense", 512, "16×16", "evidence"),
    ]
    scores = pd.read_parquet(cell(store, "dense", "first@size=256").scores_file("evidence"))
    wanted = scores[(scores["metric"] == "audc") & (scores["variant"] == "blur")]["value"].mean()
    assert table.rows[2]["audc@blur"].mean == pytest.approx(wanted)
    assert "audc@blur" not in table.rows[0]


def test_pooling_compares_heads_that_differ_in_nothing_else(tmp_path: Path) -> None:
    heads = {"dense": DENSE, "dense max": head("dense", pooling="max"), "a": sparse(1e-5)}
    store = make_grid(tmp_path, heads)
    table = pooling(load_frames(tmp_path))
    assert [(row["base"], row["pooling"], row["head"]) for row in table.rows] == [
        ("dense", "avg", "dense"),
        ("dense", "max", "dense max"),
    ]
    scores = pd.read_parquet(cell(store, "dense max").scores_file("evidence"))
    gap = scores.loc[scores["metric"] == "evidence_gap", "value"].mean()
    assert table.rows[1]["evidence_gap"].mean == pytest.approx(gap)


def test_domains_are_columns_and_best_is_by_the_direction_of_the_metric(tmp_path: Path) -> None:
    datasets = {"x": {"modality": "cxr"}, "y": {"modality": "other"}}
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, datasets)
    for name, value in {"evidence": 0.2, "post_a": 0.5, "post_b": 0.6, "noise": 0.1}.items():
        files = cell(store, "dense" if name == "evidence" else "plain", "x")
        for metric in ("audc", "activation_precision"):
            set_scores(files, name, metric, value)
    table = cross_domain(load_frames(tmp_path))
    assert [column.name for column in table.columns] == ["x", "y"]
    best = {(table.rows[at]["metric"], table.rows[at]["explainer"]) for at, name in table.best() if name == "x"}
    assert ("audc@zero ↓", "evidence") in best  # a control that is lower does not compete
    assert ("activation precision ↑", "post_b") in best
    row = next(row for row in table.rows if row["metric"] == "audc@zero ↓" and row["explainer"] == "post_a")
    assert row["x"].mean == pytest.approx(0.5)


def test_scores_of_classifiers_have_the_intervals_of_all_tables(tmp_path: Path) -> None:
    make_grid(tmp_path, {"plain": PLAIN})
    frames = load_frames(tmp_path)
    table = all_tables(frames)["classification"]
    rows = frames.predictions.rows().sort_values("image")
    labels, margin = rows["label"], rows["logit_1"] - rows["logit_0"]
    drawn = [roc_auc_score(labels, margin, sample_weight=one) for one in next(image_replicates(rows["group"], 500))]
    auc = roc_auc_score(labels, margin)
    low, high = limits_of_one(auc, np.array(drawn), rows["group"], (0, 1))
    found = table.rows[0]["auc"]
    assert (found.mean, found.low, found.high) == pytest.approx((auc, low, high))
    assert "not means over images" in table.reading
    assert "means over images with" not in table.reading


def test_maps_without_a_sign_have_no_part_in_consistency(tmp_path: Path) -> None:
    """They are positive by construction: a share of 1 is no agreement with the label, and not the best."""
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, {name: {"modality": name} for name in "xy"})
    for name in "xy":
        set_scores(cell(store, "plain", name), "post_b", "positive_ratio", 1.0)
    frames = load_frames(tmp_path)
    across = cross_domain(frames)
    shown = {row["explainer"] for row in across.rows if row["metric"] == "positive ratio ↑"}
    assert shown == {"evidence", "post_a"}
    assert {row["explainer"] for row in across.rows if row["metric"] == "audc@zero ↓"} >= {"post_b", "noise"}
    table = all_tables(frames)["consistency"]
    assert "post_b" in {row["explainer"] for row in table.rows}
    assert {table.rows[at]["explainer"] for at, _ in table.best()} <= {"evidence", "post_a"}


def test_the_best_post_hoc_method_is_that_of_each_data_set(tmp_path: Path) -> None:
    """post_a is best on x, post_b on y and on average."""
    store = make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, {name: {"modality": name} for name in "xy"})
    scores = {("x", "post_a"): 0.5, ("x", "post_b"): 0.6, ("y", "post_a"): 0.9, ("y", "post_b"): 0.3}
    for (name, explainer), value in scores.items():
        set_scores(cell(store, "plain", name), explainer, "audc", value)
    frames = load_frames(tmp_path)
    best = _best_post_hoc(cross_domain(frames), ["x", "y"])
    assert [best["audc@zero ↓", name]["explainer"] for name in "xy"] == ["post_a", "post_b"]
    with paper_style():
        (drawing,) = draw_cross_domain(frames)
    (panel,) = [axis for axis in drawing.figure.axes if axis.get_title().startswith("audc@zero")]
    assert panel.get_title() == "audc@zero ↓\n(n = 24)"
    assert {text.get_text() for text in panel.texts} == {"1", "2"}


def test_variants_and_settings_of_one_data_set_are_no_domains(tmp_path: Path) -> None:
    bases = {"x": "x", "x@grades": "x@grades", "x@shortcut=tag:0.9": "x"}
    datasets = {name: {"modality": "cxr", "base": base} for name, base in bases.items()}
    make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, datasets)
    assert grid_tables(load_frames(tmp_path)) == {}


@pytest.mark.parametrize("names", [("x", "y"), ("folder:a", "folder:b"), ("folder:/a@1", "folder:/a@2")])
def test_two_data_sets_of_one_modality_are_domains(names: tuple[str, str], tmp_path: Path) -> None:
    make_grid(tmp_path, {"plain": PLAIN, "dense": DENSE}, {name: {"modality": "other"} for name in names})
    assert [column.name for column in cross_domain(load_frames(tmp_path)).columns] == list(names)
    assert set(grid_tables(load_frames(tmp_path))) == {"cross_domain"}


@pytest.mark.usefixtures("unsaved")
def test_every_study_is_drawn_even_where_a_data_set_has_no_masks(tmp_path: Path) -> None:
    heads = {"plain": PLAIN, "dense": DENSE, "dense max": head("dense", pooling="max")}
    heads |= {"a": sparse(2e-5), "b": sparse(5e-5)}
    sizes = {f"x@size={size}": {"base": "x", "size": size, "modality": "cxr"} for size in (64, 96)}
    store = make_grid(tmp_path, heads, sizes | {"y": {"modality": "oct"}})
    for name in heads:
        for explainer in ("evidence", "post_a", "post_b", "noise"):
            if cell(store, name, "y").scores_file(explainer).exists():
                for metric in ("activation_precision", "activation_sensitivity", "topk_precision"):
                    set_scores(cell(store, name, "y"), explainer, metric, np.nan)
    captions = draw_figures(load_frames(tmp_path), Manifest(tmp_path / "figures"))
    assert {"lambda_sweep", "resolution", "pooling", "cross_domain"} <= set(captions)
