"""More than two classes: maps of every class, scores by class, and that neither touches the main scores."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from bench.config import Config
from bench.contracts import EVERY_CLASS, OWN_CLASS, Batch, Classifier, EvidenceClassifier, Explainer
from bench.data.prepare import Prepared, prepare
from bench.data.selection import Selection, gallery_positions
from bench.data.split import normalise
from bench.evaluation.per_class import own_class_positions
from bench.metrics import patch_at
from bench.progress import RunProgress
from bench.registry import DATASETS, EXPLAINERS
from bench.report.build import build_report
from bench.report.figures.class_maps import load_class_maps
from bench.report.figures.gallery import load_images, overlays
from bench.report.figures.looks import methods_in
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames, load_frames
from bench.report.tables.main import all_tables
from bench.run.plan import make_plan
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey
from bench.store.scores import read_metadata
from bench.training.classifier import CellClassifier
from tests.support.made import registered_squares, run_tiny, tiny_config

CLASSES = ["plain", "bright", "dark"]
STEPS = 3

pytestmark = pytest.mark.usefixtures("squares")


def config(every_class: bool = True, dataset: str = "shapes") -> Config:
    tiny = tiny_config(datasets=[dataset])
    update = {"diseased": 6, "healthy": 3, "faithful": 3, "gallery": 3, "steps": STEPS, "every_class": every_class}
    return tiny.model_copy(update={"explain": tiny.explain.model_copy(update=update)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes; not to be written to."""
    folder = tmp_path_factory.mktemp("classes") / "run"
    with registered_squares():
        outcome = run_tiny(folder, config())
    assert outcome.problems == []
    return folder


@pytest.fixture(scope="module")
def frames(finished: Path) -> Frames:
    return load_frames(finished)


def cell_of(folder: Path, head: str) -> CellStore:
    return RunStore(folder).cell(CellKey("shapes", "compact", head, 0))


def trained(folder: Path, tmp_path: Path, head: str) -> tuple[EvidenceClassifier, Prepared]:
    """The classifier of a finished run, and its images."""
    shutil.copytree(folder, tmp_path / "run")
    settings = config()
    plan = make_plan(settings, tmp_path)
    prepared = prepare(DATASETS["shapes"], settings, folder, folder / "cache", skip_bad=False)
    progress = RunProgress(Console(quiet=True), [])
    key, store = CellKey("shapes", "compact", head, 0), cell_of(tmp_path / "run", head)
    cell = CellClassifier(key, store, prepared, plan.cells[key], settings, torch.device("cpu"), progress)
    classifier = cell.load()
    assert not cell.computed
    return classifier, prepared


def one_image(prepared: Prepared, name: str) -> torch.Tensor:
    """(1,3,H,W) normalised."""
    split = prepared.explain
    return normalise(split.batch([split.ids.index(name)]), prepared.data.mean, prepared.data.std)


# --- The rows of each class ------------------------------------------------------------------------------------------


def test_every_class_has_rows_and_none_has_less_than_a_disease_s_share(frames: Frames) -> None:
    scores = pd.concat([frames.scores, frames.own_class])
    own = scores[(scores["metric"] == "audc") & (scores["label"] == scores["target"])]
    counts = own.groupby(["explainer", "head", "label"])["image"].nunique().unstack()
    assert counts.columns.tolist() == [0, 1, 2]
    assert (counts >= 2).all(axis=None)  # 3 occluded images, 2 diseases
    assert (counts[0] == 2).all()
    both = own.groupby(["explainer", "head", "image", "variant"]).size()
    assert (both == 1).all()  # no image counts twice


