"""An exported classifier is the trained one, whatever reads it, and its card tells the store's numbers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import Tensor

from bench.commands.export import onnx
from bench.commands.export.command import export_cell
from bench.contracts import MissingData, UserError
from bench.models.factory import load_classifier, normalisation
from bench.registry import DATASETS, HEADS
from bench.report.frames.load import load_frames
from bench.report.tables.main import all_tables
from bench.report.tables.writers import entry
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.made import SIZE, register_squares, registered_squares, run_tiny, tiny_config

#: Parameters of ``softcam-sparse`` in the exported run.
SPARSE = {"l1": 5e-5, "pooling": "avg", "scale": "sum", "start": "", "penalty_start": None, "penalty_ramp": None}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data set is gone: not registered, and its decoded images deleted."""
    folder = tmp_path_factory.mktemp("export") / "run"
    with registered_squares():
        config = tiny_config(heads=["blackbox", "softcam-sparse", "tte"])
        assert run_tiny(folder, config).problems == []
    assert "squares" not in DATASETS
    shutil.rmtree(folder.parent / "cache")
    return folder


def cell_of(run: Path, head: str) -> Path:
    return run / "cells" / "squares" / f"compact-{head}-s0"


@pytest.fixture(scope="module")
def exporter() -> None:
    """The packages that write and run ONNX files, without which a test is skipped."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)


@pytest.fixture(scope="module", params=["blackbox", "softcam-sparse", "tte"])
def exported(request: pytest.FixtureRequest, finished: Path, exporter: None) -> Path:
    export_cell(cell_of(finished, request.param), None, onnx=True)
    return finished / "export" / "squares" / f"compact-{request.param}-s0"


def stored(finished: Path, head: str) -> tuple[Tensor, np.ndarray]:
    """Some test images (N,3,H,W) in [0, 1], and the logits (N,C) that the run stored for them."""
    with np.load(RunStore(finished).images_file("squares")) as data:
        images, ids = torch.from_numpy(data["images"]) / 255, data["ids"]
    rows = pd.read_parquet(cell_of(finished, head) / "predictions.parquet").set_index("image").loc[ids]
    assert len(ids) == 2
    return images, rows[["logit_0", "logit_1"]].to_numpy()


def normalised(images: Tensor, about: dict) -> Tensor:
    return (images - torch.tensor(about["mean"]).view(3, 1, 1)) / torch.tensor(about["std"]).view(3, 1, 1)


def head_of(exported: Path) -> str:
    return exported.name.removeprefix("compact-").removesuffix("-s0")


def test_weights_and_onnx_give_the_logits_of_the_run(finished: Path, exported: Path) -> None:
    images, expected = stored(finished, head_of(exported))
    classifier, about = load_classifier(exported / "model.safetensors")
    images = normalised(images, about)
    np.testing.assert_allclose(classifier(images).numpy(), expected, atol=1e-5)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(exported / "model.onnx"))
    np.testing.assert_allclose(session.run(["logits"], {"images": images.numpy()})[0], expected, atol=1e-4)


def test_onnx_evidence_is_that_of_pytorch(exported: Path) -> None:
    classifier, about = load_classifier(exported / "model.safetensors")
    session = pytest.importorskip("onnxruntime").InferenceSession(str(exported / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    if head_of(exported) == "blackbox":
        assert names == ["logits"]
        return
    assert names == ["logits", "evidence"]
    for count in (1, 2, 5):
        images = torch.randn(count, 3, SIZE, SIZE)
        logits, evidence = session.run(None, {"images": images.numpy()})
        assert evidence.shape == (count, 2, 4, 4)
        np.testing.assert_allclose(evidence, classifier.forward_evidence(images).numpy(), atol=1e-4)
        np.testing.assert_allclose(logits, evidence.mean(axis=(2, 3)), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["classes"] == json.dumps(about["classes"])


def test_metadata_says_what_the_weights_need(finished: Path, exported: Path) -> None:
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        about = {name: json.loads(text) for name, text in file.metadata().items()}
    facts = RunStore(finished).record.datasets["squares"]
    assert about["mean"] == facts.mean
    assert about["std"] == facts.std
    assert (about["classes"], about["size"], about["backbone"]) == (["plain", "square"], SIZE, "compact")
    parameters = {"softcam-sparse": SPARSE, "tte": {"of": "blackbox"}}
    assert about["parameters"] == parameters.get(head_of(exported), {})
    assert about["geometry"] == {"start": [0.5] * 2, "stride": [8] * 2, "receptive_field": [71] * 2}
    assert "looks at (y, x) = (0.5 + 8 i, 0.5 + 8 j)" in (exported / "README.md").read_text(encoding="utf-8")
    assert about["training"] == json.loads((cell_of(finished, head_of(exported)) / "cell.json").read_text())["training"]


def test_card_holds_the_numbers_of_the_store(finished: Path, exported: Path) -> None:
    card, head = (exported / "README.md").read_text(encoding="utf-8"), head_of(exported)
    rows = pd.read_parquet(cell_of(finished, head) / "predictions.parquet")
    predicted = rows[["logit_0", "logit_1"]].to_numpy().argmax(axis=1)
    assert f"| accuracy ↑ | {accuracy_score(rows['label'], predicted):.3f}" in card
    assert f"| auc ↑ | {roc_auc_score(rows['label'], rows['logit_1'] - rows['logit_0']):.3f}" in card
    tables = all_tables(load_frames(finished))
    del tables["cost"], tables["estimands"]  # the latter repeats columns of others under shorter titles
    shown = 0
    for name, table in tables.items():
        for row in table.rows:
            own = row["head"] == head and row.get("explainer", "softcam") == "softcam"
            for column in table.columns if own else []:
                if getattr(row.get(column.name), "n", 0):
                    assert f"| {column.title} | {entry(row[column.name])} | {row[column.name].n} |" in card, name
                    shown += 1
    assert shown >= (9 if head == "blackbox" else 25)
    assert "| 0: plain | 8 | 4 | 4 |" in card
    assert repr(RunStore(finished).record.datasets["squares"].mean) in card
    assert ("None were scored" in card) == (head == "blackbox")


def test_example_of_the_card_runs(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text("utf-8"), flags=re.DOTALL):
        exec(block, names)
    torch.testing.assert_close(torch.from_numpy(names["outputs"][0]), names["logits"], atol=1e-4, rtol=0)


def test_black_box_is_told_how_to_get_evidence(finished: Path, tmp_path: Path) -> None:
    *_, line = export_cell(cell_of(finished, "blackbox"), tmp_path / "out", onnx=False)
    assert "no evidence" in line
    assert "softcam.convert" in line
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert len(export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "other", onnx=False)) == 1


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of packages that are not found."""
    absent: set[str] = set()
    real = onnx.importlib.util.find_spec
    monkeypatch.setattr(
        onnx.importlib.util, "find_spec", lambda name, *rest: None if name in absent else real(name, *rest)
    )
    return absent


