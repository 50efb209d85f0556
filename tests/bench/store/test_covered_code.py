"""Modules of this project that digests cover: all that a number depends on, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.contracts import DatasetInfo
from bench.data.cache import identity_of
from bench.models.factory import build_classifier
from bench.registry import BACKBONES, DATASETS, EXPLAINERS, HEADS, METRICS
from bench.store.code_digest import digest_of_files, modules_of
from bench.training.lesion_reliance import lesion_reliance
from bench.training.loop import train
from tests.bench.store.plugin_files import imported, write
from tests.support.files import ROOT


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's packages in another folder."""
    folder = tmp_path_factory.mktemp("copied")
    for package in ("bench", "baselines", "softcam"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def file_of(thing: object, folder: Path) -> Path:
    return folder / f"{getattr(thing, '__module__', '').replace('.', '/')}.py"


def explainer_digests(folder: Path) -> dict[str, str]:
    """As a cell asks for them."""
    ours = {name: EXPLAINERS[name] for name in EXPLAINERS if EXPLAINERS[name].__module__.startswith(("base", "soft"))}
    harness = [folder / "bench/evaluation/scoring.py", folder / "bench/data/selection.py"]
    return {name: digest_of_files([file_of(one, folder), *harness], folder) for name, one in ours.items()}


def other_digests(folder: Path) -> dict[str, str]:
    metrics = {f"metric {name}": METRICS[name].function for name in METRICS}
    data = {f"data set {name}": DATASETS[name].builder for name in DATASETS}
    ours = {name: one for name, one in (metrics | data).items() if one.__module__.startswith("bench.")}
    return {name: digest_of_files([file_of(one, folder)], folder) for name, one in ours.items()}


@pytest.mark.parametrize(
    "module",
    [
        "data/donors",
        "data/selection",
        "evaluation/batch",
        "evaluation/context",
        "evaluation/metric_inputs",
        "evaluation/predictor",
        "evaluation/scoring",
        "maps",
        "models/shared_features",
    ],
)
def test_a_change_of_the_harness_changes_every_explainer(copied: Path, module: str) -> None:
    file = copied / "bench" / f"{module}.py"
    before, text = explainer_digests(copied), file.read_text()
    file.write_text(text + "\nCHANGED = True\n")
    after = explainer_digests(copied)
    file.write_text(text)
    assert len(before) > 25
    assert [name for name in before if before[name] == after[name]] == []


@pytest.mark.parametrize(
    "module",
    [
        "cli/main",
        "config",
        "evaluation/explainer_jobs",
        "progress",
        "report/page/page",
        "run/cells/cell",
        "run/plan",
        "run/runner",
        "store/folders",
        "store/records",
    ],
)
def test_what_decides_no_number_changes_no_explainer(copied: Path, module: str) -> None:
    file = copied / "bench" / f"{module}.py"
    before, text = explainer_digests(copied) | other_digests(copied), file.read_text()
    file.write_text(text + "\nCHANGED = True\n")
    assert explainer_digests(copied) | other_digests(copied) == before
    file.write_text(text)


def test_a_new_file_changes_nothing(copied: Path) -> None:
    before = explainer_digests(copied) | other_digests(copied)
    added = {"baselines": "controls", "bench/metrics": "complexity", "bench/data/sources": "elpv"}
    kept = {folder: (copied / folder / "__init__.py").read_text() for folder in added}
    for folder, model in added.items():
        shutil.copy(copied / folder / f"{model}.py", copied / folder / "brand_new.py")
        package = folder.replace("/", ".")
        (copied / folder / "__init__.py").write_text(f"{kept[folder]}\nfrom {package} import brand_new\n")
    after = explainer_digests(copied) | other_digests(copied)
    for folder in added:
        (copied / folder / "brand_new.py").unlink()
        (copied / folder / "__init__.py").write_text(kept[folder])
    assert after == before


@pytest.mark.parametrize(
    ("module", "covers"),
    [
        ("models/feature_extraction", True),  # so that a classifier that was cut wrongly is trained anew
        ("models/factory", True),
        ("training/loop", True),
        ("training/augmentation", True),
        ("data/cache", False),
        ("data/prepare", False),
        ("config", False),
        ("store/records", False),
    ],
)
def test_what_weights_depend_on(module: str, covers: bool) -> None:
    code = (train, build_classifier, BACKBONES["compact"].build, HEADS["blackbox"], lesion_reliance)
    assert (f"bench.{module.replace('/', '.')}" in modules_of(*code)) == covers


def test_a_metric_covers_no_other_metric() -> None:
    gini, pointing = METRICS["gini"].function, METRICS["pointing_game"].function
    assert [name for name in modules_of(gini) if name.startswith("bench.metrics")] == ["bench.metrics.complexity"]
    assert [name for name in modules_of(pointing) if name.startswith("bench.metrics")] == ["bench.metrics.localisation"]


def test_a_phantom_covers_its_own_drawing_and_no_other() -> None:
    names = set(modules_of(DATASETS["cxr-phantom"].builder))
    assert {"bench.data.phantoms.cxr", "bench.data.phantoms.scene", "bench.data.phantoms.tag"} <= names
    assert not {"bench.data.phantoms.oct", "bench.data.phantoms.fundus", "bench.data.sources.elpv"} & names


def test_a_backbone_covers_the_class_that_its_builder_is_given() -> None:
    bagnet = next(name for name in BACKBONES if "bagnet" in name)
    assert "baselines.bagnet" in modules_of(BACKBONES[bagnet].build)
    assert "bench.models.backbones" in modules_of(BACKBONES["resnet18"].build)


def test_decoded_images_depend_on_the_code_of_their_own_builder(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": "def build(root, split):\n    return ()\n", "other.py": "x = 1\n"})
    build = imported(tmp_path / "mine.py").build
    info = DatasetInfo("mine", build, "other", ("a", "b"), "pixel", "", "", "")

    class Samples:
        files = ()

    def identity() -> str | None:
        return identity_of(info, Samples(), ("train", 32))  # type: ignore[arg-type]

    first = identity()
    (tmp_path / "other.py").write_text("x = 2\n")
    (tmp_path / "mine.py").write_text('def build(root, split):\n    """Build."""\n    return ()  # nothing\n')
    assert identity() == first
    (tmp_path / "mine.py").write_text("def build(root, split):\n    return []\n")
    assert identity() != first