def test_rows_of_the_healthy_class_equal_a_deletion_by_hand(finished: Path, frames: Frames, tmp_path: Path) -> None:
    rows = frames.own_class
    rows = rows[(rows["explainer"] == "softcam") & (rows["variant"] == "zero") & (rows["label"] == 0)]
    name = rows["image"].iloc[0]
    rows = rows[rows["image"] == name].set_index("metric")
    assert (rows["target"] == 0).all()
    classifier, prepared = trained(finished, tmp_path, "softcam-sparse")
    image = one_image(prepared, name)
    with torch.no_grad():
        evidence = classifier.forward_evidence(image)[:, 0]
        large = F.interpolate(evidence[None], image.shape[2:], mode="bicubic", align_corners=False)[0, 0]
        curve = [classifier(image).softmax(dim=1)[0, 0].item()]
        patch = patch_at(32)
        cells = [(row, column) for row in range(0, 32, patch) for column in range(0, 32, patch)]
        cells.sort(key=lambda at: -large[at[0] : at[0] + patch, at[1] : at[1] + patch].max().item())
        for row, column in cells[:STEPS]:
            image[:, :, row : row + patch, column : column + patch] = 0
            curve.append(classifier(image).softmax(dim=1)[0, 0].item())
    stored = pd.read_parquet(cell_of(finished, "softcam-sparse").part(OWN_CLASS).scores_file("softcam"))
    steps = stored[(stored["image"] == name) & (stored["metric"] == "deletion_curve") & (stored["variant"] == "zero")]
    np.testing.assert_allclose(steps.sort_values("step")["value"], curve, atol=1e-6)
    area = sum((a + b) / 2 for a, b in pairwise(curve)) / STEPS / curve[0]
    assert rows.loc["audc", "value"] == pytest.approx(area, abs=1e-5)


def test_added_diseased_images_are_behind_those_of_the_main_scores() -> None:
    explained = Selection(np.arange(20, 30), np.arange(10) < 7, faithful=4)
    labels = np.array([2, 2, 2, 1, 2, 1, 1, 0, 0, 0])
    # Two diseases share 4 occluded images: 2 a class. Class 1 has one of them, healthy images have none.
    assert own_class_positions(labels, explained, 3).tolist() == [5, 7, 8]
    everything = Selection(np.arange(3), np.ones(3, bool), faithful=3)
    assert own_class_positions(np.array([1, 2, 2]), everything, 3).tolist() == []


# --- The table -------------------------------------------------------------------------------------------------------


def test_table_holds_the_means_of_each_class(finished: Path, frames: Frames) -> None:
    tables = all_tables(frames)
    table = tables["per_class"].numbers().set_index(["class", "explainer", "head"])
    assert list(dict.fromkeys(table.index.get_level_values("class"))) == CLASSES
    cell = cell_of(finished, "blackbox")
    files = [cell.scores_file("gradcam"), cell.part(OWN_CLASS).scores_file("gradcam")]
    stored = pd.concat(map(pd.read_parquet, files))
    stored = stored[(stored["metric"] == "audc") & (stored["variant"] == "zero")]
    for label, name in enumerate(CLASSES):
        values = stored.loc[(stored["label"] == label) & (stored["target"] == label), "value"]
        row = table.loc[(name, "gradcam", "blackbox")]
        assert row["audc@zero_mean"] == pytest.approx(values.mean())
        assert row["audc@zero_n"] == len(values) >= 2
    where = tables["per_class_localisation"].numbers().set_index(["class", "explainer", "head"])
    assert set(where.index.get_level_values("class")) == {"bright", "dark"}
    main = tables["localisation"].numbers().set_index(["explainer", "head"])
    parts = where.xs("gradcam", level="explainer")
    pooled = (parts["pixel_auroc_mean"] * parts["pixel_auroc_n"]).sum() / parts["pixel_auroc_n"].sum()
    assert pooled == pytest.approx(main.loc[("gradcam", "blackbox"), "pixel_auroc_mean"])


def test_best_is_sought_within_a_class(frames: Frames) -> None:
    table = all_tables(frames)["per_class"]
    marked = {table.rows[row]["class"] for row, column in table.best() if column == "audc@zero"}
    assert marked == set(CLASSES)


# --- What stays as it is ---------------------------------------------------------------------------------------------


