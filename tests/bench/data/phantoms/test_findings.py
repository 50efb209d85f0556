"""Phantom with several findings: balanced labels, masks that are the truth, findings that change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.contracts import NO_FINDING, UserError
from bench.data.phantoms.findings import FINDINGS, NAME, FindingsPhantom, PhantomPairs
from bench.registry import DATASETS


def build(split: str = "test", count: int = 16, size: int = 96, seed: int = 0) -> FindingsPhantom:
    return FindingsPhantom(split, size, count, seed)


def pairs(count: int = 16) -> PhantomPairs:
    return PhantomPairs(build(count=count))


def test_it_is_registered_with_findings() -> None:
    info = DATASETS[NAME]
    assert (info.multilabel, info.healthy, info.lesion_free, info.in_all) == (True, None, NO_FINDING, False)
    assert isinstance(info.builder(Path("nowhere"), info.explain_split, size=64, count=8), PhantomPairs)
    with pytest.raises(UserError, match="split"):
        info.builder(Path("nowhere"), "tests")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_eight_images_hold_every_combination_once(split: str) -> None:
    phantom = build(split, count=24)
    for start in (0, 8, 16):
        assert len({phantom.truth(index) for index in range(start, start + 8)}) == 8


def test_labels_are_the_truth_or_unknown_in_training_only() -> None:
    for split in ("train", "val", "test"):
        phantom = build(split, count=200)
        known = np.array(phantom.label_rows)
        truth = np.array([phantom.truth(index) for index in range(200)])
        assert ((known == truth) | (known == -1)).all()
        assert (known == -1).mean() == pytest.approx(0.1 if split == "train" else 0, abs=0.03)


@pytest.mark.parametrize("size", [64, 160])
def test_masks_show_a_finding_exactly_where_it_is_present(size: int) -> None:
    phantom = build(size=size)
    for index in range(len(phantom)):
        for finding, is_present in enumerate(phantom.truth(index)):
            assert phantom.finding_mask(index, finding).any() == bool(is_present), (index, FINDINGS[finding])


def test_removing_a_finding_changes_its_own_place_and_nothing_else() -> None:
    phantom = build()
    for index in range(8):
        image = phantom[index].image
        for finding, is_present in enumerate(phantom.truth(index)):
            changed = (phantom.without(index, finding) != image).any(dim=0).numpy()
            assert changed.any() == bool(is_present)
            rim = ndimage.binary_dilation(phantom.finding_mask(index, finding).numpy(), iterations=6)
            assert not (changed & ~rim).any()


def test_two_images_are_of_one_patient_and_splits_share_none() -> None:
    groups = {split: [build(split)[index].group for index in range(4)] for split in ("train", "test")}
    assert groups["test"][0] == groups["test"][1] != groups["test"][2]
    assert not set(groups["train"]) & set(groups["test"])


def test_pairs_are_the_present_findings_and_images_without_any() -> None:
    found = pairs()
    expected = [
        (index, finding)
        for index in range(16)
        for finding in ([at for at, one in enumerate(found.images.truth(index)) if one] or [NO_FINDING])
    ]
    assert found.pairs == expected
    assert {sample.label for sample in found} == {0, 1, 2, NO_FINDING}
    for (index, finding), sample in zip(found.pairs, found, strict=True):
        image = found.images[index]
        assert torch.equal(sample.image, image.image)
        assert sample.group == image.group
        if finding == NO_FINDING:
            assert (sample.id, sample.mask) == (f"{image.id} [no finding]", None)
        else:
            assert sample.id == f"{image.id} [{FINDINGS[finding]}]"
            assert sample.mask is not None
            assert torch.equal(sample.mask, found.images.finding_mask(index, finding))


def test_the_truth_of_a_pair_is_that_of_its_finding() -> None:
    found = pairs()
    for at, (index, finding) in enumerate(found.pairs):
        if finding == NO_FINDING:
            assert torch.equal(found.counterfactual(at), found.images[index].image)
            assert not found.exact_mask(at).any()
            assert found.lesions(at) == []
            continue
        assert torch.equal(found.counterfactual(at), found.images.without(index, finding))
        lesions = found.lesions(at)
        assert torch.equal(torch.stack(lesions).any(dim=0), found.exact_mask(at))
        assert torch.equal(found.exact_mask(at), found.images.finding_mask(index, finding))
        if len(lesions) == 1:
            assert torch.equal(found.counterfactual(at, 0), found.counterfactual(at))


def test_samples_do_not_depend_on_the_count() -> None:
    few, many = build(count=4), build(count=12)
    assert all(torch.equal(few[index].image, many[index].image) for index in range(4))
    assert few.label_rows == many.label_rows[:4]


def test_bad_sizes_are_one_line() -> None:
    with pytest.raises(UserError, match=r"size must be at least 64"):
        build(size=32)
    with pytest.raises(IndexError):
        build(count=2)[2]
