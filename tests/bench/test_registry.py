"""Registration by facts: positional and named ones, and one line for each mistake in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.errors import UserError
from bench.registry import BACKBONES, DATASETS, METRICS, backbone, closest, dataset, metric

METRIC = {"family": "exactness", "needs": ["maps"], "higher_is_better": True, "value_range": (0, 1), "paper": "-"}
REGISTRIES = {metric: METRICS, dataset: DATASETS, backbone: BACKBONES}


def function(*given: object) -> Any:
    return given


def test_facts_are_stated_in_order_or_by_name() -> None:
    try:
        assert metric("one", **METRIC)(function) is function
        metric("two", *METRIC.values())(function)
        one, two = (vars(METRICS[name]) | {"name": ""} for name in ("one", "two"))
        assert one == two
        assert METRICS["one"].function is function
        assert METRICS["one"].needs == ("maps",)
    finally:
        METRICS.remove("one")
        METRICS.remove("two")


@pytest.mark.parametrize(
    ("decorator", "values", "facts", "said"),
    [
        (metric, (), METRIC | {"image": "all"}, "metric 'x' states an unknown fact 'image'; did you mean images?"),
        (metric, (), METRIC | {"needs": ("masc",)}, "metric 'x' needs 'masc': did you mean maps or masks"),
        (metric, ("exactness",), METRIC, "metric 'x' states its family twice; state it once"),
        (metric, (), {}, "does not state its family, needs, higher_is_better, value_range, paper"),
        (metric, (), METRIC | {"function": print}, "unknown fact 'function'"),
        (dataset, ("oct",), {"classes": ("a", "b"), "licens": "CC0"}, "unknown fact 'licens'; did you mean licence"),
        (dataset, ("oct",), {}, "data set 'x' does not state its classes, masks, source, licence, citation"),
        (
            backbone,
            ("small", None, None, True, bool, 1),
            {},
            "states 6 facts; there are 5: description, mean, std",
        ),
    ],
)
def test_wrong_facts_are_one_line(
    decorator: Callable[..., Any], values: tuple[Any, ...], facts: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        decorator("x", *values, **facts)(function)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "x" not in REGISTRIES[decorator]


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("iou", ["audc", "iou_at_area", "auic"], "did you mean iou_at_area"),
        ("grad-cam", ["guided_gradcam", "gradcam", "xgradcam"], "did you mean gradcam or xgradcam or guided_gradcam?"),
        ("evidence", ["evidence_gap", "largest_evidence", "gini"], "did you mean evidence_gap or largest_evidence?"),
        ("ad", ["xgradcam", "gini"], "known: gini, xgradcam"),
        ("--", ["a-b", "gini"], "known: a-b, gini"),
    ],
)
def test_suggestions_look_inside_names(name: str, known: list[str], said: str) -> None:
    assert closest(name, known).startswith(said)
