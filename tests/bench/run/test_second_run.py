"""A second run with the same command finds everything as the first one left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import Tensor

from bench.contracts import Classifier, Explainer
from bench.registry import register_explainer
from bench.store.code_digest import digest
from bench.studies.base import Study, Subject, register_study
from tests.support.made import run_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


ANYTHING = object()


class NeverApplies(Study):
    """A study that is skipped everywhere."""

    name, paper, per_explainer = "never", "made up", False

    def applies_to(self, subject: Subject) -> str:
        return "it never does"

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        raise AssertionError


class Odd(Explainer):
    """Defaults that JSON cannot write."""

    name, family, signed, paper = "odd", "post-hoc", True, ""

    def __init__(
        self, how: Callable[[float], float] = lambda x: x, what: Any = ANYTHING, which: Any = frozenset("abc")
    ) -> None:
        self.how, self.what, self.which = how, what, which

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return images.mean(dim=1)


def test_skipped_studies_and_odd_defaults_change_no_file(tmp_path: Path) -> None:
    register_study(NeverApplies)
    register_explainer(Odd)
    config = tiny_config(explainers=["odd", "softcam"], heads=["softcam-sparse"], studies=["never"], metrics=["gini"])
    assert run_tiny(tmp_path / "run", config).problems == []
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run/cells").rglob("*") if file.is_file()}
    outcome = run_tiny(tmp_path / "run", config)
    assert not outcome.computed
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run/cells").rglob("*") if file.is_file()} == before


class Plain:
    """Known by its class and attributes."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Plain(1), Plain(1), Plain(2)),
        (frozenset("abc"), frozenset("cba"), frozenset("ab")),
        ([Plain(1), len], [Plain(1), len], [Plain(1), max]),
        ({"path": Path("a")}, {"path": Path("a")}, {"path": Path("b")}),
        (object(), object(), Plain(1)),
    ],
)
def test_equal_values_have_one_digest_whatever_their_address(one: object, same: object, other: object) -> None:
    assert digest(one) == digest(same) != digest(other)
