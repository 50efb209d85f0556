"""Types of facts: wrong ones are refused at registration, in one line that names fact and type."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from bench.cli.plugins import load_plugins
from bench.contracts import Explainer
from bench.errors import UserError, one_line
from bench.memory import with_smaller_batches
from bench.registry import EXPLAINERS, METRICS, SKIPPED_PLUGINS, dataset, metric, register_explainer, register_head

METRIC: dict[str, Any] = {
    "family": "exactness",
    "needs": ["maps"],
    "higher_is_better": True,
    "value_range": (0, 1),
    "paper": "",
}
DATASET: dict[str, Any] = {
    "modality": "other",
    "classes": ("a", "b"),
    "masks": "pixel",
    "source": "",
    "licence": "",
    "citation": "",
}


def function(*given: object) -> Any:
    return given


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("higher_is_better", "yes", "True, False or None"),
        ("higher_is_better", 1, "True, False or None"),
        ("value_range", (0, 1, 2), "two numbers"),
        ("value_range", ("0", "1"), "two numbers"),
        ("value_range", (1, 0), "the lowest value"),
        ("value_range", (math.nan, 1), "the lowest value"),
        ("needs", "maps", "a list of texts"),
        ("paper", None, "text"),
        ("images", "ill", "'diseased', 'healthy', 'all'"),
        ("of_network", "no", "True or False"),
        ("of_curve", "both", "'relative'"),
    ],
)
def test_facts_of_a_metric(fact: str, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"metric 'x': {fact} is .*{said}"):
        metric("x", **METRIC | {fact: value})(function)
    assert "x" not in METRICS


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("classes", "ab", "a list of texts"),
        ("classes", ("a", "a"), "two different"),
        ("classes", ("a",), "two different"),
        ("classes", ("a", "b\x1b[2J"), "hidden characters"),
        ("masks", "yes", "'pixel', 'box', 'none'"),
        ("healthy", 2, "0 to 1"),
        ("healthy", "a", "whole number or None"),
        ("missing", "nothing", "a function"),
        ("mean", (0.5, 0.5), "three numbers"),
        ("copy_likeness", "high", "a number"),
        ("published", [1, 2], "Mapping"),
    ],
)
def test_facts_of_a_data_set(fact: str, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        dataset("x", **DATASET | {fact: value})(function)


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("family", "posthoc", "'inherent', 'post-hoc', 'control'"),
        ("grid", "cells", "'features', 'pixels'"),
        ("signed", "yes", "True or False"),
        ("paper", 3, "text"),
        ("role", "roof", "'floor'"),
        ("needs_masks", 1, "True or False"),
    ],
)
def test_facts_of_an_explainer(fact: str, value: Any, said: str) -> None:
    facts = {"name": "x", "family": "post-hoc", "signed": True, "paper": ""} | {fact: value}
    with pytest.raises(UserError, match=rf"explainer X: {fact} is .*{said}"):
        register_explainer(type("X", (Explainer,), facts))
    assert "x" not in EXPLAINERS


@pytest.mark.parametrize("thing", [type("Mine", (), {"name": "x"}), function, 3, "x"])
def test_only_subclasses_are_registered(thing: Any) -> None:
    for register in (register_explainer, register_head):
        with pytest.raises(UserError, match="is not a subclass of bench"):
            register(thing)


def test_a_file_that_cannot_be_loaded_stops_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from bench import register_explainer\n\n\n@register_explainer\nclass Mine:\n    name = 'mine'\n")
    expected = f"plugin {file} cannot be loaded: {file}, line 4: Mine is not a subclass"
    with pytest.raises(UserError) as caught:
        load_plugins([file])
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("; repair it, or run without it")
    with pytest.raises(UserError, match="unknown explainer 'mine'; known"):
        EXPLAINERS["mine"]


def test_an_installed_plugin_that_fails_is_named_where_its_explainer_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody named it in the command, so it stops nothing else."""
    point = EntryPoint("theirs", "nowhere.of_this_name", "softcam_bench.plugins")
    monkeypatch.setattr("bench.cli.plugins.installed_plugins", lambda: EntryPoints([point]))
    try:
        (line,) = load_plugins([])
        assert line.startswith("plugin theirs (nowhere.of_this_name) cannot be loaded: ModuleNotFoundError")
        with pytest.raises(UserError, match=r"unknown explainer 'mine'; plugin theirs .* cannot be loaded"):
            EXPLAINERS["mine"]
    finally:
        SKIPPED_PLUGINS.clear()
    with pytest.raises(UserError, match="unknown explainer 'mine'; known"):
        EXPLAINERS["mine"]


def test_a_memory_error_says_so() -> None:
    assert one_line(MemoryError()).startswith("out of memory; try --workers 1")

    def compute(size: int) -> None:
        raise MemoryError

    with pytest.raises(UserError, match=r"^out of memory even with a batch of one$"):
        with_smaller_batches(compute, 4)
