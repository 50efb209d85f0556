"""Maps are drawn where the cells of the feature map look: planted networks, whole runs, and what depends on it."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import bench.models.geometry
from bench.config import Config
from bench.configs.sections import ExplainSection
from bench.contracts import Batch, Classifier, Explainer, Geometry, UserError
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.scoring import score
from bench.files import read_json
from bench.registry import EXPLAINERS, register_explainer
from bench.report.figures.gallery import load_maps, overlay
from bench.report.figures.looks import methods_in
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import load_frames
from bench.report.tables.main import all_tables
from bench.report.tables.notes import alignment_note, note_alignment
from bench.store.scores import read_metadata
from tests.oracles import bicubic
from tests.support.made import registered_squares, run_tiny, squares, tiny_config

SIDE, STRIDE = 48, 8


class Peak(nn.Module):
    """A strided, padded convolution that looks at one pixel: cell i is the brightness at pixel 8i."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=STRIDE, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()[:, :, 1, 1] = 1 / 3

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


class Brightness(Explainer):
    """The feature map itself."""

    name, family, signed, paper, grid = "brightness", "post-hoc", False, "", "features"

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return classifier.forward_features(images).mean(dim=1)


class Everywhere(nn.Module):
    """A feature map of which every cell is a mixture of all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 4, STRIDE, STRIDE), nn.Linear(36, 36)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.patches(images).flatten(2)).unflatten(2, (6, 6))


def classifier_of(features: nn.Module, channels: int) -> Classifier:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))
    return Classifier(features, head, 2).eval().requires_grad_(False)


def context_of(classifier: Classifier, align: str) -> EvaluationContext:
    """Images with a lesion of 5×5 pixels around the pixel that one cell looks at."""
    cells = [(2, 3), (4, 1), (1, 1)]
    masks = np.zeros((3, SIDE, SIDE), bool)
    for mask, (row, column) in zip(masks, cells, strict=True):
        mask[STRIDE * row - 2 : STRIDE * row + 3, STRIDE * column - 2 : STRIDE * column + 3] = True
    images = np.repeat(masks[:, None], 3, axis=1).astype(np.uint8) * 255
    names = ("a", "b", "c")
    split = Split(
        "test", images, np.ones(3, int), masks, np.ones(3, bool), None, None, names, names, ("no", "yes"), (), ""
    )
    return EvaluationContext(
        classifier, split, Selection(np.arange(3), np.ones(3, bool), 0), ExplainSection(align=align), np.zeros((3, 2)),
        np.ones(3, int), (0.0,) * 3, (1.0,) * 3, torch.device("cpu"), [], 0, ("made",),
    )  # fmt: skip


def pointing(classifier: Classifier, align: str) -> list[float]:
    rows = score(context_of(classifier, align), "brightness", Brightness(), resolve_metrics(["pointing_game"])).rows
    return rows.loc[rows["metric"] == "pointing_game", "value"].tolist()


def test_a_planted_network_finds_every_lesion_only_where_its_cells_look() -> None:
    classifier = classifier_of(Peak(), 2)
    assert classifier.geometry((SIDE, SIDE)) == Geometry((0.5, 0.5), (8, 8), (3, 3))
    assert pointing(classifier, "receptive-field") == [1, 1, 1]
    assert pointing(classifier, "grid") == [0, 0, 0]


def test_a_geometry_is_computed_once_per_size_and_goes_with_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    real = bench.models.geometry.geometry_of
    monkeypatch.setattr(bench.models.geometry, "geometry_of", lambda one, size: calls.append(size) or real(one, size))
    classifier = classifier_of(Peak(), 2)
    known = [classifier.geometry((SIDE, SIDE)) for _ in range(2)]
    assert copy.deepcopy(classifier).geometry((SIDE, SIDE)) == known[0] == known[1]
    classifier.geometry((64, 48))
    assert calls == [(SIDE, SIDE), (64, 48)]


def test_an_unknown_geometry_falls_back_to_the_convention() -> None:
    classifier = classifier_of(Everywhere(), 4)
    assert classifier.geometry((SIDE, SIDE)) is None
    maps = torch.randn(2, 6, 6, dtype=torch.float64)
    drawn = context_of(classifier, "receptive-field").draw(Brightness(), maps)
    for image, ours in zip(maps, drawn, strict=True):
        np.testing.assert_allclose(ours, bicubic.resize(image.numpy(), SIDE, SIDE), atol=1e-12)


def test_maps_that_are_not_on_the_stated_grid_are_refused() -> None:
    class Finer(Brightness):
        name = "finer"

        def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
            return batch.images.mean(dim=1)

    with pytest.raises(UserError, match=r"returned maps of 48×48 cells, but the feature map .* has 6×6"):
        score(context_of(classifier_of(Peak(), 2), "grid"), "finer", Finer(), resolve_metrics(["gini"]))


def test_registration_checks_the_grid() -> None:
    class Wrong(Brightness):
        name, grid = "wrong", "cells"  # type: ignore[assignment]

    with pytest.raises(UserError, match="explainer Wrong: grid is 'cells', one of 'features', 'pixels' is expected"):
        register_explainer(Wrong)
    assert "wrong" not in EXPLAINERS


# --- A run -----------------------------------------------------------------------------------------------------------

EXPLAINED = ["softcam", "gradcam", "inputxgradient", "mask_oracle", "grid_oracle"]


def config(align: str, **run: Any) -> Config:
    settings = tiny_config(explainers=EXPLAINED, metrics=["pixel_auroc", "audc@zero"], **run)
    return settings.model_copy(update={"explain": settings.explain.model_copy(update={"align": align})})


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aligned") / "run"
    with registered_squares():
        assert run_tiny(folder, config("receptive-field"), save_maps=True).problems == []
    return folder


def fingerprints(folder: Path) -> dict[str, str]:
    files = folder.glob("cells/squares/compact-blackbox-s0/scores/*.parquet")
    return {file.stem: read_metadata(file)["fingerprint"] for file in files}


@pytest.mark.usefixtures("squares")
def test_another_alignment_computes_feature_maps_anew_and_nothing_else(aligned: Path, tmp_path: Path) -> None:
    out = shutil.copytree(aligned, tmp_path / "run")
    before = fingerprints(out)
    assert run_tiny(out, config("grid"), save_maps=True).problems == []
    after = fingerprints(out)
    assert {name for name in before if before[name] != after[name]} == {"gradcam", "grid_oracle"}
    cells = load_frames(out).cells["record"]
    assert {record.align for record in cells} == {"grid"}
    assert alignment_note(load_frames(out)) == "Cells of feature maps are drawn evenly over the image (align = grid)."


def test_scores_are_those_of_the_saved_maps_drawn_by_the_saved_geometry(aligned: Path) -> None:
    masks = {one.id: one.mask.numpy() for one in squares(aligned, "test")}
    scores = load_frames(aligned).rows().query("metric == 'pixel_auroc'")
    for cell in sorted(aligned.glob("cells/squares/*")):
        for file in sorted(cell.glob("maps/*.npz")):
            drawing = read_json(file.with_suffix(".json"))
            assert drawing["grid"] == EXPLAINERS[file.stem].grid
            assert (drawing["geometry"] is None) == (drawing["grid"] == "pixels")
            rows = pd.read_parquet(cell / "scores" / f"{file.stem}.parquet").query("metric == 'pixel_auroc'")
            with np.load(file) as maps:
                for row in rows.itertuples():
                    drawn = maps[row.image].astype(float)
                    if drawing["geometry"]:
                        assert (drawing["geometry"]["start"], drawing["geometry"]["stride"]) == ([0.5] * 2, [8] * 2)
                        drawn = bicubic.draw(drawn, (32, 32), (0.5, 0.5), (8, 8))
                    expected = roc_auc_score(masks[row.image].ravel(), drawn.ravel())
                    assert row.value == pytest.approx(expected, abs=1e-3)
    assert len(scores)


def test_the_record_and_the_report_say_where_cells_look(aligned: Path, tmp_path: Path) -> None:
    frames = load_frames(aligned)
    for record in frames.cells["record"]:
        assert (record.geometry.start, record.geometry.stride, record.align) == (
            (0.5,) * 2,
            (8,) * 2,
            "receptive-field",
        )
    note = "Cells of feature maps are drawn where they look (align = receptive-field)."
    assert alignment_note(frames) == note
    tables = all_tables(frames)
    note_alignment(frames, tables)
    assert note in tables["localisation"].notes
    unknown = frames.cells["record"].map(lambda record: record.changed(geometry=None))
    said = alignment_note(replace(frames, cells=frames.cells.assign(record=unknown)))
    assert said == f"{note} Unknown for compact, whose cells are drawn evenly over the image."


def test_the_gallery_paints_maps_where_cells_look(aligned: Path) -> None:
    frames = load_frames(aligned)
    methods = {method.explainer: method for method in methods_in(frames, compared_rows(frames))}
    for name, grid in (("gradcam", True), ("inputxgradient", False)):
        kept = load_maps(frames, "squares", methods[name], 2)
        assert kept is not None
        assert (kept.geometry is not None) == grid
    one = np.zeros((4, 4))
    one[2, 1] = 1
    facts = frames.cells["record"].iloc[0].geometry
    drawn, even = (overlay(one, np.full((3, 32, 32), 0.5), True, where) for where in (facts, None))
    strongest = [np.argwhere(image[..., 1] == image[..., 1].min()).mean(axis=0) for image in (drawn, even)]
    np.testing.assert_allclose(strongest, [(16, 8), (19.5, 11.5)], atol=0.5)


def test_a_run_with_an_unknown_geometry_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Classifier, "geometry", lambda self, size: None)
    with registered_squares():
        assert run_tiny(tmp_path / "run", config("receptive-field", heads=["blackbox"])).problems == []
    frames = load_frames(tmp_path / "run")
    assert frames.cells["record"][0].geometry is None
    assert "Unknown for compact" in alignment_note(frames)
