"""Plugins in worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.folders import RunStore
from tests.support.files import ROOT

PLUGIN = """
from bench.contracts import Explainer
from bench.registry import register_explainer
from tests.support.made import register_shapes, register_squares

@register_explainer
class Sum(Explainer):
    name, family, signed, paper = "sum_of_channels", "post-hoc", True, "-"
    def explain(self, classifier, images, targets):
        return images.sum(dim=1)

register_squares()
register_shapes()
"""


@pytest.mark.slow
def test_plugins_beside_a_module_of_our_name(tmp_path: Path) -> None:
    """The processes import this repository, whatever lies where the command is given."""
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    (tmp_path / "bench.py").write_text("raise RuntimeError('this is not the benchmark')")
    words = ["--config", "smoke", "--plugins", "plugin.py", "--explainers", "sum_of_channels", "--heads", "blackbox"]
    words += ["--datasets", "squares,shapes", "--workers", "2", "--metrics", "gini", "--out", "run"]
    words += ["--studies", "agreement"]
    done = subprocess.run(
        [sys.executable, ROOT / "run_benchmark.py", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert RunStore(tmp_path / "run").record.machine.processes == 2
    assert len(list((tmp_path / "run").glob("cells/*/*/scores/sum_of_channels.parquet"))) == 2
