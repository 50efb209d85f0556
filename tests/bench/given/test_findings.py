"""Evaluation of a planted network whose finding k looks at its own region only: the truth is known by construction."""

from __future__ import annotations

import math
import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import run_benchmark
from bench import evaluate
from bench.cli.main import app
from bench.contracts import UserError
from bench.given.results.predictions import auc_error
from bench.given.results.result import Result
from bench.metrics import patch_at
from bench.report.frames.load import load_frames
from tests.support.datasets.folder import make_findings

SIDE, COUNT = 32, 24
FINDINGS = ("left", "right", "low")
#: Upper left corner of the 8×8 square of each finding.
CORNERS = ((2, 2), (4, 22), (22, 12))
DRAW = torch.Generator().manual_seed(0)


def region(finding: int) -> Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    row, column = CORNERS[finding]
    mask[row : row + 8, column : column + 8] = True
    return mask


REGIONS = torch.stack([region(one) for one in range(3)])
LABELS = torch.tensor([[index >> at & 1 for at in range(3)] for index in range(COUNT)])
IMAGES = torch.rand(COUNT, 3, SIDE, SIDE, generator=DRAW) * 0.3
for place, labels in enumerate(LABELS):
    for finding in torch.nonzero(labels).flatten().tolist():
        IMAGES[place][:, REGIONS[finding]] += 0.6
RAMP = torch.arange(1.0, SIDE**2 + 1).reshape(SIDE, SIDE) / SIDE**2
MASKS = {name: [REGIONS[at] & bool(row[at]) for row in LABELS] for at, name in enumerate(FINDINGS)}
PATIENTS = [f"p{place // 2}" for place in range(COUNT)]


class Planted(nn.Module):
    """Logit of a finding: brightness of its region, minus a bias; the feature map has a channel per region."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.mean.weight, 1 / 3)
        nn.init.zeros_(self.mean.bias)
        self.register_buffer("regions", REGIONS.float())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, 3)
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(3) * 16 * 8)
            self.fc.bias.fill_(-3.5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.mean(images) * self.regions
        return self.fc(self.pool(features).flatten(1))


def own_region(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The map of a finding: the region that the network reads for it."""
    return REGIONS[targets].float()


