"""The command ``explain``: the maps of an image are those of the run, and one picture shows them all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli.main import app
from bench.commands.explain.command import explain_image
from bench.commands.explain.maps import explain
from bench.commands.explain.picture import picture
from bench.commands.export.command import find_cell, read_cell
from bench.contracts import UserError
from bench.store.folders import RunStore
from bench.store.maps import read_arrays


def cell_of(run: Path, head: str = "blackbox") -> Path:
    return run / "cells" / "squares" / f"compact-{head}-s0"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def image(run: Path, tmp_path: Path) -> Path:
    """The first image that the run's figures show, which is a square."""
    with np.load(RunStore(run).images_file("squares")) as data:
        assert data["labels"][0] == 1
        Image.fromarray(data["images"][0].transpose(1, 2, 0)).save(tmp_path / "lesion.png")
    return tmp_path / "lesion.png"


@pytest.mark.parametrize(("head", "name"), [("blackbox", "gradcam"), ("softcam-sparse", "softcam")])
def test_maps_are_those_of_the_run(run: Path, image: Path, head: str, name: str) -> None:
    store, key = find_cell(cell_of(run, head))
    found = explain(image, read_cell(store, key), key, "square", None)
    (one,) = [one for one in found.maps if one.name == name]
    stored = read_arrays(store.cell(key).gallery_file(name))["arr_0"]
    np.testing.assert_allclose(one.values, stored, rtol=1e-3, atol=1e-4)
    assert not {one.name for one in found.maps} & {"random", "mask_oracle"}  # controls


def test_the_other_class_has_the_opposite_map(run: Path, image: Path) -> None:
    """What is explained is the contrast of two classes."""
    store, key = find_cell(cell_of(run, "softcam-sparse"))
    maps = [explain(image, read_cell(store, key), key, target, ["softcam"]).maps[0].values for target in ("0", "1")]
    np.testing.assert_allclose(maps[0], -maps[1], atol=1e-6)


def test_one_picture_lies_in_the_run(run: Path, image: Path) -> None:
    done = CliRunner().invoke(app, ["explain", str(image), "--cell", str(cell_of(run))], obj=lambda: None)
    assert done.exit_code == 0, done.output
    file = run / "explain/squares/compact-blackbox-s0/lesion.png"
    assert f"1 maps in {file}" in done.output
    assert "lesion.png, p(" in done.output
    with Image.open(file) as shown:
        assert min(shown.size) > 400
        assert np.asarray(shown).std() > 20


def test_explainers_are_named_and_what_does_not_apply_is_said(run: Path, image: Path) -> None:
    file = image.with_name("all.png")
    lines = explain_image(image, cell_of(run), "square", ["saliency", "gradcam", "softcam", "mask_oracle"], file)
    assert lines[0].endswith(f"maps explain square: 2 maps in {file}")
    assert lines[1].startswith("softcam skipped: the classifier does not predict from class evidence")
    assert lines[2:] == ["mask_oracle skipped: it needs a mask"]


def test_long_names_stay_inside_the_picture(run: Path, image: Path) -> None:
    long = image.rename(image.with_name("a" * 120 + ".png"))
    store, key = find_cell(cell_of(run))
    figure = picture(explain(long, read_cell(store, key), key, None, ["gradcam", "integrated_gradients"]))
    figure.draw_without_rendering()
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere.png", "--cell", "{cell}"], "no image /nowhere.png"),
        (["{image}", "--cell", "/nowhere"], "not a cell folder"),
        (["{image}", "--cell", "{cell}", "--target", "sqare"], "no class of this name; did you mean square"),
        (["{image}", "--cell", "{cell}", "--explainers", "gradkam"], "unknown explainer 'gradkam'"),
        (["{image}", "--cell", "{cell}", "--explainers", "mask_oracle"], "no explainer gives a map"),
        (["{image}", "--cell", "{cell}", "--out", "x.jpg"], "ends with .png"),
        (["{image}", "--cell", "{cell}", "--out", "{image}"], "lesion.png"),
        (["{cell}/cell.json", "--cell", "{cell}"], "cannot be read as an image"),
    ],
)
def test_bad_input_is_one_line(run: Path, image: Path, words: list[str], said: str) -> None:
    filled = [word.format(image=image, cell=cell_of(run)) for word in words]
    done = CliRunner().invoke(app, ["explain", *filled], obj=lambda: None)
    assert isinstance(done.exception, UserError), done.output
    assert said in str(done.exception)
