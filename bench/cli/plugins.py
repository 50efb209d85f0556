"""Plugins: explainers, metrics, data sets and studies from the user's files and from installed packages."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from bench.errors import UserError, is_stop, one_line, place_of

ENTRY_POINT_GROUP = "softcam_bench.plugins"


def installed_plugins() -> EntryPoints:
    """Returns the plugin entry points of installed packages."""
    return entry_points(group=ENTRY_POINT_GROUP)


def load_plugins(files: list[Path]) -> list[str]:
    """Imports plugin files and every installed entry point.

    A plugin that fails half-way leaves nothing in the registries. An installed one that fails is left out, because
    the user did not name it.

    Returns:
        One line per installed plugin that failed, with its name and the reason.

    Raises:
        UserError: a file does not exist, is not a Python file, is named twice, or cannot be loaded; nothing is computed
            without it.
    """
    _require_files(files)
    from bench.registry import SKIPPED_PLUGINS

    problems = []
    for point in installed_plugins():
        problems.append(_attempt(f"{point.name} ({point.value})", point.load))
    for file in files:
        if problem := _attempt(str(file), partial(_import_file, file)):
            raise UserError(f"{problem}; repair it, or run without it")
    SKIPPED_PLUGINS[:] = [problem for problem in problems if problem]
    return list(SKIPPED_PLUGINS)


def _require_files(files: list[Path]) -> None:
    for number, file in enumerate(files):
        where = f"--plugins {file}"
        if file.is_dir():
            raise UserError(f"{where}: is a folder; name the Python files in it")
        if not file.is_file():
            near = _closest(file.name, sorted(one.name for one in file.parent.glob("*.py")))
            raise UserError(f"{where}: no such file; {near if file.parent.is_dir() else 'no such folder'}")
        if file.suffix != ".py":
            raise UserError(f"{where}: not a Python file; its name must end with .py")
        if file.resolve() in [other.resolve() for other in files[:number]]:
            raise UserError(f"{where}: named twice; name each file once")


def _closest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "check its name"


def _import_file(file: Path) -> None:
    name = f"softcam_bench_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _attempt(name: str, load: Callable[[], object]) -> str:
    from bench.registry import ALL_REGISTRIES  # imports torch, which a list without plugins does not need

    before = [set(registry) for registry in ALL_REGISTRIES]
    try:
        load()
    except BaseException as error:  # foreign code can raise anything, such as the end of the program
        if is_stop(error):
            raise
        for registry, known in zip(ALL_REGISTRIES, before, strict=True):
            for added in set(registry) - known:
                registry.remove(added)
        return f"plugin {name} cannot be loaded: {place_of(error)}{one_line(error)}"
    return ""
