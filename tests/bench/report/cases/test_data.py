"""Data of the case browser: its numbers are those of the store, and every run has some."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import deferred

from bench.cases.grids import LEVELS, Grids, read_grids, to_grids
from bench.cases.pictures import Pictures
from bench.contracts import Geometry
from bench.maps import area_average, upsample
from bench.report.cases.data import render_cases
from bench.report.cases.numbers import NO_MAP, NO_VALUE, map_data
from bench.report.cases.predictions import ANOTHER, FALSE_ALARM, MISSED, RIGHT, UNKNOWN, predictions_of
from bench.report.cases.stored import places
from bench.report.frames.folds.joined import WholeCell
from bench.report.frames.load import load_frames
from bench.report.frames.stored.rows import StoredRows
from bench.store.folders import RunStore
from bench.store.maps import read_arrays
from bench.store.records import CellKey, DatasetFacts
from tests.support.made import forgotten_afterwards
from tests.support.report_store import make_run
from tests.support.subsets.configs import Drawn, drawn_runs, register_bare
from tests.support.subsets.stored import write_run

_PAIR = ["metric", "variant"]


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


@pytest.fixture(scope="module")
def cases(finished: Path) -> dict[str, Any]:
    found = render_cases(load_frames(finished))
    json.dumps(found, allow_nan=False)
    return found["sets"][0]


def test_every_kept_image_is_there(cases: dict[str, Any], finished: Path) -> None:
    store = RunStore(finished)
    explained = pd.read_parquet(store.cell(store.record.cells[0]).explained)
    assert cases["ids"] == explained["image"].tolist()
    assert cases["labels"] == ["square"] * 4 + ["plain"] * 2
    assert cases["kept"] == 6
    assert cases["areas"][:4] == [pytest.approx(64 / 32**2)] * 4
    assert cases["areas"][4:] == [0, 0]
    assert cases["sizes"][4:] == [-1, -1]
    assert [bool(mask) for mask in cases["masks"]] == [True] * 4 + [False] * 2


def test_methods_are_those_of_the_tables(cases: dict[str, Any]) -> None:
    found = [(one["label"], cases["heads"][one["head"]]["name"], one["family"]) for one in cases["methods"]]
    assert found == [
        ("softcam-sparse", "softcam-sparse", "inherent"),
        ("gradcam", "blackbox", "post-hoc"),
        ("random", "blackbox", "control"),
        ("mask_oracle", "blackbox", "control"),
    ]
    assert [one["shown"] for one in cases["methods"]] == [True, True, True, False]


def test_maps_and_scores_are_those_of_the_store(cases: dict[str, Any], finished: Path) -> None:
    store, names = RunStore(finished), [metric["name"] for metric in cases["metrics"]]
    for method in cases["methods"]:
        head = cases["heads"][method["head"]]["name"]
        cell = store.cell(next(key for key in store.record.cells if key.head == head))
        explainer = "softcam" if method["family"] == "inherent" else method["label"]
        grids = read_grids(cell.cases_file(explainer))
        assert (unpacked(method["maps"], "i1") == grids.values.ravel()).all()
        assert (unpacked(method["scales"], "<f4") == grids.scales).all()
        values = unpacked(method["values"], "<f4").reshape(len(names), -1)
        rows = pd.read_parquet(cell.scores_file(explainer))
        rows = rows[rows["step"] < 0]
        rows = rows.assign(name=[f"{one}@{other}" if other else one for one, other in rows[_PAIR].to_numpy()])
        for name, found in zip(names, values, strict=True):
            expected = rows[rows["name"] == name].set_index("image")["value"].reindex(cases["ids"])
            np.testing.assert_allclose(found, expected.to_numpy(dtype="<f4"))


def test_probabilities_and_outcomes_are_those_of_the_classifier(cases: dict[str, Any], finished: Path) -> None:
    store = RunStore(finished)
    for head in cases["heads"]:
        key = next(key for key in store.record.cells if key.head == head["name"])
        logits = pd.read_parquet(store.cell(key).explained)[["logit_0", "logit_1"]].to_numpy()
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(head["probabilities"], chances[:, 1], rtol=1e-3)
        assert head["targets"] == [1] * 6
        ill = logits[:, 1] > logits[:, 0]
        expected = [RIGHT if one else MISSED for one in ill[:4]] + [FALSE_ALARM if one else RIGHT for one in ill[4:]]
        assert head["outcomes"] == expected


def test_curves_are_those_of_the_store(cases: dict[str, Any], finished: Path) -> None:
    frames, method = load_frames(finished), cases["methods"][1]
    row = SimpleNamespace(**vars(frames.record.cells[0]), explainer="gradcam")
    curves = frames.curve(row, "deletion_curve", cases["operator"]).pivot(index="image", columns="step", values="value")
    levels = unpacked(method["curves"], "u1").reshape(6, method["steps"])
    for image, found in zip(cases["ids"], levels, strict=True):
        if image in curves.index:
            np.testing.assert_allclose(found / 254, curves.loc[image], atol=0.51 / 254)
        else:
            assert (found == NO_VALUE).all()
    assert len(curves) == 2


def test_the_page_shows_fewer_than_the_run_kept(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    store = RunStore(tmp_path / "run")
    record = store.record
    store.write_record(record.changed(config=record.config | {"report": record.config["report"] | {"page_images": 2}}))
    (shown,) = render_cases(load_frames(tmp_path / "run"))["sets"]
    assert (len(shown["ids"]), len(shown["images"]), shown["kept"]) == (2, 2, 6)
    assert set(shown["labels"]) == {"square", "plain"}
    store.write_record(record.changed(config=record.config | {"report": record.config["report"] | {"page_images": 0}}))
    assert render_cases(load_frames(tmp_path / "run"))["sets"] == []


def test_a_run_of_an_earlier_version_shows_the_images_of_the_figures(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    first, second = render_cases(load_frames(tmp_path / "run"))["sets"]
    assert first["ids"] == ["i0", "i4"]
    assert "Re-run the same command" in first["notes"][0]
    assert second["name"] == "folder:/a <b>"
    assert first["heads"][0]["outcomes"] == [-1, -1]  # it did not store the logits
    store = RunStore(tmp_path / "run")
    gallery = read_arrays(store.cell(store.record.cells[0]).gallery_file("post_a"))
    method = next(one for one in first["methods"] if one["label"] == "post_a")
    found = unpacked(method["maps"], "i1").reshape(2, 4, 4) / LEVELS * unpacked(method["scales"], "<f4")[:, None, None]
    np.testing.assert_allclose(found, [gallery["arr_0"], gallery["arr_1"]], atol=0.02)


def test_predictions_are_those_of_the_classifier_whose_maps_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path / "run", seeds=(0, 1))
    store = RunStore(tmp_path / "run")
    key = next(key for key in store.record.cells if key.head == "plain")
    store.cell(key).files.remove(store.cell(key).gallery_file("post_a"))
    one = render_cases(load_frames(tmp_path / "run"))["sets"][0]
    heads = [head["name"] for head in one["heads"]]
    found = {method["label"]: heads[method["head"]] for method in one["methods"]}
    assert found == {
        "own": "own",
        "post_a": "plain, seed 1",
        "post_b": "plain, seed 0",
        "noise": "plain, seed 0",
    }


def test_a_map_that_was_not_kept_has_no_scale() -> None:
    grids = to_grids(["a", "c"], [np.ones((2, 2)), -np.ones((2, 2))])
    found = map_data(grids, ["c", "b", "a"])
    assert unpacked(found["scales"], "<f4").tolist() == [1, NO_MAP, 1]
    assert unpacked(found["maps"], "i1").reshape(3, 4).tolist() == [[-LEVELS] * 4, [0] * 4, [LEVELS] * 4]


@pytest.mark.parametrize("cells", [8, 64, 96])
@pytest.mark.parametrize("known", [True, False])
def test_cells_stay_where_they_look(cells: int, known: bool) -> None:
    """A ramp is drawn alike from its cells and from their averages, at the size of the picture."""
    geometry = Geometry((3.0, 1.0), (256 / cells, 250 / cells), (9.0, 9.0)) if known else None
    rows, columns = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    ramp = (2 * rows + columns).double()[None]
    grids = to_grids(["a"], list(ramp.numpy()))
    pictures = Pictures([], np.zeros(0, dtype=np.int64), (256, 256), (128, 128), [], [])
    start, stride = places(geometry, grids, pictures)
    coarse = area_average(ramp, grids.values.shape[1:])
    drawn = upsample(coarse, 128, SimpleNamespace(start=start, stride=stride))
    whole = upsample(ramp, 256, geometry)
    expected = torch.nn.functional.avg_pool2d(whole, 2)
    inside, ripple = slice(24, -24), 0.08 * 3 * cells / coarse.shape[1]  # cubic convolution bends a ramp a little
    torch.testing.assert_close(drawn[:, inside, inside], expected[:, inside, inside], rtol=0, atol=ripple)


def test_outcomes_of_data_with_several_findings_or_without_healthy_images(tmp_path: Path) -> None:
    logits = pd.DataFrame({"image": list("abc"), "logit_0": [2.0, -2, -1], "logit_1": [-1.0, -1, 3]})
    cell = RunStore(tmp_path).cell(CellKey("x", "net", "own", 0))
    cell.folder.mkdir(parents=True)
    logits.to_parquet(cell.explained, index=False)
    whole = WholeCell((cell,), (None,))

    def outcomes(**facts: Any) -> list[int]:
        known = DatasetFacts(base="x", size=8, classes=["one", "two"], **facts)
        scores = SimpleNamespace(targets=lambda ids: pd.Series(targets, dtype=int))
        source = SimpleNamespace(where=lambda **cell: scores, reader=SimpleNamespace(names={}))
        record = SimpleNamespace(datasets={"x": known})
        frames: Any = SimpleNamespace(record=record, cell=lambda key: whole, source=source, predictions=StoredRows())
        return predictions_of(frames, CellKey("x", "net", "own", 0), list("abc"), labels).outcomes.tolist()

    labels, targets = np.array([0, 0, -1]), {"a": 0, "b": 0, "c": 1}
    assert outcomes(multilabel=True, healthy=None) == [RIGHT, MISSED, FALSE_ALARM]
    labels, targets = np.array([0, 1, 0]), {"a": 0, "b": 1, "c": 0}
    assert outcomes(healthy=None) == [RIGHT, RIGHT, ANOTHER]
    targets = {"b": 1}  # no score states the class of the others
    assert outcomes(healthy=None) == [UNKNOWN, RIGHT, UNKNOWN]
    targets = {}
    assert outcomes(healthy=None, regression=True) == [-1, -1, -1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    with pytest.MonkeyPatch.context() as patched, forgotten_afterwards():
        patched.setattr("bench.run.record._git_state", lambda: None)
        patched.setattr("bench.run.record.versions_of", lambda packages: {})
        register_bare()
        yield tmp_path_factory.mktemp("subsets") / "run"


@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(drawn=deferred(drawn_runs))
def test_every_run_can_be_explored(folder: Path, drawn: Drawn) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    write_run(folder, drawn)
    for one in render_cases(load_frames(folder))["sets"]:
        json.dumps(one, allow_nan=False)
        count = len(one["ids"])
        assert count == len(one["images"]) == len(one["masks"]) == len(one["labels"])
        for method in one["methods"]:
            assert len(unpacked(method["maps"], "i1")) == count * np.prod(method["grid"])
            assert len(unpacked(method["scales"], "<f4")) == count
            assert len(unpacked(method["values"], "<f4")) == count * len(one["metrics"])


def test_grids_of_no_map() -> None:
    assert Grids.of(to_grids([], []).arrays()).cells == (0, 0)
