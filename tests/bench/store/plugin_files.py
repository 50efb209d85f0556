"""Python files written by a test, and imported as plugins are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def imported(file: Path, name: str = "softcam_bench_plugin_of_a_test") -> ModuleType:
    """As ``bench.cli.plugins`` imports a plugin file."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
