"""Phantoms: the truth that masks, twins and boxes claim, and that only lesions tell the classes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bench.contracts import UserError
from bench.data.phantoms.scene import Phantom
from bench.registry import DATASETS

BINARY = ("fundus-phantom", "oct-phantom", "cxr-phantom")
ALL = (*BINARY, "fundus-phantom@grades", "oct-phantom@classes")


def build(name: str, split: str = "test", size: int = 96, count: int = 20, seed: int = 0) -> Phantom:
    return DATASETS[name].builder(Path("nowhere"), split, size=size, count=count, seed=seed)


def changed(one: Tensor, other: Tensor) -> np.ndarray:
    """Pixels (S,S) in which two images (3,S,S) differ."""
    return (one != other).any(dim=0).numpy()


def grown(mask: Tensor, side: float) -> np.ndarray:
    """Mask (S,S) dilated by a share of the image side, for the faint rim of soft lesions."""
    return ndimage.binary_dilation(mask.numpy(), iterations=max(2, round(side * mask.shape[0])))


def diseased(phantom: Phantom) -> list[int]:
    return [index for index in range(len(phantom)) if phantom.label(index)]


@pytest.mark.parametrize("name", ALL)
def test_registered_facts(name: str) -> None:
    info = DATASETS[name]
    assert info.source == "generated"
    assert info.licence == "MIT (generated)"
    assert info.in_all == ("@" not in name)
    assert info.masks == ("box" if name == "cxr-phantom" else "pixel")
    assert len(info.classes) == {"fundus-phantom@grades": 5, "oct-phantom@classes": 4}.get(name, 2)


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", ALL)
def test_samples_at_any_size(name: str, size: int) -> None:
    phantom = build(name, size=size, count=6)
    for index, sample in enumerate(phantom):
        assert sample.image.shape == (3, size, size)
        assert sample.image.dtype == torch.uint8
        assert sample.image.float().std() > 10
        assert sample.mask.shape == sample.fov.shape == (size, size)
        assert sample.mask.dtype == sample.fov.dtype == torch.bool
        assert sample.id == sample.group == f"{name}-test-{index:05d}"
        assert bool(sample.mask.any()) == (sample.label > 0)
        assert not (phantom.exact_mask(index) & ~sample.fov).any()


@pytest.mark.parametrize("name", ALL)
def test_an_image_depends_on_its_names_alone(name: str) -> None:
    first, longer = build(name, count=6)[5], build(name, count=30)[5]
    assert torch.equal(first.image, longer.image)
    assert torch.equal(first.mask, longer.mask)
    assert first.label == longer.label
    for other in (build(name, seed=1)[5], build(name, split="train")[5], build(name)[6]):
        assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("name", ALL)
def test_classes_are_balanced(name: str) -> None:
    phantom = build(name, count=60)
    labels = [phantom.label(index) for index in range(60)]
    assert np.ptp(np.bincount(labels, minlength=len(phantom.classes))) == 0
    assert labels != sorted(labels)
    assert [sample.label for sample in build(name, count=8)] == labels[:8]


@pytest.mark.parametrize("name", ALL)
def test_twin_differs_in_every_lesion_and_nowhere_else(name: str) -> None:
    phantom = build(name)
    for index in range(len(phantom)):
        difference = changed(phantom[index].image, phantom.counterfactual(index))
        lesions = phantom.lesions(index)
        assert bool(lesions) == (phantom.label(index) > 0)
        assert not (difference & ~grown(phantom.exact_mask(index), 0.03)).any()
        assert all(difference[lesion.numpy()].mean() > 0.5 for lesion in lesions)


@pytest.mark.parametrize("name", ALL)
def test_removing_one_lesion_changes_only_its_pixels(name: str) -> None:
    phantom = build(name, count=12)
    for index in diseased(phantom):
        image, lesions = phantom[index].image, phantom.lesions(index)
        for number, lesion in enumerate(lesions):
            difference = changed(image, phantom.counterfactual(index, lesion=number))
            assert difference[lesion.numpy()].any()
            assert not (difference & ~grown(lesion, 0.03)).any()
        with pytest.raises(IndexError):
            phantom.counterfactual(index, lesion=len(lesions))


def test_lesions_unite_to_the_mask() -> None:
    phantom = build("fundus-phantom@grades")
    for index in diseased(phantom):
        assert torch.equal(torch.stack(phantom.lesions(index)).any(dim=0), phantom[index].mask)


def test_boxes_are_the_tightest_around_each_opacity() -> None:
    phantom = build("cxr-phantom")
    for index in diseased(phantom):
        boxes = torch.zeros(96, 96, dtype=torch.bool)
        for lesion in phantom.lesions(index):
            rows, columns = torch.nonzero(lesion, as_tuple=True)
            boxes[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert torch.equal(boxes, phantom[index].mask)
        assert not (phantom.exact_mask(index) & ~boxes).any()
        assert phantom.exact_mask(index).sum() < boxes.sum()


def test_grades_grow_with_lesion_load() -> None:
    phantom = build("fundus-phantom@grades", count=50)
    counts: dict[int, list[int]] = {grade: [] for grade in range(5)}
    for index in range(50):
        counts[phantom.label(index)].append(len(phantom.lesions(index)))
    means = [np.mean(counts[grade]) for grade in range(5)]
    assert means == sorted(means)
    assert set(counts[0]) == {0}
    assert 2 <= min(counts[1]) <= max(counts[1]) <= 4
    assert min(counts[4]) >= 11


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UserError, match="has no split 'holdout'"):
        build("oct-phantom", split="holdout")
    with pytest.raises(UserError, match="at least 64"):
        build("oct-phantom", size=32)
    with pytest.raises(IndexError):
        build("oct-phantom", count=4)[4]


def global_statistics(image: Tensor) -> np.ndarray:
    """Moments and percentiles per channel, gradient energy at three scales, coarse 4×4 means of an image (3,S,S)."""
    values = image.numpy() / 255
    flat = values.reshape(3, -1)
    mean, std = flat.mean(axis=1), flat.std(axis=1)
    skew = ((flat - mean[:, None]) ** 3).mean(axis=1) / std**3
    found = [mean, std, skew, np.percentile(flat, [1, 5, 25, 50, 75, 95, 99], axis=1).ravel()]
    for factor in (1, 2, 4):
        small = coarse(values, values.shape[1] // factor)
        found += [
            np.array([np.abs(step).mean(), (step**2).mean()]) for step in (np.diff(small), np.diff(small, axis=1))
        ]
    return np.concatenate([*found, coarse(values, 4).ravel()])


def coarse(values: np.ndarray, side: int) -> np.ndarray:
    """Block means (3,side,side) of an image (3,S,S)."""
    block = values.shape[1] // side
    return values.reshape(3, side, block, side, block).mean(axis=(2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARY)
def test_global_statistics_do_not_give_the_class_away(name: str) -> None:
    features, labels = {}, {}
    for split in ("train", "test"):
        samples = list(build(name, split, count=400))
        features[split] = np.stack([global_statistics(sample.image) for sample in samples])
        labels[split] = [sample.label for sample in samples]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features["train"], labels["train"])
    assert roc_auc_score(labels["test"], model.predict_proba(features["test"])[:, 1]) < 0.65