@pytest.mark.usefixtures("exporter")
def test_missing_packages_are_one_line(finished: Path, tmp_path: Path, without: set[str]) -> None:
    without.add("onnxscript")
    with pytest.raises(MissingData, match=r"--onnx needs onnxscript: pip install -e '.\[onnx\]'"):
        export_cell(cell_of(finished, "blackbox"), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("exporter")
def test_file_that_cannot_be_compared_says_so(finished: Path, tmp_path: Path, without: set[str]) -> None:
    without.add("onnxruntime")
    lines = export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "out", onnx=True)
    assert "Not compared with PyTorch: onnxruntime is not installed." in lines[1]
    assert "Not compared with PyTorch" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_folder_with_other_files_is_left_alone(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        export_cell(cell_of(finished, "blackbox"), tmp_path, onnx=False)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.usefixtures("exporter")
def test_earlier_export_is_replaced_as_a_whole(finished: Path, tmp_path: Path) -> None:
    """An ONNX file of other weights must not stay beside new ones."""
    export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "out", onnx=True)
    export_cell(cell_of(finished, "blackbox"), tmp_path / "out", onnx=False)
    assert {file.name for file in (tmp_path / "out").glob("[!.]*")} == {"model.safetensors", "README.md"}
    assert load_classifier(tmp_path / "out" / "model.safetensors")[1]["head"] == "blackbox"


def test_edited_card_is_kept(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_cell(cell_of(finished, "blackbox"), out, onnx=False)
    (out / "README.md").write_text("mine")
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"README.md was changed since it was written and is not overwritten"):
        export_cell(cell_of(finished, "softcam-sparse"), out, onnx=False)
    assert (out / "README.md").read_text() == "mine"
    assert (out / "model.safetensors").read_bytes() == before


