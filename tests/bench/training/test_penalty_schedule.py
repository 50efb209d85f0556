"""The ramp of a penalty, the epochs that compete under it, and the batches that all heads of a seed share."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import bench.training.loop
from bench.errors import UserError
from bench.report.frames.load import load_frames
from bench.store.folders import RunStore
from bench.store.records import CellKey
from bench.training.loop import TrainingLoop, best_row, penalty_share
from tests.support.made import run_tiny, tiny_config

squares = pytest.mark.usefixtures("squares")


def test_the_share_is_a_straight_line_between_start_and_full() -> None:
    start, ramp = Fraction(3, 2), Fraction(5, 2)
    for tick in range(60):
        position = Fraction(tick, 10)
        exact = min(max((position - start) / ramp, Fraction(0)), Fraction(1))
        assert penalty_share(float(position), 1.5, 2.5) == pytest.approx(float(exact), abs=1e-12)


def test_without_a_ramp_the_share_is_a_step() -> None:
    assert [penalty_share(position, 2, 0) for position in (0, 1.99, 2, 5)] == [0, 0, 1, 1]
    assert penalty_share(0, 0, 0) == 1


def row(auc: float, share: float, penalty: float) -> dict[str, float]:
    return {"val_auc": auc, "penalty_share": share, "penalty": penalty}


def test_epochs_before_the_full_penalty_do_not_compete() -> None:
    rows = [
        row(0.99, 0, 0),
        row(0.98, 0.5, 0.1),
        row(0.9, 1, 0.2),
        row(0.92, 1, 0.2),
        row(0.92, 1, 0.2),
        row(0.8, 1, 1),
    ]
    assert best_row(rows) == 4
    assert best_row(rows[:2]) == 0  # none is full yet
    assert best_row([row(float("nan"), 1, 0.2), row(0.5, 1, 0.2)]) == 1


def test_all_epochs_of_a_head_without_a_penalty_compete() -> None:
    assert best_row([row(0.99, 0, 0), row(0.9, 1, 0)]) == 0


@squares
def test_the_penalty_ramps_up_in_the_training(tmp_path: Path) -> None:
    head = "softcam-sparse@l1=0.01@penalty_start=1@penalty_ramp=1"
    config = tiny_config(heads=[head], explainers=["softcam"])
    config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 4})})
    assert run_tiny(tmp_path / "run", config).problems == []
    history = load_frames(tmp_path / "run").training
    assert history["penalty_share"].tolist() == [0, 0, 1, 1]
    assert history["penalty"][0] == 0
    assert 0 < history["penalty"][1] < history["penalty"][2]
    (record,) = load_frames(tmp_path / "run").cells["record"]
    assert record.best_epoch in (2, 3)


@squares
def test_a_penalty_that_never_is_full_is_one_line(tmp_path: Path) -> None:
    (problem,) = run_tiny(tmp_path / "run", tiny_config(heads=["softcam-sparse@penalty_start=2"])).problems
    assert "none of the 2 epochs has the full penalty; lower them or raise epochs" in problem


@squares
def test_heads_of_a_seed_see_the_same_batches_and_other_seeds_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Tensor]] = []
    real_init, real_backward = TrainingLoop.__init__, TrainingLoop._backward

    def init(self: TrainingLoop, *arguments: Any) -> None:
        seen.append([])
        real_init(self, *arguments)

    def backward(self: TrainingLoop, images: Tensor, labels: Tensor) -> Tensor:
        seen[-1].append(images.clone())
        losses = real_backward(self, images, labels)
        torch.rand(len(seen))  # as a head with dropout, each loop draws another count of numbers
        return losses

    monkeypatch.setattr(bench.training.loop.TrainingLoop, "__init__", init)
    monkeypatch.setattr(bench.training.loop.TrainingLoop, "_backward", backward)
    config = tiny_config(heads=["blackbox", "softcam-dense", "softcam-sparse"], explainers=["random"], seeds=[0, 1])
    assert run_tiny(tmp_path / "run", config).problems == []
    assert len(seen) == 6  # by head, then seed
    for seed in (0, 1):
        first, *others = seen[seed::2]
        assert len(first) == 4
        for other in others:
            assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])


@squares
@pytest.mark.parametrize("head", ["softcam-sparse@start=dense", "softcam-dense@start=dense"])
def test_start_dense_begins_from_exactly_the_dense_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    begun: list[dict[str, Tensor]] = []
    real = bench.training.loop.TrainingLoop.run_epoch

    def run_epoch(self: TrainingLoop, epoch: int) -> dict[str, float]:
        if epoch == 0:
            begun.append({name: value.clone() for name, value in self.classifier.state_dict().items()})
        return real(self, epoch)

    monkeypatch.setattr(bench.training.loop.TrainingLoop, "run_epoch", run_epoch)
    folder = tmp_path / "run"
    config = tiny_config(heads=[head, "softcam-dense"])
    assert run_tiny(folder, config).problems == []
    store = RunStore(folder)
    dense = load_file(store.cell(CellKey("squares", "compact", "softcam-dense", 0)).weights)
    assert len(begun) == 2  # the dense twin, once, and then this head
    assert all(torch.equal(dense[name], value) for name, value in begun[1].items())
    assert any(not torch.equal(dense[name], value) for name, value in begun[0].items())
    mine = store.cell(CellKey("squares", "compact", head, 0))
    assert mine.record.weights_from == "softcam-dense, trained"
    assert any(not torch.equal(dense[name], value) for name, value in load_file(mine.weights).items())
    before = mine.record.training
    changed = config.model_copy(update={"training": config.training.model_copy(update={"lr": 0.01})})
    assert run_tiny(folder, changed).computed
    assert mine.record.training != before


@squares
def test_a_failed_dense_twin_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.training.loop.TrainingLoop, "_step", lambda *_: torch.tensor([float("nan"), 0.0]))
    problems = run_tiny(tmp_path / "run", tiny_config(heads=["softcam-sparse@start=dense"])).problems
    (problem,) = problems
    assert "starts from the trained weights of 'softcam-dense', whose training failed: training diverged" in problem


@squares
def test_twins_that_differ_are_one_line(tmp_path: Path) -> None:
    config = tiny_config(heads=["softcam-sparse@start=dense"])
    config = config.model_copy(update={"heads": {"softcam-dense": {"pooling": "max"}}})
    (problem,) = run_tiny(tmp_path / "run", config).problems
    assert "the two differ in pooling; give both the same" in problem


@squares
def test_a_head_cannot_start_from_itself(tmp_path: Path) -> None:
    config = tiny_config(heads=["softcam-dense"]).model_copy(update={"heads": {"softcam-dense": {"start": "dense"}}})
    with pytest.raises(UserError, match="head 'softcam-dense' starts from itself"):
        run_tiny(tmp_path / "run", config)
