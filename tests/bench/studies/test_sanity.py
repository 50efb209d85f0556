"""The studies of sanity, agreement and random labels compared with closed forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.contracts import Classifier, Explainer
from bench.data.prepare import TrainingData
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.context import EvaluationContext
from bench.models.factory import build_classifier
from bench.registry import EXPLAINERS, HEADS
from bench.seeds import generator
from bench.studies import Agreement, Sanity
from bench.studies.base import Subject
from bench.studies.random_labels import permuted, train_on_random_labels
from bench.training.classifier import CellClassifier
from bench.training.loop import TrainingLoop, train
from tests.support.made import squares, tiny_config
from tests.support.tiny import tiny_classifiers

STD = (0.5, 0.25, 2.0)


class Linear(Explainer):
    """A known linear function of the image alone: red minus twice green."""

    name, family, signed, paper = "linear", "control", True, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 0] - 2 * images[:, 1]


class Opposite(Explainer):
    """The image's red, with the sign of the class."""

    name, family, signed, paper = "opposite", "post-hoc", True, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 0] * torch.where(targets == 1, 1, -1)[:, None, None]


class Flat(Explainer):
    """The same everywhere, for every image."""

    name, family, signed, paper = "flat", "control", False, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return torch.ones(len(images), 4, 4)


def split_of(name: str) -> Split:
    samples = squares(Path(), name)
    return Split(
        name=name,
        images=torch.stack([(255 * sample.image).byte() for sample in samples]).numpy(),
        labels=np.array([sample.label for sample in samples]),
        masks=np.stack([sample.mask for sample in samples]),
        has_mask=np.ones(len(samples), dtype=bool),
        fov=None,
        ids=tuple(sample.id for sample in samples),
        groups=tuple(sample.group for sample in samples),
        classes=("plain", "square"),
        excluded=(),
        ignored=None,
        digest=name,
    )


def subject(classifier: Classifier | None = None) -> Subject:
    """Four explained images, all of class 1, with made-up logits of three classes of which 2 is the next."""
    split = split_of("test")
    context = EvaluationContext(
        classifier=classifier or tiny_classifiers()["black box"],
        split=split,
        explained=Selection(np.array([1, 3, 5, 7]), np.ones(4, dtype=bool), 4),
        section=tiny_config().explain,
        logits=np.array([[0.0, 3.0, 1.0]] * 4),
        targets=np.ones(4, dtype=int),
        healthy=0,
        mean=(0.4, 0.4, 0.4),
        std=STD,
        device=torch.device("cpu"),
        gallery=[],
        seed_names=("squares", "tiny", "head", 0),
    )
    trained: Any = SimpleNamespace()
    return Subject(trained, context, {}, [], {})


def study(explainer: Explainer, classifier: Classifier | None = None, **parameters: Any) -> pd.DataFrame:
    return Sanity(**{"images": 4} | parameters).measure(subject(classifier), explainer.name, explainer)


