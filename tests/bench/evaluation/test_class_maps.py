"""Maps of every class and the figure that shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from bench.contracts import EVERY_CLASS
from bench.data.selection import Selection, gallery_positions
from bench.report.build import build_report
from bench.report.figures.class_maps import load_class_maps
from bench.report.figures.gallery import load_images, overlays
from bench.report.figures.looks import methods_in
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames
from bench.store.folders import RunStore
from bench.store.scores import read_metadata
from tests.oracles.contrast import contrast
from tests.support.class_run import cell_of, class_config, one_image, trained
from tests.support.made import run_tiny

pytestmark = pytest.mark.usefixtures("squares")


# --- The maps --------------------------------------------------------------------------------------------------------


def test_maps_of_every_class_are_those_of_the_model(class_run: Path, tmp_path: Path) -> None:
    classifier, prepared = trained(class_run, tmp_path, "softcam-sparse")
    cell = cell_of(class_run, "softcam-sparse")
    with np.load(RunStore(class_run).images_file("shapes")) as kept:
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
                        evidence = classifier.forward_evidence(one_image(prepared, name))[0].numpy()
                    expected = np.stack([contrast(evidence, target) for target in range(3)])
                    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_saved_maps_hold_every_class_and_stay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, class_config())
    part = cell_of(out, "softcam-sparse").part(EVERY_CLASS)
    assert not part.maps_file("softcam").exists()
    gallery = part.gallery_file("softcam").read_bytes()
    assert run_tiny(out, class_config(), save_maps=True).computed
    with np.load(part.maps_file("softcam")) as maps, np.load(part.gallery_file("softcam")) as few:
        assert len(maps.files) == 9
        assert {maps[name].shape for name in maps.files} == {(3, 4, 4)}
        ids = np.load(RunStore(out).images_file("shapes"))["ids"].tolist()
        for at, name in enumerate(ids):
            np.testing.assert_array_equal(maps[name][2], few[f"arr_{3 * at + 2}"])
    assert not run_tiny(out, class_config()).computed
    assert part.maps_file("softcam").exists()
    assert part.gallery_file("softcam").stat().st_size == len(gallery)


def test_other_images_in_the_gallery_are_explained_anew(tmp_path: Path) -> None:
    """The part that has no metric of its own must notice what its maps depend on, too."""
    out = tmp_path / "run"
    run_tiny(out, class_config())
    file = cell_of(out, "blackbox").part(EVERY_CLASS).scores_file("gradcam")
    before = read_metadata(file)["fingerprint"]
    more = class_config()
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
def test_figures_of_the_classes(class_run: Path, class_frames: Frames, tmp_path: Path) -> None:
    images = load_images(class_frames, "shapes")
    assert images is not None
    method = methods_in(class_frames, compared_rows(class_frames))[0]
    found = load_class_maps(class_frames, "shapes", method, images, 3)
    assert found is not None
    contrasts = np.stack([maps.mean(axis=(1, 2)) for maps in found.maps.maps])  # what an inherent map adds up to
    logits = contrasts * (3 - 1) / 3  # up to a constant for all three classes
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    shutil.copytree(class_run, tmp_path / "run")
    build_report(tmp_path / "run", Console(quiet=True), figures="all")
    drawn = {file.stem for file in (tmp_path / "run/figures").glob("class_maps*.png")}
    assert drawn == {"class_maps_shapes_softcam-sparse", "class_maps_shapes_gradcam"}
    page = (tmp_path / "run/report.html").read_text()
    assert "figures/class_maps_shapes_gradcam.png" in page
    assert "per_class_localisation" in page