def test_switching_it_on_touches_no_main_score(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, config(every_class=False))
    assert not list(out.rglob(OWN_CLASS)) + list(out.rglob(EVERY_CLASS))
    alone = all_tables(load_frames(out))
    before = {file: file.read_bytes() for folder in ("scores", "gallery") for file in out.rglob(f"{folder}/*")}
    assert before
    assert run_tiny(out, config()).computed
    assert before == {file: file.read_bytes() for file in before}
    beside = all_tables(load_frames(out))
    assert "plain" not in set(alone["per_class"].numbers()["class"])
    for name in set(alone) - {"per_class"}:
        pd.testing.assert_frame_equal(alone[name].numbers(), beside[name].numbers(), check_exact=True)
    assert not run_tiny(out, config()).computed
    run_tiny(out, config(every_class=False))
    assert load_frames(out).own_class.empty


def test_two_classes_have_no_parts(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, config(every_class=False, dataset="squares"))
    before = {file: file.read_bytes() for file in out.glob("cells/**/*.*")}
    assert not run_tiny(out, config(dataset="squares")).computed
    changed = {file for file, content in before.items() if file.read_bytes() != content}
    assert {file.name for file in changed} == {"cell.json"}  # it names the plan
    assert set(out.glob("cells/**/*.*")) == set(before)
    assert not {"per_class", "per_class_localisation"} & set(all_tables(load_frames(out)))


def test_a_failure_of_one_class_leaves_the_main_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EXPLAINERS["gradcam"].explain_batch

    def not_for_the_healthy(self: Explainer, classifier: Classifier, batch: Batch) -> torch.Tensor:
        if (batch.targets == 0).any():
            raise RuntimeError("no evidence against health")
        return real(self, classifier, batch)

    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", not_for_the_healthy)
    problems = run_tiny(tmp_path / "run", config()).problems
    assert any("'gradcam (own class)' failed: " in problem for problem in problems)
    frames = load_frames(tmp_path / "run")
    assert "gradcam" in set(frames.scores["explainer"])
    assert "gradcam" not in set(frames.own_class["explainer"])