def check(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows.loc[rows["check"] == name, "value"].to_numpy(dtype=float)


@pytest.mark.parametrize("name", ["edges", "center_gaussian", "mask_oracle"])
def test_map_of_the_image_alone_outlives_every_weight(name: str) -> None:
    rows = study(EXPLAINERS[name]())
    cascade = rows[rows["check"] == "cascade"]
    assert sorted(cascade["stage"].unique()) == list(range(1, cascade["fresh"].nunique() + 1))
    assert list(cascade.sort_values("stage")["fresh"].unique()[[0, -1]]) == ["head", "all"]
    assert cascade.groupby("stage")["image"].nunique().eq(4).all()
    np.testing.assert_allclose(check(rows, "cascade"), 1)
    np.testing.assert_allclose(check(rows, "complexity_rise"), 0)
    np.testing.assert_allclose(check(rows, "class_sensitivity"), 0, atol=1e-12)


def test_noise_is_unlike_itself() -> None:
    """A random map asked twice: correlations of 49 cells have a standard deviation of 1/√48."""
    rows = study(EXPLAINERS["random"](), images=4, weight_draws=4)
    values = check(rows, "cascade")
    assert abs(values.mean()) < 4 / np.sqrt(48 * len(values))
    assert values.std() == pytest.approx(1 / np.sqrt(48), rel=0.5)
    assert abs(check(rows, "class_sensitivity").mean() - 1) < 4 / np.sqrt(48 * 4)


def test_max_sensitivity_of_a_constant_map_is_zero() -> None:
    rows = study(Flat())
    np.testing.assert_array_equal(check(rows, "max_sensitivity"), 0)
    assert np.isnan(check(rows, "cascade")).all()  # it has no ranks


def test_max_sensitivity_of_a_linear_map_has_a_closed_form() -> None:
    """The change is the map of the noise, in units of the normalised image: radius/std a channel."""
    rows = study(Linear(), radius=0.1, noise_draws=3)
    split, expected = split_of("test"), []
    for index in (1, 3, 5, 7):
        image = (torch.from_numpy(split.images[index]) / 255 - 0.4) / torch.tensor(STD)[:, None, None]
        changes = []
        for draw in range(3):
            noise = 2 * torch.rand(3, 32, 32, generator=generator("noise", f"test-{index}", draw)) - 1
            assert noise.abs().max() <= 1
            changes.append(0.1 * (noise[0] / STD[0] - 2 * noise[1] / STD[1]).norm())
        expected.append(max(changes) / (image[0] - 2 * image[1]).norm())
    np.testing.assert_allclose(check(rows, "max_sensitivity"), expected, rtol=1e-4)


def test_sensitivity_grows_with_the_radius_in_proportion_for_a_linear_map() -> None:
    near, far = (check(study(Linear(), radius=radius), "max_sensitivity") for radius in (0.01, 0.03))
    np.testing.assert_allclose(far, 3 * near, rtol=1e-4)


def test_opposite_evidence_is_as_class_sensitive_as_can_be() -> None:
    np.testing.assert_allclose(check(study(Opposite()), "class_sensitivity"), 2)


def test_rival_is_the_most_likely_other_class() -> None:
    asked: list[list[int]] = []

    class Asked(Linear):
        def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
            asked.append(targets.tolist())
            return super().explain(classifier, images, targets)

    study(Asked())
    assert [2] * 4 in asked
    assert all(targets in ([2] * 4, [1] * 4, [1] * 2) for targets in asked)


def test_a_learned_map_changes_and_the_classifier_does_not() -> None:
    classifier = tiny_classifiers()["black box"]
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    random, modes = torch.get_rng_state(), [part.training for part in classifier.modules()]
    rows = study(EXPLAINERS["inputxgradient"](), classifier)
    assert np.abs(check(rows, "cascade")[-4:]).mean() < 0.5
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in classifier.modules()] == modes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in classifier.modules())
    again = study(EXPLAINERS["inputxgradient"](), classifier)
    pd.testing.assert_frame_equal(rows, again)


def test_small_maps_are_means_over_cells() -> None:
    rows = Agreement(images=3, grid=8).measure(subject(), "linear", Linear())
    image = (torch.from_numpy(split_of("test").images[3]) / 255 - 0.4) / torch.tensor(STD)[:, None, None]
    expected = (image[0] - 2 * image[1]).reshape(8, 4, 8, 4).mean((1, 3))
    assert list(rows["image"]) == ["test-1", "test-3", "test-5"]
    np.testing.assert_allclose(rows["map"][1], expected.flatten(), rtol=1e-4, atol=1e-5)


def cell() -> CellClassifier:
    """The attributes of a cell that the training on permuted labels reads."""
    data = TrainingData(split_of("train"), split_of("val"), "other", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    facts: Any = SimpleNamespace(
        names=("squares", "compact", "blackbox", 0),
        batch_names=("squares", "compact", 0),
        data=data,
        config=tiny_config(),
        head=SimpleNamespace(head=HEADS["blackbox"]()),
        trained_head=SimpleNamespace(head=HEADS["blackbox"]()),
        device=torch.device("cpu"),
        prepared=SimpleNamespace(classes=("plain", "square")),
        init=None,
    )
    return facts


def test_random_labels_are_the_training_on_labels_permuted_by_hand(tmp_path: Path) -> None:
    trained = cell()
    random = torch.get_rng_state()
    classifier, accuracy = train_on_random_labels(trained)
    assert torch.equal(torch.get_rng_state(), random)
    data, by_hand = trained.data, {}
    for name in ("train", "val"):
        split = getattr(data, name)
        order = torch.randperm(len(split), generator=generator("random_labels", name, name)).tolist()
        by_hand[name] = replace(split, labels=np.array([split.labels[at] for at in order]))
    data = replace(data, **by_hand)
    with torch.random.fork_rng():
        expected, _ = build_classifier(trained.names, trained.head.head, 2, False)
        loop = TrainingLoop(expected, trained.head.head, data, trained.config.training, trained.device)
        train(loop, trained.batch_names, tmp_path / "x", lambda row: None)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in classifier.state_dict().items())
    images = (torch.from_numpy(by_hand["train"].images) / 255 - 0.5) / 0.2
    right = expected.eval()(images).argmax(dim=1).numpy() == by_hand["train"].labels
    assert accuracy == pytest.approx(right.mean())


def test_permuted_labels_are_the_same_ones_elsewhere() -> None:
    split = split_of("train")
    other = permuted(split)
    assert sorted(other.labels) == sorted(split.labels)
    assert (other.labels != split.labels).any()
    assert (split.labels == split_of("train").labels).all()
    assert other.images is split.images
