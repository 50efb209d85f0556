"""Figures and page: the numbers that are drawn, and that every figure survives what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from bench.metrics import topk_precision
from bench.report.contents import draw_figures
from bench.report.figures.curve_figures import DELETION, best_post_hoc, distinct_looks, first_curves, method_curves
from bench.report.figures.gallery import load_images, overlay, row_names, tiles
from bench.report.figures.looks import Method, methods_in
from bench.report.figures.scatter import place_labels, precision_and_sensitivity
from bench.report.figures.style import Look
from bench.report.figures.tile_grid import outlines, wrapped
from bench.report.frames import curves as curves_of_frames
from bench.report.frames.compared import compared_rows
from bench.report.frames.curves import hit_share, image_curves, mean_curves, relative_to_intact
from bench.report.frames.load import Frames, load_frames
from bench.statistics.intervals import estimate_mean
from bench.store.manifest import Manifest
from bench.store.records import CellKey, CellRecord, DatasetFacts
from tests.support.page import content, written
from tests.support.report_store import PLAN, make_run, rows

CURVES = ["topk_precision", "precision_sensitivity", "deletion_curves", "insertion_curves"]
NAN = float("nan")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return load_frames(folder)


def method(name: str, family: str = "post-hoc", color: str = "red") -> Method:
    return Method(name, "plain", family, name, True, Look(color))


# --- The numbers -----------------------------------------------------------------------------------------------------


def test_hit_share_counts_the_patches_that_exist() -> None:
    hits = np.array([[1, 0, 0, 1], [0, 1, NAN, NAN], [NAN] * 4])
    expected = np.array([[1, 1 / 2, 1 / 3, 1 / 2], [0, 1 / 2, 1 / 2, 1 / 2], [NAN] * 4])
    np.testing.assert_allclose(hit_share(hits), expected)


def test_hit_share_ends_at_the_metric_of_the_tables() -> None:
    hits = np.random.default_rng(0).integers(0, 2, size=(6, 30)).astype(float)
    hits[2, 7:] = hits[4] = NAN
    np.testing.assert_allclose(hit_share(hits)[:, -1], topk_precision(torch.tensor(hits)).numpy())


def test_deletion_is_relative_to_the_intact_image() -> None:
    curves = relative_to_intact(np.array([[0.8, 0.4, 0.2], [0.5, 1.0, 0.0], [0.0, 0.3, 0.3]]))
    np.testing.assert_allclose(curves, np.array([[1, 0.5, 0.25], [1, 2, 0], [NAN] * 3]))


def test_seeds_are_averaged_within_each_image() -> None:
    first = rows("deletion_curve", np.array([[1.0, 0.5], [1.0, 0.1]])).assign(seed=0)
    second = rows("deletion_curve", np.array([[0.5, 0.5], [0.0, 0.9]])).assign(seed=1)  # its second one is undefined
    curves, groups = image_curves(pd.concat([second, first]), relative_to_intact)
    np.testing.assert_allclose(curves, [[1, 0.75], [1, 0.1]])
    assert groups.to_numpy().tolist() == ["i0", "i1"]


def test_mean_curve_leaves_out_and_counts_undefined_images() -> None:
    curves = np.array([[1.0, 0.0, 0.3]] * 3 + [[0.0, 1.0, NAN], [1.0, 1.0, 0.5], [0.0, 1.0, 0.4], [NAN] * 3])
    curve = mean_curves([(curves, np.array(list("abcdefg"), dtype=object))], (0, 1))[0]
    np.testing.assert_allclose(curve.mean, [4 / 6, 3 / 6, 1.8 / 5])
    assert (curve.n, curve.undefined) == (6, 1)
    for step in range(3):
        scores = pd.Series(curves[:6, step])
        known = scores.notna()
        names = pd.Series(list("abcdef"))
        table = estimate_mean(scores[known], names[known], names[known]).within(0, 1)
        found = (curve.mean[step], curve.low[step], curve.high[step])
        assert found == pytest.approx((table.mean, table.low, table.high), abs=0.05)  # as in the tables of scores
    assert curve.high[0] == 1


def test_intervals_do_not_depend_on_what_is_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, groups = np.random.default_rng(0), np.repeat(np.arange(9).astype(str).astype(object), 2)
    methods = [(generator.uniform(0, 1, (18, 3)), groups) for _ in range(3)]
    methods.insert(1, (generator.uniform(0, 1, (6, 3)), groups[:6]))
    together = mean_curves(methods, (0, 1))
    monkeypatch.setattr(curves_of_frames, "_WAITING", 0)
    for one, other in zip(together, mean_curves(iter(methods), (0, 1)), strict=True):
        assert (one.n, one.undefined) == (other.n, other.undefined)
        for name in ("mean", "low", "high"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-13)


def test_few_groups_have_no_interval() -> None:
    curve = mean_curves([(np.array([[1.0], [0.0]] * 4), np.array(list("abcdabcd"), dtype=object))])[0]
    assert curve.mean == [0.5]
    assert np.isnan([*curve.low, *curve.high]).all()


def test_best_post_hoc_methods_are_those_with_the_best_mean_over_data_sets() -> None:
    def flat(height: float) -> Any:
        return mean_curves([(np.full((1, 3), height), np.array(["a"], dtype=object))])[0]

    high_once, steady, control = method("high once"), method("steady"), method("control", "control")
    curves = {"one": {high_once: flat(0.9), steady: flat(0.6), control: flat(1.0)}, "two": {high_once: flat(0.1)}}
    curves["two"][steady] = flat(0.6)
    assert best_post_hoc(curves, better=True) == [steady, high_once]
    assert best_post_hoc(curves, better=False) == [high_once, steady]


def test_method_curves_are_of_the_compared_methods(frames: Frames) -> None:
    curves = method_curves(frames, "topk_hits", "", hit_share)
    assert list(curves) == ["first", "folder:/a <b>"]
    assert [one.label for one in curves["first"]] == ["own", "post_a", "post_b", "noise"]
    stored = pd.read_parquet(next(frames.store.folder.glob("cells/first/*-own-*/scores/evidence.parquet")))
    values = stored.loc[stored["metric"] == "topk_hits", "value"].to_numpy().reshape(4, 3)
    own = next(iter(curves["first"].values()))
    np.testing.assert_allclose(own.mean, hit_share(values).mean(axis=0))


def test_points_are_the_means_of_precision_and_sensitivity(frames: Frames) -> None:
    point = precision_and_sensitivity(frames)["first"][1]
    scores = frames.rows()
    mine = scores[(scores["dataset"] == "first") & (scores["explainer"] == "post_a") & (scores["head"] == "plain")]
    means = mine.groupby("metric")["value"].mean()
    assert point.method.label == "post_a"
    assert point.precision.mean == pytest.approx(means["activation_precision"])
    assert point.sensitivity.mean == pytest.approx(means["activation_sensitivity"])


def test_the_first_operator_is_the_one_the_run_asked_for_first(frames: Frames) -> None:
    stored = pd.read_parquet(next(frames.store.folder.glob("cells/first/*/scores/post_a.parquet")))
    assert stored.loc[stored["metric"] == "deletion_curve", "variant"].iloc[0] == "blur"
    assert first_curves(frames, DELETION)[0] == "zero"


def test_coloured_methods_never_share_a_colour() -> None:
    looks = distinct_looks([method("a", color="#E69F00"), method("b", color="#E69F00"), method("c", color="#56B4E9")])
    colors = [look.color for look in looks.values()]
    assert colors[0] == "#E69F00"
    assert len(set(colors)) == 3


# --- Placing and painting --------------------------------------------------------------------------------------------


def test_labels_cover_neither_points_nor_each_other() -> None:
    points = np.array([[50.0, 50], [52, 50], [54, 51], [50, 53], [96, 98]])
    offsets = place_labels(points, [0, 1, 2, 4], np.array([[0.0, 0], [100, 100]]))
    places = points[[0, 1, 2, 4]] + offsets
    assert all(not (abs(place - other) < (10, 8)).all() for i, place in enumerate(places) for other in places[:i])
    assert all(not (abs(place - point) < (5, 4)).all() for place in places for point in points)
    assert ((places > (5, 4)) & (places < (95, 96))).all()


def test_no_evidence_leaves_the_image_and_the_sign_gives_the_hue() -> None:
    image = np.full((3, 8, 8), 0.5)
    native = np.zeros((4, 4))
    white = overlay(native, image, signed=False)
    np.testing.assert_allclose(white, 0.75, atol=0.02)
    native[0, 0], native[3, 3] = 5, -5
    painted = overlay(native, image, signed=True)
    assert painted[0, 0, 0] > 3 * painted[0, 0, 2]
    assert painted[7, 7, 2] > 3 * painted[7, 7, 0]
    np.testing.assert_allclose(overlay(native * 1e-6, image, signed=True), painted)
    native[1, 1] = NAN
    assert len(np.unique(overlay(native, image, signed=True))) == 1


def test_outlines_run_along_the_edge_of_the_mask() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2:4, 5:8] = True
    (line,) = outlines(mask)
    np.testing.assert_allclose([line.min(axis=0), line.max(axis=0)], [[5, 2], [8, 4]])


def test_maps_of_other_images_than_the_kept_ones_are_not_shown(tmp_path: Path) -> None:
    store = make_run(tmp_path, datasets=("first",))
    frames = load_frames(tmp_path)
    np.savez(store.cell(CellKey("first", "small", "plain", 0)).gallery_file("post_a"), np.zeros((4, 4)))
    images = load_images(frames, "first")
    assert images is not None
    methods = methods_in(frames, compared_rows(frames))
    assert [one.label for one in tiles(frames, "first", images, methods)] == ["own", "post_b", "noise"]
    store.images_file("first").unlink()
    assert load_images(frames, "first") is None


def test_rows_name_the_probability_of_the_explained_class(frames: Frames) -> None:
    images = load_images(frames, "first")
    assert images is not None
    names = row_names(frames, "first", images, "plain", pd.Series({"i0": 1}))
    known = frames.predictions.where(dataset=["first"], head=["plain"]).rows().set_index("image").loc["i0"]
    probability = 1 / (1 + np.exp(known["logit_0"] - known["logit_1"]))
    assert names == [["i0", "ill", f"p(ill) = {probability:.2f}"], ["i4", "healthy"]]


def test_long_names_are_broken() -> None:
    assert wrapped("softcam-sparse") == "softcam-\nsparse"
    assert wrapped("integrated_gradients") == "integrated_\ngradients"
    assert wrapped("gradcam++") == "gradcam++"
    assert max(map(len, wrapped("x" * 40).split("\n"))) <= 12


# --- Whole figures ---------------------------------------------------------------------------------------------------


def test_every_figure_is_written_and_nothing_else(frames: Frames, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    captions = draw_figures(frames, Manifest(tmp_path))
    galleries = ["gallery_first", next(stem for stem in captions if stem.startswith("gallery_folder"))]
    assert list(captions) == [*CURVES, *galleries, "training_curves", "accuracy_by_head"]
    assert {file.name for file in tmp_path.glob("[!.]*")} == {
        f"{stem}.{end}" for stem in captions for end in ("png", "pdf")
    }
    assert dict(matplotlib.rcParams) == before
    assert "operator: zero" in captions["deletion_curves"].reading


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"masks": False}, ["topk_precision", "precision_sensitivity"]),
        ({"heads": ("own",), "explainers": ("evidence",)}, []),
        ({"heads": ("plain",), "explainers": ("post_a",)}, []),
        ({"heads": ("plain",), "explainers": ("noise",)}, []),
        ({"heads": ("plain",), "explainers": ("evidence",)}, [*CURVES, "gallery_first"]),
    ],
)
def test_figures_without_data_are_left_out(options: dict[str, Any], absent: list[str], tmp_path: Path) -> None:
    make_run(tmp_path, datasets=("first",), **options)
    captions = draw_figures(load_frames(tmp_path), Manifest(tmp_path / "figures"))
    everything = [*CURVES, "gallery_first", "training_curves", "accuracy_by_head"]
    assert list(captions) == [stem for stem in everything if stem not in absent]


@pytest.mark.usefixtures("unsaved")
def test_failed_cells_leave_gaps_and_nothing_at_all_draws_nothing(tmp_path: Path) -> None:
    store = make_run(tmp_path, datasets=("first", "second"))
    cells = load_frames(tmp_path).cells
    for count, row in enumerate(cells.itertuples(), start=1):
        load_frames(tmp_path).cell(row).first.write_record(CellRecord(status="failed", reason="broken", plan=PLAN))
        if count == 1:
            assert "topk_precision" in draw_figures(load_frames(tmp_path), Manifest(tmp_path / "some"))
    unknown = {name: DatasetFacts(base=name, size=16) for name in ("first", "second")}
    store.write_record(store.record.changed(datasets=unknown))
    frames = load_frames(tmp_path)
    assert draw_figures(frames, Manifest(tmp_path / "none")) == {}
    assert "broken" in written(content(tmp_path, {}), tmp_path).read_text()


@pytest.mark.usefixtures("unsaved")
def test_each_backbone_has_its_own_figures(tmp_path: Path) -> None:
    make_run(tmp_path, datasets=("first",), backbones=("small", "large"), seeds=(0, 1), explainers=("post_a",))
    captions = draw_figures(load_frames(tmp_path), Manifest(tmp_path / "figures"))
    assert next(iter(captions)) == "topk_precision_small"
    assert "accuracy_by_head_large" in captions
    assert "averaged over 2 seeds" in captions["topk_precision_large"].reading