def test_folder_that_cannot_be_made(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*/file: .*; choose another --out"):
        export_cell(cell_of(finished, "blackbox"), tmp_path / "file", onnx=False)


@pytest.mark.parametrize("folder", ["", "cells/squares", "nowhere", "../../.."])
def test_folder_that_is_no_cell(finished: Path, folder: str) -> None:
    with pytest.raises(UserError, match="is not a cell folder; give one such as <run>/cells/"):
        export_cell(finished / folder, None, onnx=False)


def test_cell_of_another_plan_and_failed_cell(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with registered_squares():
        run_tiny(run, tiny_config(explainers=["random"]))
        run_tiny(run, tiny_config(explainers=["random"], heads=["softcam-sparse"]))
    with pytest.raises(UserError, match="is not a cell of the last run"):
        export_cell(cell_of(run, "blackbox"), None, onnx=False)
    store = RunStore(run).cell(CellKey("squares", "compact", "softcam-sparse", 0))
    store.note(status="failed", reason="made to fail")
    with pytest.raises(UserError, match=r"softcam-sparse · seed 0 failed, .*: made to fail"):
        export_cell(store.folder, None, onnx=False)
    store.note(plan="another")
    with pytest.raises(UserError, match=r"is not finished \(absent\)"):
        export_cell(store.folder, None, onnx=False)


def test_foreign_file_is_no_export(finished: Path) -> None:
    with pytest.raises(UserError, match="is not a weights file of export"):
        load_classifier(cell_of(finished, "blackbox") / "weights.safetensors")


def test_loading_draws_no_random_numbers(finished: Path, tmp_path: Path) -> None:
    export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "out", onnx=False)
    before = torch.get_rng_state()
    load_classifier(tmp_path / "out" / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_normalisation_is_that_of_pretrained_weights_where_they_need_one() -> None:
    measured = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    assert normalisation("efficientnet_lite0", True, *measured) == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert normalisation("efficientnet_lite0", False, *measured) == measured
    assert normalisation("compact", True, *measured) == measured


def test_normalisation_is_that_of_the_training_whatever_the_next_run_measured(finished: Path, tmp_path: Path) -> None:
    run = RunStore(Path(shutil.copytree(finished, tmp_path / "run")))
    record = run.record
    squares = record.datasets["squares"]
    run.write_record(record.changed(datasets={"squares": squares.changed(mean=[0.9, 0.9, 0.9])}))
    export_cell(cell_of(run.folder, "softcam-sparse"), tmp_path / "out", onnx=False)
    assert load_classifier(tmp_path / "out" / "model.safetensors")[1]["mean"] == squares.mean


def test_parameters_of_the_head_come_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tiny_config(explainers=["random"], heads=["softcam-sparse"])
    with registered_squares():
        run_tiny(run, config.model_copy(update={"heads": {"softcam-sparse": {"l1": 0.25}}}))
    export_cell(cell_of(run, "softcam-sparse"), tmp_path / "out", onnx=False)
    about = load_classifier(tmp_path / "out" / "model.safetensors")[1]
    assert HEADS[about["head"]](**about["parameters"]).elastic_net.l1 == 0.25
    assert "softcam-sparse(l1=0.25, pooling='avg', scale='sum'" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_parameters_are_those_of_the_training_and_not_todays_defaults(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HEADS["softcam-sparse"].__init__, "__defaults__", (9.0, "max", "mean", "dense", 1, 1))
    export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "out", onnx=False)
    about = load_classifier(tmp_path / "out" / "model.safetensors")[1]
    assert about["parameters"] == SPARSE
    monkeypatch.setattr(HEADS["softcam-sparse"], "__init__", lambda self: None)
    with pytest.raises(UserError, match=r"head 'softcam-sparse' no longer takes \{'l1': 5e-05, 'pooling': 'avg', "):
        export_cell(cell_of(finished, "softcam-sparse"), tmp_path / "other", onnx=False)


def test_card_says_what_was_done_to_images_and_evidence(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sums = {"softcam-dense": True, "softcam-dense@pooling=attention": True, "softcam-dense@pooling=topk": False}
    with registered_squares():
        register_squares("cut", preprocessing="cut to the middle")
        run_tiny(run, tiny_config(datasets=["cut"], explainers=["random"], heads=list(sums)))
    for head, is_mean in sums.items():
        export_cell(run / "cells/cut" / f"compact-{head}-s0", tmp_path / head, onnx=False)
        card = (tmp_path / head / "README.md").read_text("utf-8")
        assert ("logits, which are the spatial average of its class evidence." in card) == is_mean
        assert ("is not the average: the evidence does not add up to them." in card) != is_mean
        assert "\ncut to the middle, then RGB in [0, 1]" in card


def test_data_sets_that_crop_say_so() -> None:
    for name in ("fundus", "fundus@grades", "fundus-idrid"):
        assert "cropped to the square around the bright disc" in DATASETS[name].preprocessing
