"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SHARED = {"bench.contracts", "bench.registry", "bench.models.feature_extraction", "bench.models.shared_features"}


def imports(file: Path) -> set[str]:
    """Modules of this project that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "bench"}
    return {name for name in found if name.split(".")[0] in {"bench", "softcam", "baselines"}}


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", ["softcam", "baselines"])
def test_method_packages_read_only_the_contracts(package: str) -> None:
    for file in files(package):
        foreign = {name for name in imports(file) if not name.startswith(package)} - SHARED - {"bench"}
        assert not foreign, f"{file}: {foreign}"


def test_harness_knows_no_method_package() -> None:
    for file in files("bench"):
        assert not {name for name in imports(file) if not name.startswith("bench")}, file


def test_metrics_know_no_model_and_no_data() -> None:
    for file in files("bench/metrics"):
        allowed = ("bench.metrics", "bench.maps", "bench.registry", "bench.seeds", "bench.contracts", "bench.devices")
        assert all(name.startswith(allowed) for name in imports(file)), file


def test_report_reads_only_the_store() -> None:
    for file in files("bench/report"):
        forbidden = (
            "bench.run.runner",
            "bench.run.cell",
            "bench.training.loop",
            "bench.evaluation.context",
            "bench.data",
            "bench.run.plan",
        )
        assert not any(name.startswith(forbidden) for name in imports(file)), file


@pytest.mark.parametrize("folder", ["bench/report", "bench/metrics"])
def test_report_and_metrics_name_no_method(folder: str) -> None:
    import baselines  # noqa: F401
    import softcam  # noqa: F401
    from bench.registry import EXPLAINERS

    names = {name for name in EXPLAINERS if len(name) > 6} - {"softcam", "random"}  # these two are also words
    for file in [*files(folder), ROOT / "bench/work.py", ROOT / "bench/cell.py", ROOT / "bench/scoring.py"]:
        strings = {
            node.value
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not names & strings, f"{file} names {names & strings}"


def test_composition_root_is_small() -> None:
    assert len((ROOT / "run_benchmark.py").read_text(encoding="utf-8").splitlines()) < 20
