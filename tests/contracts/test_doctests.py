"""The examples in the docstrings of the public functions run as they stand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest
import torch

#: Package -> how many examples its docstrings must hold at least.
PACKAGES = {"softcam": 0, "bench.metrics": 0}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_of(package: str) -> list[ModuleType]:
    """The package and every module below it."""
    top = importlib.import_module(package)
    names = [found.name for found in pkgutil.walk_packages(top.__path__, f"{package}.")]
    return [top, *map(importlib.import_module, names)]


MODULES = [module for package in PACKAGES for module in modules_of(package)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_of_a_module_run(module: ModuleType) -> None:
    torch.manual_seed(0)
    outcome = doctest.testmod(module, optionflags=FLAGS)
    assert outcome.failed == 0, "see the captured output"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_examples(package: str) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules_of(package) for test in finder.find(module) if test.examples]
    assert len(found) >= PACKAGES[package]
