"""The search for the weight of a penalty: its rule on planted curves, its ladder, and its record."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bench.training.penalty_search as search
from bench.contracts import EvidenceClassifier
from bench.errors import UserError
from bench.registry import HEADS
from bench.run.plan import make_plan
from bench.statistics.classification import balanced_accuracy
from bench.store.cell_facts import SearchStep
from bench.store.folders import RunStore
from bench.store.records import CellKey, CellRecord
from bench.training.penalty_search import choose, is_within, near_zero
from tests.support.made import run_tiny, stopped_in_second_epoch, tiny_config

AUTO = "softcam-sparse@l1=auto"


def step(auc: float, balanced: float = 0.9, weight: float = 0.0, within: bool = True) -> SearchStep:
    return SearchStep(weights={"l1": weight}, auc=auc, balanced_accuracy=balanced, near_zero=0, within=within)


@pytest.mark.parametrize(
    ("auc", "balanced", "within"),
    [(0.94, 0.88, True), (0.99, 0.99, True), (0.939, 0.9, False), (0.96, 0.879, False), (float("nan"), 0.9, False)],
)
def test_both_scores_stay_within_the_margin(auc: float, balanced: float, within: bool) -> None:
    assert is_within(step(auc, balanced), step(0.96, 0.9), 0.02) == within


@pytest.mark.parametrize(
    ("within", "chosen", "reason"),
    [
        ([True, True, True], 2, "the largest weight of the ladder stays"),
        ([True, False, True, False, False], 2, "no larger weight that was tried stays"),
        ([False, False], 0, "no weight stays within the margin"),
    ],
)
def test_choice_on_planted_curves(within: list[bool], chosen: int, reason: str) -> None:
    found, why = choose([step(0.9, within=one) for one in within])
    assert found == chosen
    assert reason in why


def test_share_of_evidence_near_zero() -> None:
    evidence = torch.zeros(3, 2, 2, 2)
    evidence[0].flatten()[:4] = torch.tensor([-100.0, 1.01, 0.99, -0.5])  # six of eight below 1
    evidence[1] = -7.0
    assert near_zero(evidence).tolist() == [6 / 8, 0.0, 1.0]


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    labels, predicted = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 2])
    assert balanced_accuracy(predicted, labels) == (3 / 4 + 1) / 2


@pytest.mark.usefixtures("squares")
def test_planted_curve_chooses_its_lambda_and_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third λ and two after the fourth lose too much; the classifier of the cell is that of the fourth."""
    auc = [0.95, 0.95, 0.94, 0.92, 0.935, 0.92, 0.91]
    calls: list[dict[str, float]] = []
    kept: list[dict[str, Any]] = []

    def measured(self: search.Search, classifier: EvidenceClassifier, weights: dict[str, float]) -> SearchStep:
        calls.append(weights)
        kept.append({name: value.clone() for name, value in classifier.state_dict().items()})
        return SearchStep(weights=weights, auc=auc[len(calls) - 1], balanced_accuracy=0.9, near_zero=0.1)

    monkeypatch.setattr(search.Search, "_measured", measured)
    config = tiny_config(heads=[AUTO], explainers=["softcam"])
    config = config.model_copy(update={"training": config.training.model_copy(update={"search_epochs": 1})})
    assert run_tiny(tmp_path / "run", config).problems == []
    cell = RunStore(tmp_path / "run").cell(CellKey("squares", "compact", AUTO, 0))
    record = cell.record
    found = record.penalty_search
    assert found is not None
    assert found.chosen == 3
    assert [one.within for one in found.steps] == [True, True, False, True, False, False]
    assert found.twin == "softcam-dense"
    weights = [one.weights["l1"] for one in found.steps]
    assert weights == sorted(weights)
    assert all(later / earlier == pytest.approx(search.FACTOR, rel=0.1) for earlier, later in pairwise(weights))
    assert record.parameters is not None
    assert record.parameters["l1"] == weights[3]
    assert CellRecord.model_validate_json(record.model_dump_json()) == record
    assert not list(cell.folder.glob("checkpoint*"))
    stored = load_file(cell.weights)
    assert all(torch.equal(value, stored[name]) for name, value in kept[4].items())  # after the twin, the fourth λ
    assert not all(torch.equal(value, stored[name]) for name, value in kept[5].items())
    assert record.near_zero is not None


