"""The examples in the docstrings of the public interface run, and nearly every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
import torch

PACKAGES = ("softcam", "bench.metrics")
#: Public without an example -> the reason.
WITHOUT = {
    "bench.metrics.imputation.LinearImputation": "the function impute_steps shows what it computes",
    "bench.metrics.patches.Schedule": "deletion and insertion build it",
    "softcam.explainer.ClassEvidence": "called through the interface of every explainer, see docs/plugins.md",
    "softcam.heads.Dense": "called through the interface of every head, by its registered name",
    "softcam.heads.Elastic": "as Dense",
    "softcam.heads.Ridge": "as Dense",
    "softcam.heads.Sparse": "as Dense",
    "softcam.heads.TrainingFree": "softcam.convert shows what it does",
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_of(package: str) -> list[ModuleType]:
    """The package and every module below it."""
    top = importlib.import_module(package)
    names = [found.name for found in pkgutil.walk_packages(top.__path__, f"{package}.")]
    return [top, *map(importlib.import_module, names)]


MODULES = [module for package in PACKAGES for module in modules_of(package)]


def public(module: ModuleType) -> dict[str, object]:
    """Public functions and classes that a module defines, by their full names."""
    members = {f"{module.__name__}.{name}": one for name, one in vars(module).items() if not name.startswith("_")}
    kinds = (inspect.isfunction, inspect.isclass)
    return {
        name: one
        for name, one in members.items()
        if any(kind(one) for kind in kinds) and getattr(one, "__module__", "") == module.__name__
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_of_a_module_run(module: ModuleType) -> None:
    torch.manual_seed(0)
    outcome = doctest.testmod(module, optionflags=FLAGS)
    assert outcome.failed == 0, "see the captured output"


def test_everything_public_has_an_example_or_a_reason() -> None:
    found = {name: one for module in MODULES for name, one in public(module).items()}
    finder = doctest.DocTestFinder(exclude_empty=True)
    without = {name for name, one in found.items() if not any(test.examples for test in finder.find(one, name))}
    assert len(found) > 40
    assert without == set(WITHOUT)
