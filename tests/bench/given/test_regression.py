"""A model with one number as its output: explained and scored, without classes and probabilities."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import evaluate
from bench.errors import UserError
from bench.given.results.result import Result
from bench.report.frames.compared import compared_curves
from bench.report.tables.classification import classification_table

SIDE, COUNT = 32, 24


class Brightness(nn.Module):
    """The sum of all pixels above half, in tens, as a network with one output (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.detect = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU())
        nn.init.ones_(self.detect[0].weight)
        nn.init.constant_(self.detect[0].bias, -1.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.detect(images).mean(dim=(1, 2, 3)) * SIDE**2 / 10 - 40


def made() -> tuple[Tensor, Tensor, Tensor]:
    """Images with a white square on grey, their masks, and the outputs of ``Brightness`` for them."""
    images, masks = torch.full((COUNT, 3, SIDE, SIDE), 0.4), torch.zeros(COUNT, SIDE, SIDE, dtype=torch.bool)
    for index in range(COUNT):
        side, row, column = 4 + index % 9, index % 11, 3 * index % 17
        masks[index, row : row + side, column : column + side] = True
        images[index][:, masks[index]] = 1.0
    return images, masks, masks.sum(dim=(1, 2)) * 1.5 / 10 - 40


@pytest.fixture(scope="module")
def result() -> Result:
    images, masks, values = made()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return evaluate(
            Brightness().eval(),
            *(images, masks, values),
            explainers=["gradcam", "inputxgradient"],
            metrics=["pixel_auroc", "audc@zero", "auic@zero", "audc_accuracy@zero"],
            task="regression",
            mean=0,
            std=1,
            explain={"steps": 64},
        )


def test_errors_stand_in_the_place_of_classification_scores(result: Result) -> None:
    assert result.regression["mean_absolute_error"] < 0.2  # images are kept with 8 bits
    assert result.regression["correlation"] > 0.999
    assert "mean absolute error" in repr(result)
    assert "AUC" not in repr(result)
    assert np.isnan(result.classification["auc"])
    assert classification_table(result.frames).rows == []


def test_maps_on_what_the_output_reads_lose_it_first(result: Result) -> None:
    """The unit is the deviation of the outputs: an image whose square is removed falls by what it had above −40."""
    scores = result.scores.groupby(["metric", "explainer"])["value"].mean()
    assert scores["pixel_auroc", "mask_oracle"] == 1
    assert scores["audc@zero", "mask_oracle"] < scores["audc@zero", "random"] - 0.1
    assert scores["audc@zero", "inputxgradient"] < scores["audc@zero", "random"] - 0.1
    assert scores["auic@zero", "mask_oracle"] > scores["auic@zero", "random"]
    assert result.scores.query("metric == 'audc_accuracy@zero'")["value"].isna().all()
    assert result.scores.query("metric == 'audc@zero'")["value"].between(0, 1).all()


def test_a_curve_is_that_of_the_outputs(result: Result) -> None:
    """Every removed pixel of the square takes 0.15 from the output, and nothing else takes anything."""
    _, masks, values = made()
    unit = float(values.numpy().std())
    curves = {key[3]: rows for key, rows in compared_curves(result.frames, "deletion_curve", "zero")}
    for explainer, removes in (("mask_oracle", True), ("random", False)):
        for name, rows in curves[explainer].groupby("image"):
            found = rows.sort_values("step")["value"].to_numpy()
            assert found[0] == 1
            removed = (1 - found) * unit / 0.15
            exact = removed[found > 0]
            assert np.abs(exact - exact.round()).max() < 1e-3
            assert (np.diff(removed) >= -1e-6).all()
            if removes:
                whole = masks[int(str(name).split()[1])].sum().item()
                assert removed[-1] == pytest.approx(min(whole, unit / 0.15), abs=1e-3)


def test_without_values_nothing_is_compared() -> None:
    images, masks, _ = made()
    found = evaluate(
        *(Brightness().eval(), images, masks),
        explainers=["gradcam"],
        metrics=["pixel_auroc"],
        task="regression",
        mean=0,
        std=1,
    )
    assert found.regression == {}
    assert "true values unknown" in repr(found)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "ranking"}, "unknown task 'ranking'; give classification or regression"),
        ({"task": "regression", "expected_auc": 0.9}, "expected_auc does not apply to a regression"),
        ({"expected_auc": 1.5}, "expected_auc=1.5 is not an AUC"),
        ({"task": "regression", "labels": [1.0]}, "one finite number per image"),
        ({"task": "regression", "labels": [float("nan")] * COUNT}, "one finite number per image"),
        ({"task": "regression", "model": Two().eval()}, "the model has 2 outputs, and a regression needs one"),
    ],
)
def test_bad_choices_are_one_line(changes: dict[str, object], message: str) -> None:
    images, masks, values = made()
    given = {"model": Brightness().eval(), "images": images, "masks": masks, "labels": values} | changes
    with pytest.raises(UserError, match=message) as caught:
        evaluate(**given, explainers=["gradcam"], metrics=["pixel_auroc"], mean=0, std=1)
    assert "\n" not in str(caught.value)