@pytest.mark.usefixtures("squares")
def test_the_ladder_starts_at_a_share_of_a_guess_and_means_the_same_on_both_scales(tmp_path: Path) -> None:
    heads = [f"softcam-elastic@l1=auto@l2=auto@scale={scale}" for scale in ("sum", "mean")]
    config = tiny_config(heads=heads, explainers=["softcam"])
    changes = {"search_epochs": 1, "search_steps": 1}
    config = config.model_copy(update={"training": config.training.model_copy(update=changes)})
    assert run_tiny(tmp_path / "run", config).problems == []
    cells = [RunStore(tmp_path / "run").cell(CellKey("squares", "compact", head, 0)) for head in heads]
    per_sum, per_mean = (cell.record.penalty_search.steps[0].weights for cell in cells)  # type: ignore[union-attr]
    height, width = cells[0].record.evidence_grid or (0, 0)
    count = 2 * height * width
    assert per_mean["l1"] == pytest.approx(per_sum["l1"] * count, rel=0.1)  # two digits
    assert per_mean["l2"] == pytest.approx(per_sum["l2"] * math.sqrt(count), rel=0.1)


@pytest.mark.usefixtures("squares")
def test_a_stopped_search_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    config = tiny_config(heads=["softcam-dense", AUTO], explainers=["softcam"])
    changes = {"search_epochs": 2, "search_steps": 2, "search_margin": 1.0}
    config = config.model_copy(update={"training": config.training.model_copy(update=changes)})
    dense = config.model_copy(update={"run": config.run.model_copy(update={"heads": ["softcam-dense"]})})
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    assert run_tiny(folders[0], config).problems == []
    run_tiny(folders[1], dense)
    with pytest.raises(KeyboardInterrupt), stopped_in_second_epoch():
        run_tiny(folders[1], config)
    key = CellKey("squares", "compact", AUTO, 0)
    assert list(RunStore(folders[1]).cell(key).folder.glob("checkpoint*"))
    assert run_tiny(folders[1], config).problems == []
    one, two = (load_file(RunStore(folder).cell(key).weights) for folder in folders)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.usefixtures("squares")
def test_studies_that_train_use_the_chosen_weight(tmp_path: Path) -> None:
    config = tiny_config(heads=[AUTO], explainers=["softcam"], studies=["random_labels"])
    config = config.model_copy(update={"studies": {"random_labels": {"images": 2}}})
    assert run_tiny(tmp_path / "run", config).problems == []
    outcomes = RunStore(tmp_path / "run").cell(CellKey("squares", "compact", AUTO, 0)).record.studies
    assert outcomes["random_labels"]["softcam"].status == "ok"


def test_a_weight_must_be_searched_before_it_is_used() -> None:
    with pytest.raises(ValueError, match="l1 = auto must be searched first"):
        HEADS["softcam-sparse"](l1="auto").penalty(torch.ones(1, 2, 2, 2))


@pytest.mark.usefixtures("squares")
@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("softcam-sparse@l1=much", "l1 must be a number of at least 0, or auto, not 'much'"),
        ("softcam-sparse@start=blackbox", "unknown start 'blackbox'; known: dense"),
        ("softcam-ridge@scale=max", "unknown scale 'max'; known: sum, mean"),
        ("softcam-sparse@penalty_ramp=-1", "penalty_ramp must be at least 0 epochs, not -1"),
    ],
)
def test_bad_options_are_named(head: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(tiny_config(heads=[head]), tmp_path)
