"""The architecture: which wing may import which, no circle, and no folder or file too large to read."""

from __future__ import annotations

import ast
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.files import ROOT

#: From the top to the ground: a wing imports what stands below it, nothing above, and none beside it.
LEVELS = [
    {"cli"},
    {"given"},
    {"commands"},
    {"run"},
    {"studies"},
    {"evaluation", "training"},
    {"data", "report"},
    {"models", "metrics", "config", "cases"},
    {"configs"},
    {"registry", "memory"},
    {"registration", "outputs"},
    {"contracts", "devices", "store", "statistics"},
    {"files"},
    {"errors", "maps", "progress", "seeds", "specs"},
    {"plain", "text"},
]
LEVEL = {wing: number for number, wings in enumerate(LEVELS) for wing in wings}
#: The same inside the report.
REPORT = [
    {"build"},
    {"making"},
    {"two_processes"},
    {"incremental"},
    {"contents"},
    {"page", "summary", "details"},
    {"failures"},
    {"answer", "cases"},
    {"sweeps", "comparisons"},
    {"studies"},
    {"figures", "failure_modes"},
    {"gaps"},
    {"tables"},
    {"machines"},
    {"frames", "current"},
]
REPORT_LEVEL = {part: number for number, parts in enumerate(REPORT) for part in parts}
FORBIDDEN = {
    "report": {"run", "evaluation", "training", "data", "models", "studies"},
    "run": {"report"},
    "evaluation": {"report"},
    "training": {"report"},
    "studies": {"report"},
    "metrics": {"models", "data"},
    "statistics": {"devices"},
}
PACKAGES = ("bench", "baselines", "softcam")
SHARED = {"contracts", "registry", "models"}
#: Extras whose packages tests may import.
IMPORTED_EXTRAS = {"all", "test", "docs"}
LARGEST_FOLDER, LONGEST_FILE = 12, 300


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): file for package in PACKAGES for file in files(package)}


def _type_checking(tree: ast.AST) -> set[int]:
    """Nodes that no run executes."""
    guards = [one for one in ast.walk(tree) if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    return {id(node) for guard in guards for inner in guard.body for node in ast.walk(inner)}


def imported(tree: ast.AST) -> set[str]:
    """Modules, and names in modules, that a file imports anywhere in it."""
    skipped, found = _type_checking(tree), set[str]()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def imports(file: Path) -> set[str]:
    """Modules of this project that a file imports anywhere in it."""
    return imported(ast.parse(file.read_text(encoding="utf-8"))) & MODULES.keys()


IMPORTS = {name: imports(file) - {name} for name, file in MODULES.items()}


def wing(module: str) -> str:
    """``bench.report.build`` -> ``report``; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("bench.")])
def test_wings_import_only_what_stands_below_them(module: str) -> None:
    own = wing(module)
    others = {wing(name) for name in IMPORTS[module] if name.startswith("bench.")} - {own, ""}
    above = {other for other in others if LEVEL[other] <= LEVEL[own]}
    assert not above, f"{module} imports {above}"
    assert not others & FORBIDDEN.get(own, set()), f"{module} imports {others & FORBIDDEN[own]}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("bench.report.")])
def test_the_report_is_built_upwards(module: str) -> None:
    own = module.split(".")[2]
    others = {name.split(".")[2] for name in IMPORTS[module] if name.startswith("bench.report.")} - {own}
    assert all(REPORT_LEVEL[other] > REPORT_LEVEL[own] for other in others), f"{module} imports {others}"


def test_no_module_imports_itself_through_others() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError


@pytest.mark.parametrize("package", ["softcam", "baselines"])
def test_method_packages_read_only_contracts_registry_and_models(package: str) -> None:
    for file in files(package):
        foreign = {name for name in imports(file) if not name.startswith(package)} - {"bench"}
        assert {wing(name) for name in foreign} <= SHARED, f"{file}: {foreign}"
        assert all(name.startswith("bench.") for name in foreign), f"{file}: {foreign}"


def test_harness_knows_no_method_package() -> None:
    for file in files("bench"):
        assert all(name.startswith("bench") for name in imports(file)), file


def test_statistics_do_without_torch() -> None:
    for file in files("bench/statistics"):
        modules = {
            node.module for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
        }
        assert not any(str(name).startswith("torch") for name in modules), file


@pytest.mark.parametrize("folder", ["bench/report", "bench/metrics", "bench/run", "bench/evaluation"])
def test_harness_names_no_method(folder: str) -> None:
    import baselines  # noqa: F401
    import softcam  # noqa: F401
    from bench.registry import EXPLAINERS

    names = {name for name in EXPLAINERS if len(name) > 6} - {"softcam", "random"}  # these two are also words
    for file in files(folder):
        strings = {
            node.value
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not names & strings, f"{file} names {names & strings}"


def test_no_figure_asks_for_mathematics() -> None:
    """Names of others may hold dollar signs, so that none of ours would be parsed."""
    found = [
        f"{name}: {node.value!r}"
        for name, file in MODULES.items()
        if name.startswith(("bench.report", "bench.commands"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("$")
    ]
    assert found == []


def test_tests_are_skipped_where_an_extra_is_absent() -> None:
    """Tests import what only an extra installs by ``pytest.importorskip``."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    needs = {Requirement(one).name for name in extras.keys() - IMPORTED_EXTRAS for one in extras[name]}
    needs = {canonicalize_name(name) for name in needs}
    of = packages_distributions()
    packages = {name for name in of if needs & {*map(canonicalize_name, of[name])}}
    for file in files("tests"):
        names = {name.partition(".")[0] for name in imported(ast.parse(file.read_text("utf-8")))}
        assert not names & packages, f"{file} imports {names & packages}"


def test_composition_root_is_small() -> None:
    assert len((ROOT / "run_benchmark.py").read_text(encoding="utf-8").splitlines()) < 25


@pytest.mark.parametrize("top", [*PACKAGES, "tests", "docs"])
def test_no_folder_holds_more_than_a_reader_can_take_in(top: str) -> None:
    folders = {file.parent for file in files(top)}
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {name: size for name, size in sizes.items() if size > LARGEST_FOLDER}


def test_no_file_holds_two_ideas() -> None:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name for name, length in lengths.items() if length > LONGEST_FILE} <= {"bench.contracts"}
