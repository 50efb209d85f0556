"""What ``plan`` prints before a run: counts by hand, and durations of schedules whose length is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.plan.forecast import forecast
from bench.commands.plan.passes import cell_passes, disk_bytes, images_of, map_passes
from bench.data.sources.folder import folder_dataset
from bench.registry import DATASETS, EXPLAINERS
from bench.run.plan import make_plan
from bench.run.schedule import Schedule
from bench.run.tasks import Task
from bench.store.records import CellKey
from tests.support.datasets.folder import write
from tests.support.made import tiny_config
from tests.support.tiny import tiny_classifiers

pytestmark = pytest.mark.usefixtures("squares")
NOWHERE = Path("nowhere")
BLACK, TTE, DENSE = (CellKey("a", "net", head, 0) for head in ("black", "tte", "dense"))


def test_images_are_the_published_ones_as_far_as_the_config_wants_them() -> None:
    config = tiny_config()
    data = config.data.model_copy(update={"train": 5000, "test": None})
    section = config.explain.model_copy(update={"diseased": None, "healthy": 10, "faithful": 100})
    cxr = images_of(DATASETS["cxr"], config.model_copy(update={"data": data, "explain": section}), NOWHERE)
    # published: 6770 + 4599 to train, 753 + 511 to validate, 1328 healthy and 902 diseased to test
    assert (cxr.train, cxr.val, cxr.test, cxr.explained, cxr.faithful) == (5000, 1264, 2230, 912, 100)
    assert cxr.is_known
    assert not images_of(DATASETS["squares"], config, NOWHERE).is_known


def test_a_fold_trains_on_the_images_outside_of_it() -> None:
    config = tiny_config()
    data = config.data.model_copy(update={"train": None, "val": None, "test": None, "folds": 5})
    section = config.explain.model_copy(update={"diseased": None, "healthy": 10, "faithful": 100})
    cxr = images_of(DATASETS["cxr"], config.model_copy(update={"data": data, "explain": section}), NOWHERE)
    # 14863 published images: 2973 in the largest fold, 85 % of the others to train
    assert (cxr.test, cxr.train, cxr.val) == (2973, round(0.85 * 11890), 11890 - round(0.85 * 11890))
    assert cxr.train + cxr.val + cxr.test == 14863
    assert cxr.faithful == 20


def test_images_of_a_folder_are_counted(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"images/{('fine', 'ill')[number % 2]}/{number}.png", np.zeros((8, 8), np.uint8))
    data = tiny_config().data.model_copy(update={"train": 20, "val": None, "test": None})
    config = tiny_config().model_copy(update={"data": data})
    images = images_of(folder_dataset(tmp_path), config, NOWHERE)
    assert (images.train, images.val, images.test, images.is_known) == (20, 6, 6, True)
    folded = config.model_copy(update={"data": data.model_copy(update={"train": None, "folds": 2})})
    assert images_of(folder_dataset(tmp_path), folded, NOWHERE).test == 20


def test_passes_of_a_cell_are_counted(tmp_path: Path) -> None:
    heads = ["blackbox", "tte", "softcam-sparse"]
    config = tiny_config(heads=heads, explainers=["gradcam", "random"], metrics=["audc@zero", "audc@blur", "gini"])
    plan = make_plan(config, tmp_path)
    images = images_of(plan.datasets["squares"], config, tmp_path)
    assert (images.train, images.val, images.test, images.explained, images.faithful) == (1000, 200, 200, 6, 2)
    counted = {key.head: cell_passes(plan, key, images, lambda _: 3.0) for key in plan.cells}
    black, tte = counted["blackbox"], counted["tte"]
    assert (black.training, black.validation, black.prediction) == (2 * 1000, 2 * 200, 206)
    assert (tte.training, tte.validation) == (0, 0)
    assert black.shares == 2  # 6 images in batches of 4
    # two explainers; 3 passes for each of 6 maps, and 2 curves of 2 images with 3 steps and the whole image
    assert black.share * black.shares == 2 * (6 * 3 + 2 * 4 * 2)
    weights = {(key.backbone, key.head): 1000 for key in plan.cells}
    scores, decoded = disk_bytes(plan, dict.fromkeys(plan.cells, black), weights, {"squares": images})
    assert scores == 3 * (black.rows * 18 + 4000)
    assert decoded == 1400 * 3 * 32 * 32


@pytest.mark.parametrize(("name", "expected"), [("random", 1), ("edges", 0), ("saliency", 3), ("softcam", None)])
def test_passes_of_a_map_are_counted_on_a_trial(name: str, expected: float | None) -> None:
    """A backward pass counts as two; the random map asks for the grid; the black box has no evidence."""
    classifier = tiny_classifiers()["black box"].eval()
    assert map_passes(classifier, EXPLAINERS[name](), torch.device("cpu")) == expected


def _times(task: Task) -> float:
    return {"prepare": 1.0, "train": 10.0, "score": 4.0, "finish": 2.0}[task.kind] if task.cell != TTE else 0.5


def _schedule() -> Schedule:
    return Schedule.of(["a"], {BLACK: None, TTE: BLACK, DENSE: None}, {BLACK, TTE, DENSE})


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        (1, 1 + 2 * (10 + 3 * 4 + 2) + 5 * 0.5),
        # one reads; both train; then 6 shares of 4 s, 3 of 0.5 s, and what is left
        (1000, 1 + 10 + 4 + 2),
    ],
)
def test_duration_of_a_schedule_whose_length_is_known(workers: int, seconds: float) -> None:
    found = forecast(_schedule(), _times, lambda task: 3, workers)
    assert found.seconds == seconds
    assert found.busy == 1 + 2 * (10 + 3 * 4 + 2) + 5 * 0.5


def test_more_workers_are_never_slower_than_the_work_allows() -> None:
    found = {workers: forecast(_schedule(), _times, lambda task: 3, workers) for workers in (1, 2, 3, 8)}
    for workers, one in found.items():
        assert max(17.0, one.busy / workers) <= one.seconds <= found[1].seconds
    assert found[2].seconds < 0.65 * found[1].seconds


def test_plan_prints_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["plan", "--config", "smoke", "--explainers", "gradcam,softcam", "--workers", "3", "--device", "cpu"]
    done = CliRunner().invoke(app, words, obj=run_benchmark.register)
    assert done.exit_code == 0, done.output
    assert "3 cells on" in done.output
    rows = {line.split()[0]: line.split() for line in done.output.splitlines() if line.strip()}
    assert rows["cxr-phantom"][1:5] == ["compact", "64", "3", "256"]  # two trained heads, two epochs, 64 images
    assert {"1", "3", "4", "8", "64", "any"} <= rows.keys()
    assert not list(tmp_path.iterdir())