def graded(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The region again, with values that leave no two patches alike."""
    return REGIONS[targets] * RAMP


def next_region(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The map of another finding."""
    return REGIONS[(targets + 1) % 3].float()


def run(**changes: Any) -> Result:
    given: dict[str, Any] = {
        "explainers": [own_region, graded, next_region, "softcam", "gradcam"],
        "metrics": ["activation_precision", "pixel_auroc", "audc@zero", "audc_accuracy@zero", "false_alarm_area"],
        "groups": PATIENTS,
        "mean": 0,
        "std": 1,
        "explain": {"steps": 6, "gallery": 3},
    }
    arguments = {"images": IMAGES, "masks": MASKS, "labels": LABELS} | given | changes
    return evaluate(Planted(), **arguments)


@pytest.fixture(scope="module")
def result() -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run()


def scores(result: Result, explainer: str, metric: str) -> Any:
    rows = result.scores
    return rows[(rows["explainer"] == explainer) & (rows["metric"] == metric)]


def test_explained_are_the_findings_that_are_present(result: Result) -> None:
    rows = scores(result, "own_region", "activation_precision")
    found = set(zip(rows["image"], rows["finding"], strict=True))
    expected = {
        (f"image {place}", FINDINGS[at]) for place, row in enumerate(LABELS) for at in torch.nonzero(row).flatten()
    }
    assert found == expected
    assert len(rows) == len(expected)
    groups = dict(zip(rows["image"], rows["group"], strict=True))
    assert groups == {f"image {place}": PATIENTS[place] for place in range(COUNT) if LABELS[place].any()}
    healthy = scores(result, "own_region", "false_alarm_area")
    assert set(healthy["finding"]) == {"no finding"}
    assert set(healthy["image"]) == {f"image {place}" for place in range(COUNT) if not LABELS[place].any()}


def test_a_map_is_scored_with_the_mask_of_its_own_finding(result: Result) -> None:
    """The regions are disjoint: the map of another finding hits nothing, even where that finding is present too."""
    assert scores(result, "own_region", "activation_precision")["value"].eq(1).all()
    assert scores(result, "next_region", "activation_precision")["value"].eq(0).all()


def test_the_mask_is_the_ceiling_and_random_maps_are_at_chance_for_every_finding(result: Result) -> None:
    for finding in FINDINGS:
        oracle, random = (scores(result, name, "pixel_auroc") for name in ("mask_oracle", "random"))
        assert oracle[oracle["finding"] == finding]["value"].eq(1).all()
        precision = scores(result, "random", "activation_precision")
        chance = precision[precision["finding"] == finding]["value"].mean()
        assert chance == pytest.approx(64 / SIDE**2, abs=0.03)
        assert random[random["finding"] == finding]["value"].mean() == pytest.approx(0.5, abs=0.12)


def test_own_evidence_of_a_logit_is_exact_and_in_its_region(result: Result) -> None:
    for name in ("softcam", "gradcam"):
        assert scores(result, name, "pixel_auroc")["value"].min() > 0.95, name


def test_deletion_is_of_the_sigmoid_of_one_logit_by_hand(result: Result) -> None:
    """The network is a sum over pixels, so the curve can be calculated without it."""
    patch, steps = patch_at(SIDE), 6
    cells = [(row, column) for row in range(0, SIDE, patch) for column in range(0, SIDE, patch)]
    rows = scores(result, "graded", "audc@zero").set_index(["image", "finding"])["value"]
    for place, labels in enumerate(LABELS):
        for finding in torch.nonzero(labels).flatten().tolist():
            values = REGIONS[finding] * RAMP
            ranked = sorted(cells, key=lambda at: -float(values[at[0] : at[0] + patch, at[1] : at[1] + patch].mean()))
            image = (IMAGES[place] * 255).round() / 255
            curve = []
            for row, column in [(SIDE, SIDE), *ranked[:steps]]:  # nothing is removed at first
                image[:, row : row + patch, column : column + patch] = 0
                total = float(image.mean(dim=0)[REGIONS[finding]].sum())
                curve.append(1 / (1 + math.exp(3.5 - 128 * total / SIDE**2)))
            area = sum((one + other) / 2 for one, other in pairwise(curve)) / steps / curve[0]
            assert rows[f"image {place}", FINDINGS[finding]] == pytest.approx(area, abs=1e-4)
            assert curve[0] > 0.8 > 0.6 > curve[-1]


def test_deletion_depends_on_no_other_finding(result: Result) -> None:
    """Filling the region of another finding leaves the curve of this one flat."""
    rows = scores(result, "next_region", "audc@zero")
    assert rows["value"].median() == pytest.approx(1, abs=0.02)
    assert scores(result, "own_region", "audc@zero")["value"].max() < 0.95


def test_classification_is_the_macro_mean_of_findings(result: Result) -> None:
    with torch.no_grad():
        logits = Planted()((IMAGES * 255).round() / 255)
    assert result.classification["auc"] == pytest.approx(sk.roc_auc_score(LABELS, logits, average="macro"))
    accuracy = ((logits > 0) == LABELS.bool()).float().mean().item()
    assert result.classification["accuracy"] == pytest.approx(accuracy)


def test_verdict_counts_patients(result: Result) -> None:
    verdict = result.verdict("own_region", "next_region", metric="activation_precision")
    assert verdict.verdict == "better"
    assert verdict.difference == pytest.approx(1)
    row = verdict.table.iloc[0]
    with_findings = {PATIENTS[place] for place in range(COUNT) if LABELS[place].any()}
    assert row["groups"] == len(with_findings)
    assert row["n"] == int(LABELS.sum())


def test_a_text_says_how_labels_were_read_and_figures_are_drawn(result: Result) -> None:
    assert "each output is read by a sigmoid of its own" in repr(result)
    assert result.warnings == []
    result.plot.gallery(3)
    result.plot.deletion()


def test_masks_as_one_array_are_the_same(result: Result) -> None:
    stacked = torch.stack([torch.stack(list(MASKS[name])) for name in FINDINGS], dim=1)
    again = run(masks=stacked, classes=FINDINGS, explainers=[own_region], metrics=["activation_precision"])
    ours, theirs = (scores(one, "own_region", "activation_precision") for one in (result, again))
    assert ours["value"].tolist() == theirs["value"].tolist()
    assert ours["finding"].tolist() == theirs["finding"].tolist()


def test_order_of_the_masks_does_not_matter(result: Result) -> None:
    turned = {name: MASKS[name] for name in reversed(FINDINGS)}
    again = run(masks=turned, classes=FINDINGS, explainers=[own_region], metrics=["activation_precision"])
    assert scores(again, "own_region", "activation_precision")["value"].eq(1).all()


def test_unknown_labels_are_neither_explained_nor_scored() -> None:
    labels = LABELS.float()
    labels[5, 0] = float("nan")  # of (1, 0, 1)
    masks = MASKS | {"left": [mask & (place != 5) for place, mask in enumerate(MASKS["left"])]}
    found = run(labels=labels, masks=masks, explainers=[own_region], metrics=["activation_precision"])
    rows = scores(found, "own_region", "activation_precision")
    assert sorted(rows[rows["image"] == "image 5"]["finding"]) == ["low"]
    with torch.no_grad():
        logits = Planted()((IMAGES * 255).round() / 255)
    known = labels[:, 0] >= 0
    expected = [
        sk.roc_auc_score(LABELS[known, 0], logits[known, 0]),
        *(sk.roc_auc_score(LABELS[:, at], logits[:, at]) for at in (1, 2)),
    ]
    assert found.classification["auc"] == pytest.approx(np.mean(expected))


def test_the_warning_of_chance_averages_the_errors_of_findings() -> None:
    single = auc_error(np.array([0, 0, 1, 1, 1]))
    both = auc_error(np.array([[0, 1], [0, 1], [1, 0], [1, 0], [1, -1], [-1, 0]]))
    other = auc_error(np.array([1, 1, 0, 0, 0]))
    assert single == pytest.approx(math.sqrt(6 / (12 * 2 * 3)))
    assert both == pytest.approx(math.sqrt(single**2 + other**2) / 2)


class Probabilities(Planted):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).sigmoid()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "label 2": ({"labels": LABELS * 2}, r"the labels hold 2; give 1 \(present\), 0 \(absent\), and -1 or nan"),
    "count": ({"labels": LABELS[:3]}, r"there are 3 labels for 24 images"),
    "outputs": ({"labels": LABELS[:, :2], "masks": None}, r"there are 2 labels per image, but the model has 3 outputs"),
    "unknown finding": (
        {"masks": {"mass": MASKS["low"]}, "classes": FINDINGS},
        r"masks of 'mass', which is no finding",
    ),
    "absent": (
        {"masks": MASKS | {"low": list(REGIONS[[2]].expand(COUNT, -1, -1))}},
        r"the mask of image 0 marks 'low', .*label is absent \(0\); correct one",
    ),
    "no mask per finding": (
        {"masks": list(REGIONS[[0] * COUNT])},
        r"the masks of image 0 are not one \(H,W\) for each",
    ),
    "nothing present": ({"labels": LABELS * 0, "masks": None}, r"no finding is present in any image"),
    "healthy": ({"healthy": 0}, r"healthy=0 does not apply to several labels per image; leave it out"),
    "targets": ({"targets": "predicted"}, r"targets does not apply to several labels per image"),
    "one-hot": ({"labels": torch.eye(3)[[0, 1, 2] * 8], "masks": None}, r"labels have the shape \(24, 3\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_one_line(what: str) -> None:
    changes, message = WRONG[what]
    with pytest.raises(UserError) as caught:
        run(**changes)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_are_refused() -> None:
    with pytest.raises(UserError, match=r"probabilities \(of a sigmoid\), and logits are expected"):
        evaluate(Probabilities(), IMAGES, MASKS, LABELS)


NET = """
from torch import nn

def build(classes):
    features = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""


def test_the_command_reads_a_table_of_findings(tmp_path: Path, unsaved: None) -> None:
    folder = make_findings(tmp_path / "own")
    (folder / "labels.csv").rename(folder / "my.csv")
    net = tmp_path / "net.py"
    net.write_text(NET)
    given = ["evaluate", "--model", f"{net}:build", "--classes", "2", "--size", "32", "--device", "cpu"]
    given += ["--explainers", "gradcam", "--metrics", "pixel_auroc", "--images", "4", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(
        app, [*given, "--labels", "multi", "--data", str(folder / "my.csv")], obj=run_benchmark.register
    )
    assert found.exit_code == 0, found.output
    scores = load_frames(tmp_path / "out").rows()
    assert {name.partition(" [")[2] for name in scores["image"]} == {"effusion]", "nodule]"}
    for wrong, message in [
        (["--labels", "single", "--data", str(folder / "my.csv")], "--labels single: .* has other labels"),
        (["--labels", "both", "--data", str(folder / "my.csv")], "--labels both: give single or multi"),
        (["--data", str(folder / "no.csv")], "no.csv not found"),
        ([], "give either --datasets or --data"),
    ]:
        refused = CliRunner().invoke(app, [*given, *wrong], obj=run_benchmark.register)
        assert isinstance(refused.exception, UserError)
        assert re.search(message, str(refused.exception)), refused.exception