def test_rows_of_other_settings_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is stopped between the main scores of new settings and those of the other classes."""
    out = tmp_path / "run"
    run_tiny(out, config())
    assert not load_frames(out).own_class.empty
    more = config()
    more = more.model_copy(update={"explain": more.explain.model_copy(update={"steps": STEPS + 1})})

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bench.evaluation.per_class.own_class", stop)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(out, more)
    plan = RunStore(out).record.plan
    cell_of(out, "blackbox").part(OWN_CLASS).note(plan=plan)
    frames = load_frames(out)
    row = next(frames.explained[frames.explained["explainer"] == "gradcam"].itertuples())
    assert set(frames.curve(row, "deletion_curve", "zero")["step"]) == set(range(STEPS + 2))
    assert frames.own_class.empty


# --- The maps --------------------------------------------------------------------------------------------------------


def test_maps_of_every_class_are_those_of_the_model(finished: Path, tmp_path: Path) -> None:
    classifier, prepared = trained(finished, tmp_path, "softcam-sparse")
    cell = cell_of(finished, "softcam-sparse")
    with np.load(RunStore(finished).images_file("shapes")) as kept:
        ids, labels = kept["ids"].tolist(), kept["labels"].tolist()
    assert sorted(labels) == [0, 1, 2]
    part = cell.part(EVERY_CLASS)
    for explainer in ("softcam", "gradcam"):
        with np.load(part.gallery_file(explainer)) as file, np.load(cell.gallery_file(explainer)) as main:
            for at, (name, label) in enumerate(zip(ids, labels, strict=True)):
                maps = np.stack([file[f"arr_{3 * at + one}"] for one in range(3)])
                if label:  # healthy images are explained for a disease
                    np.testing.assert_allclose(maps[label], main[f"arr_{at}"], atol=1e-6)
                if explainer == "softcam":
                    with torch.no_grad():
                        evidence = classifier.forward_evidence(one_image(prepared, name))[0]
                    np.testing.assert_allclose(maps, evidence.numpy(), atol=1e-5)


def test_saved_maps_hold_every_class_and_stay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, config())
    part = cell_of(out, "softcam-sparse").part(EVERY_CLASS)
    assert not part.maps_file("softcam").exists()
    gallery = part.gallery_file("softcam").read_bytes()
    assert run_tiny(out, config(), save_maps=True).computed
    with np.load(part.maps_file("softcam")) as maps, np.load(part.gallery_file("softcam")) as few:
        assert len(maps.files) == 9
        assert {maps[name].shape for name in maps.files} == {(3, 4, 4)}
        ids = np.load(RunStore(out).images_file("shapes"))["ids"].tolist()
        for at, name in enumerate(ids):
            np.testing.assert_array_equal(maps[name][2], few[f"arr_{3 * at + 2}"])
    assert not run_tiny(out, config()).computed
    assert part.maps_file("softcam").exists()
    assert part.gallery_file("softcam").stat().st_size == len(gallery)


def test_other_images_in_the_gallery_are_explained_anew(tmp_path: Path) -> None:
    """The part that has no metric of its own must notice what its maps depend on, too."""
    out = tmp_path / "run"
    run_tiny(out, config())
    file = cell_of(out, "blackbox").part(EVERY_CLASS).scores_file("gradcam")
    before = read_metadata(file)["fingerprint"]
    more = config()
    run_tiny(out, more.model_copy(update={"explain": more.explain.model_copy(update={"gallery": 4})}))
    assert read_metadata(file)["fingerprint"] != before
    with np.load(cell_of(out, "blackbox").part(EVERY_CLASS).gallery_file("gradcam")) as maps:
        assert len(maps.files) == 12


@pytest.mark.parametrize(
    ("labels", "healthy", "count", "expected"),
    [
        ([1, 1, 1, 2, 3, 1], 2, 4, [0, 3, 4, 6]),  # one of each disease, then the first healthy one
        ([1, 1, 1, 2, 1, 1], 2, 4, [0, 1, 3, 6]),
        ([1, 1, 1, 2, 3, 1], 2, 3, [0, 3, 6]),
        ([1, 1, 1, 2, 3, 1], 0, 3, [0, 3, 4]),
        ([1, 1], 1, 0, []),
    ],
)
def test_gallery_covers_the_classes(labels: list[int], healthy: int, count: int, expected: list[int]) -> None:
    from types import SimpleNamespace

    split = SimpleNamespace(labels=np.array(labels + [0] * healthy), classes=("a", "b", "c", "d"))
    indices = np.arange(len(split.labels))
    assert gallery_positions(Selection(indices, indices < len(labels), 0), split, count) == expected


# --- The figure ------------------------------------------------------------------------------------------------------


def test_classes_of_an_image_share_one_scale() -> None:
    image, strong = np.full((3, 8, 8), 0.5), np.zeros((4, 4))
    strong[0, 0] = 5
    alone, weak = overlays(strong[None], image, signed=True)[0], overlays(strong[None] / 50, image, signed=True)[0]
    np.testing.assert_allclose(alone, weak)
    first, second, third = overlays(np.stack([strong, strong / 50, strong * np.nan]), image, signed=True)
    assert first[0, 0, 0] > 3 * first[0, 0, 2]
    np.testing.assert_allclose(second[0, 0], [0.75] * 3, atol=0.05)
    assert len(np.unique(third)) == 1


@pytest.mark.usefixtures("unsaved")
def test_figures_of_the_classes(finished: Path, frames: Frames, tmp_path: Path) -> None:
    images = load_images(frames, "shapes")
    assert images is not None
    method = methods_in(frames, compared_rows(frames))[0]
    found = load_class_maps(frames, "shapes", method, images, 3)
    assert found is not None
    logits = np.stack([maps.mean(axis=(1, 2)) for maps in found.maps])  # an inherent map adds up to the prediction
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    shutil.copytree(finished, tmp_path / "run")
    build_report(tmp_path / "run", Console(quiet=True))
    drawn = {file.stem for file in (tmp_path / "run/figures").glob("class_maps*.png")}
    assert drawn == {"class_maps_shapes_softcam-sparse", "class_maps_shapes_gradcam"}
    page = (tmp_path / "run/report.html").read_text()
    assert "class_maps_shapes_gradcam.png" in page
    assert "per_class_localisation" in page
