"""Flags that override a config: which values they reach, and lists of names with some left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli.overrides import Flags, merged_values
from bench.config import Config, parse_config
from bench.errors import UserError
from bench.registry import HEADS
from bench.run.named_data import resolve_datasets
from bench.run.plan import Plan, make_plan

TABLES = """
[datasets.cxr-phantom.data]
size = 80
[datasets.cxr-phantom.training]
epochs = 5
[datasets.cxr-phantom.explain]
diseased = 3
[datasets.cxr-phantom.backbones.compact.training]
epochs = 6
"""


def merged(tmp_path: Path, **flags: Any) -> Config:
    (tmp_path / "own.toml").write_text('extends = "smoke"\n' + TABLES)
    return parse_config(merged_values(str(tmp_path / "own.toml"), Flags(**flags)), "own")


def planned(**flags: str) -> Plan:
    return make_plan(parse_config(merged_values("quick", Flags(**flags)), "quick"), Path("nowhere"))


def test_flags_beat_the_settings_of_data_sets_and_backbones(tmp_path: Path) -> None:
    kept = merged(tmp_path).for_dataset("cxr-phantom", "compact")
    assert (kept.data.size, kept.training.epochs, kept.explain.diseased, kept.explain.healthy) == (80, 6, 3, 4)
    config = merged(tmp_path, size=48, epochs=2, explain="9", pretrained=True)
    changed = config.for_dataset("cxr-phantom", "compact")
    assert (changed.data.size, changed.training.epochs) == (48, 2)
    assert (changed.explain.diseased, changed.explain.healthy, changed.explain.faithful) == (9, 9, 9)
    assert config.run.pretrained
    every = merged(tmp_path, explain="all").for_dataset("cxr-phantom").explain
    assert (every.diseased, every.healthy, every.faithful) == (None, None, None)


def test_a_size_replaces_the_sizes_of_a_sweep_but_not_the_size_in_a_name() -> None:
    values = merged_values("resolution-quick", Flags(size=40, datasets="cxr-phantom,oct-phantom@size=48"))
    plan = make_plan(parse_config(values, "resolution-quick"), Path("nowhere"))
    assert {name: config.data.size for name, config in plan.configs.items()} == {
        "cxr-phantom": 40,
        "oct-phantom@size=48": 48,
    }


def test_no_pretrained_is_a_choice_too() -> None:
    assert merged_values("standard", Flags())["run"]["pretrained"]
    assert not merged_values("standard", Flags(pretrained=False))["run"]["pretrained"]


def test_names_are_left_out_of_all() -> None:
    every = planned(explainers="all")
    fewer = planned(explainers="all,-scorecam,-random")
    assert set(every.explainers) - set(fewer.explainers) == {"scorecam", "random"}
    assert {key.head for key in planned(heads="all,-softcam-ridge").cells} == {*HEADS} - {"softcam-ridge"}
    assert set(planned(datasets="all,-elpv,-oct-phantom").datasets) == {"cxr-phantom", "fundus-phantom"}


def test_a_data_set_that_is_not_there_can_be_left_out(tmp_path: Path) -> None:
    """A command serves all machines, whatever data each of them has."""
    every, absent = resolve_datasets(["all"], tmp_path)
    fewer, told = resolve_datasets(["all", "-fundus", "-cxr-phantom"], tmp_path)
    assert "fundus" in absent
    assert told == {name: reason for name, reason in absent.items() if name != "fundus"}
    assert set(every) - set(fewer) == {"cxr-phantom"}
    with pytest.raises(UserError, match="'-fundus' leaves nothing out"):
        resolve_datasets(["cxr-phantom", "-fundus"], tmp_path)


def test_a_name_leaves_out_its_variants_and_parameters() -> None:
    names = {request.name for request in planned(metrics="all,-audc,-topk_precision@max").metrics}
    assert not {name for name in names if name.partition("@")[0] == "audc"}
    assert {"topk_precision", "topk_precision@sum"} <= names
    assert "topk_precision@max" not in names
    heads = planned(heads="blackbox,softcam-sparse@l1=1e-4,softcam-sparse@l1=1e-3,-softcam-sparse").heads
    assert set(heads) == {"blackbox"}
    one = planned(heads="blackbox,softcam-sparse@l1=1e-4,softcam-sparse@l1=1e-3,-softcam-sparse@l1=1e-4").heads
    assert set(one) == {"blackbox", "softcam-sparse@l1=1e-3"}


def test_a_list_of_omissions_alone_shortens_that_of_the_config() -> None:
    before = [request.name for request in planned().metrics]
    assert [request.name for request in planned(metrics="-gini").metrics] == [one for one in before if one != "gini"]
    assert list(planned(studies="-sanity").studies) == [one for one in planned().studies if one != "sanity"]


def test_no_studies() -> None:
    assert planned().studies
    assert planned(studies="none").studies == {}
    assert planned(probes="none").studies == {}
