"""The planted tag: on which images it is, that nothing else changes, and how a run asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli.overrides import Flags, merged_values
from bench.config import load_config, parse_config
from bench.contracts import UserError
from bench.data.phantoms.scene import Phantom
from bench.registry import DATASETS
from bench.run.plan import make_plan
from bench.specs import Shortcut, parse_shortcut
from tests.support.made import registered_squares

BINARY = ("fundus-phantom", "oct-phantom", "cxr-phantom")
ALL = (*BINARY, "fundus-phantom@grades", "oct-phantom@classes")
TAG = "tag:0.9"


def build(
    name: str, split: str = "test", count: int = 12, shortcut: str = TAG, seed: int = 0, size: int = 96
) -> Phantom:
    return DATASETS[name].builder(Path("nowhere"), split, size=size, count=count, seed=seed, shortcut=shortcut)


def tagged(phantom: Phantom) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is diseased, and whether it bears the tag."""
    indices = range(len(phantom))
    diseased = [phantom.label(index) > 0 for index in indices]
    return np.array(diseased), np.array([phantom.is_tagged(index) for index in indices])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", ["cxr-phantom", "oct-phantom@classes"])
def test_training_images_bear_the_tag_at_the_rate(name: str, split: str) -> None:
    diseased, bears = tagged(build(name, split, count=4000))
    for group, rate in ((diseased, 0.9), (~diseased, 0.1)):
        error = np.sqrt(rate * (1 - rate) / group.sum())
        assert abs(bears[group].mean() - rate) < 4 * error


@pytest.mark.parametrize("name", ALL)
def test_in_the_test_split_tag_and_label_are_independent(name: str) -> None:
    phantom = build(name, count=200)
    _, bears = tagged(phantom)
    labels = np.array([phantom.label(index) for index in range(200)])
    assert {bears[labels == label].mean() for label in set(labels)} == {0.5}


def test_tags_depend_on_names_alone() -> None:
    first, longer = tagged(build("cxr-phantom", "train", 50))[1], tagged(build("cxr-phantom", "train", 300))[1]
    assert (first == longer[:50]).all()
    assert (first != tagged(build("cxr-phantom", "train", 50, seed=1))[1]).any()
    diseased, always = tagged(build("cxr-phantom", "train", 300, "tag:1"))
    assert (always == diseased).all()
    assert not tagged(build("cxr-phantom", "train", 50, ""))[1].any()


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_the_tag_changes(name: str) -> None:
    with_shortcut, plain = build(name), build(name, shortcut="")
    for index in range(12):
        ours, theirs, mask = with_shortcut[index], plain[index], with_shortcut.tag_mask(index)
        differing = (ours.image != theirs.image).any(dim=0)
        assert bool(differing.any()) == with_shortcut.is_tagged(index)
        assert not (differing & ~mask).any()
        assert torch.equal(ours.mask, theirs.mask)
        assert (ours.id, ours.group, ours.label) == (theirs.id, theirs.group, theirs.label)
        assert torch.equal(ours.fov, theirs.fov | mask if with_shortcut.is_tagged(index) else theirs.fov)


@pytest.mark.parametrize("name", BINARY)
def test_any_phantom_renders_both_versions(name: str) -> None:
    with_shortcut, plain = build(name), build(name, shortcut="")
    for index in range(6):
        both = [plain.with_tag(index, version) for version in (False, True)]
        assert torch.equal(both[0], plain[index].image)
        assert torch.equal(both[int(with_shortcut.is_tagged(index))], with_shortcut[index].image)
        differing = (both[0] != both[1]).any(dim=0)
        assert differing.any()
        assert not (differing & ~plain.tag_mask(index)).any()


@pytest.mark.parametrize("name", ALL)
def test_healthy_twin_keeps_the_tag(name: str) -> None:
    phantom, plain = build(name), build(name, shortcut="")
    for index in range(8):
        differing = (phantom.counterfactual(index) != plain.counterfactual(index)).any(dim=0)
        assert bool(differing.any()) == phantom.is_tagged(index)
        assert not (differing & ~phantom.tag_mask(index)).any()


@pytest.mark.parametrize("size", [64, 112])
@pytest.mark.parametrize("name", ALL)
def test_tag_is_small_bright_in_its_corner_and_off_the_lesions(name: str, size: int) -> None:
    phantom = build(name, count=40, size=size)
    corners = set()
    for index in range(40):
        mask, lesion = phantom.tag_mask(index), phantom.exact_mask(index)
        rows, columns = torch.nonzero(mask, as_tuple=True)
        side = max(8, round(0.11 * size))
        assert len(rows) == side**2 == int(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].sum())
        assert rows.min() > 0.8 * size
        assert columns.max() < 0.25 * size
        assert not (mask & lesion).any()
        assert phantom.with_tag(index, tagged=True)[:, mask].max() > 200
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) > 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tag", "not of the form tag:RATE"),
        ("hat:0.9", "not of the form tag:RATE"),
        ("tag:0.3", "must lie between 0.5"),
        ("tag:1.1", "must lie between 0.5"),
        ("tag:1.1.1", "must lie between 0.5"),
    ],
)
def test_unreadable_shortcuts_are_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(datasets=[f"cxr-phantom@shortcut={text}"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert parse_shortcut(TAG) == Shortcut("tag", 0.9)


def plan_of(**run: Any) -> Any:
    values = load_config("smoke").model_dump()
    values["run"] |= run
    return make_plan(parse_config(values, "made"), Path("nowhere"))


def test_the_name_makes_cells_of_their_own() -> None:
    plan = plan_of(datasets=["cxr-phantom", f"cxr-phantom@shortcut={TAG}"])
    assert [plan.configs[name].data.shortcut for name in plan.datasets] == ["", TAG]
    assert len({key.dataset for key in plan.cells}) == 2


def test_the_flag_plants_in_every_phantom_and_adds_the_studies() -> None:
    named = "cxr-phantom,fundus-phantom@grades@size=96,oct-phantom@shortcut=tag:1"
    values = merged_values("smoke", Flags(datasets=named, shortcut=TAG))
    plan = make_plan(parse_config(values, "made"), Path("nowhere"))
    assert {name: config.data.shortcut for name, config in plan.configs.items()} == {
        f"cxr-phantom@shortcut={TAG}": TAG,
        f"fundus-phantom@grades@size=96@shortcut={TAG}": TAG,
        "oct-phantom@shortcut=tag:1": "tag:1",
    }
    assert plan.configs[f"fundus-phantom@grades@size=96@shortcut={TAG}"].data.size == 96
    assert list(plan.studies)[-2:] == ["shortcut_use", "shortcut"]


def test_data_sets_without_room_for_it_are_refused_or_left_out_of_all() -> None:
    refused = r"'squares@shortcut=tag:0\.9': no shortcut can be planted in it"
    with registered_squares(), pytest.raises(UserError, match=refused):
        plan_of(datasets=[f"squares@shortcut={TAG}"])
    plan = plan_of(datasets=[f"all@shortcut={TAG}"])
    assert set(plan.datasets) == {f"{name}@shortcut={TAG}" for name in BINARY}
    assert "elpv" in plan.absent
