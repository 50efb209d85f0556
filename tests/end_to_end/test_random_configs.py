"""Twenty random valid configs, run as the command line runs them: each ends with exit code 0 and a report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import SearchStrategy, deferred
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.report.figures import style
from tests.support.made import registered_squares
from tests.support.subsets.configs import configs, register_bare

RUNS = 20
IS_LONG = os.environ.get("SUBSETS") == "long"
READY = ["squares", "shapes", "no-masks", "no-healthy", "neither"]
TINY: dict[str, dict[str, Any]] = {
    "data": {"size": 32},
    "training": {"epochs": 1, "batch_size": 8, "search_epochs": 1, "search_steps": 2},
    "explain": {"diseased": 3, "healthy": 1, "faithful": 2, "steps": 2, "batch_size": 4, "gallery": 1},
}


def tiny_configs() -> SearchStrategy[dict[str, Any]]:
    return configs(READY, ["compact"], most=2).map(
        lambda drawn: {name: drawn.get(name, {}) | TINY.get(name, {}) for name in drawn.keys() | TINY.keys()}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    with pytest.MonkeyPatch.context() as patched, registered_squares():
        for name in ("write_png", "write_pdf"):
            patched.setattr(style, name, lambda figure, target: target.touch())
        register_bare()
        yield tmp_path_factory.mktemp("random")


@pytest.mark.slow
@settings(
    max_examples=10 * RUNS if IS_LONG else RUNS,
    derandomize=not IS_LONG,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(config=deferred(tiny_configs))
def test_random_config_ends_with_a_report(folder: Path, config: dict[str, Any]) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    values = [
        (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in config[name].items())) for name in config
    ]
    file = folder / "drawn.toml"
    file.write_text("\n".join(line for section in values for line in section))
    command = ["--config", file, "--out", folder / "out", "--cache", folder / "cache", "--device", "cpu"]
    done = CliRunner().invoke(app, [*map(str, command), "--workers", "1"], obj=run_benchmark.register)
    assert done.exit_code == 0, f"{config}\n{done.output[-3000:]}\n{done.exception!r}"
    assert (folder / "out/report.html").exists()
