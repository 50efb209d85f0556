"""The fraction of diseased images that are called healthy once their lesions are removed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts import Classifier
from bench.data import counterfactuals
from bench.data.prepare import Prepared, TrainingData
from bench.training.lesion_reliance import lesion_reliance
from tests.support.scenes import LESION, PLACES, SIDE, Scenes, subject_of

COUNT = 45  # of every five scenes one is healthy
CPU = torch.device("cpu")


def subject(*places: int) -> tuple[Prepared, Classifier]:
    """A linear model that reads these places, and calls a scene ill that has a lesion at one of them."""
    weight = torch.zeros(SIDE, SIDE)
    for row, column in (PLACES[place] for place in places):
        weight[row : row + LESION, column : column + LESION] = 1
    made = subject_of(weight, COUNT)
    unread: Any = None
    info: Any = made.prepared.info
    return Prepared(info, unread, unread, made.context.split, unread, Scenes(COUNT)), made.context.classifier


def facts(prepared: Prepared, classifier: Classifier) -> dict[str, float] | None:
    unread: Any = None
    return lesion_reliance(prepared, classifier, TrainingData(unread, unread, "", (0.0,) * 3, (1.0,) * 3), CPU)


def test_a_model_that_reads_the_lesions_calls_every_image_without_them_healthy() -> None:
    assert facts(*subject(0)) == {"true_positives": 36, "called_healthy": 1.0}


def test_only_true_positives_count() -> None:
    """Scenes without a lesion at the place that is read are called healthy, and so are their counterfactuals."""
    assert facts(*subject(1)) == {"true_positives": 27, "called_healthy": 1.0}
    assert facts(*subject(3)) == {"true_positives": 9, "called_healthy": 1.0}


def test_a_model_without_a_true_positive_has_no_fraction() -> None:
    found = facts(*subject())
    assert found is not None
    assert found["true_positives"] == 0
    assert np.isnan(found["called_healthy"])


def test_a_model_that_reads_something_else_still_calls_them_ill() -> None:
    prepared, classifier = subject(0)

    def always_ill(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)

    classifier.forward = always_ill  # type: ignore[method-assign]
    assert facts(prepared, classifier) == {"true_positives": 36, "called_healthy": 0.0}


def test_counterfactuals_are_rendered_once_for_all_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterfactuals, "_MOST", 10)
    prepared, classifier = subject(0)
    rendered: list[int] = []
    monkeypatch.setattr(Scenes, "counterfactual", lambda self, index: rendered.append(index) or self._render([]))
    for _ in range(2):
        assert facts(prepared, classifier) == {"true_positives": 10, "called_healthy": 1.0}
    assert rendered == [index for index in range(COUNT) if index % 5][:10]


def test_without_counterfactuals_or_a_healthy_class_there_is_no_result() -> None:
    prepared, classifier = subject(0)
    no_healthy: Any = SimpleNamespace(lesion_free=None)
    for lacking in (replace(prepared, samples=[]), replace(prepared, info=no_healthy)):
        assert facts(lacking, classifier) is None
