"""A run after its code was edited: recomputed is what the edited code decides, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.plugins import load_plugins
from bench.report.frames.load import load_frames
from bench.store.code_digest import code_digest, modules_of
from bench.store.folders import CellStore, RunStore
from bench.store.scores import read_metadata
from tests.support.made import registered_squares, run_tiny, squares, tiny_config

EXPLAINER = """
import torch
from bench import Explainer, register_explainer
from beside import SCALE

@register_explainer
class Mine(Explainer):
    name, family, signed, paper = "mine", "post-hoc", True, ""

    def explain(self, classifier, images, targets):
        return SCALE * images.mean(dim=1)
"""
METRIC = """
from bench import metric

@metric("mean_value", "faithfulness", needs=("maps",), higher_is_better=None, value_range=(-9, 9), paper="")
def mean_value(maps):
    return maps.mean(dim=(1, 2))
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of an explainer, of what it imports beside it, and of a metric."""
    for name, text in {"mine.py": EXPLAINER, "beside.py": "SCALE = 1\n", "measure.py": METRIC}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with registered_squares():
        assert load_plugins([tmp_path / "mine.py", tmp_path / "measure.py"]) == []
        yield tmp_path


def run(folder: Path) -> tuple[bool, CellStore]:
    """Whether anything was computed, and the one cell of the run."""
    config = tiny_config(heads=["blackbox"], explainers=["mine", "random"], metrics=["gini", "mean_value"])
    outcome = run_tiny(folder / "run", config)
    assert outcome.problems == []
    frames = load_frames(folder / "run")
    assert set(frames.rows()["explainer"]) == {"mine", "random"}
    (cell,) = (RunStore(folder / "run").folder / "cells" / "squares").iterdir()
    return outcome.computed, CellStore(cell)


def facts(cell: CellStore) -> dict[str, dict[str, str]]:
    """What each explainer's scores were computed from."""
    found = {}
    for name in ("mine", "random"):
        metadata = read_metadata(cell.scores_file(name))
        found[name] = {"fingerprint": metadata["fingerprint"]} | json.loads(metadata["metrics"])
    return found


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> set[tuple[str, str]]:
    return {(name, fact) for name in before for fact in before[name] if before[name][fact] != after[name][fact]}


def test_words_cost_nothing_and_code_only_what_it_decides(plugins: Path) -> None:
    computed, cell = run(plugins)
    assert computed
    first, weights = facts(cell), cell.weights.stat().st_mtime_ns
    (plugins / "mine.py").write_text('"""Mine."""\n' + EXPLAINER.replace("images.mean", "images  .mean") + "# done\n")
    (plugins / "unrelated.py").write_text("x = 1\n")
    assert not run(plugins)[0]

    (plugins / "measure.py").write_text(METRIC.replace("maps.mean", "2 * maps.mean"))
    assert run(plugins)[0]
    second = facts(cell)
    assert changed(first, second) == {("mine", "mean_value"), ("random", "mean_value")}

    (plugins / "beside.py").write_text("SCALE = 3\n")
    assert run(plugins)[0]
    assert changed(second, facts(cell)) == {("mine", "fingerprint")}
    assert not run(plugins)[0]
    assert cell.weights.stat().st_mtime_ns == weights


@pytest.mark.parametrize(
    ("asking", "expected"),
    [
        (
            "bench.run.cells.part",
            {
                "evaluation.scoring",
                "evaluation.batch",
                "evaluation.context",
                "evaluation.metric_inputs",
                "evaluation.predictor",
                "evaluation.result",
                "models.shared_features",
                "data.selection",
                "data.donors",
                "maps",
            },
        ),
        (
            "bench.training.cell_identity",
            {
                "training.loop",
                "training.augmentation",
                "training.lesion_reliance",
                "models.factory",
                "models.backbones",
                "models.feature_extraction",
            },
        ),
        (
            "bench.run.cells.study_jobs",
            {
                "studies.agreement",
                "studies.subset",
                "evaluation.scoring",
                "evaluation.batch",
                "metrics.similarity",
            },
        ),
    ],
)
def test_what_the_fingerprints_of_a_run_cover(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, asking: str, expected: set[str]
) -> None:
    asked: list[set[str]] = []

    def recording(*objects: object) -> str:
        asked.append(set(modules_of(*(one for one in objects if one is not squares))))  # its file imports the harness
        return code_digest(*objects)

    monkeypatch.setattr(f"{asking}.code_digest", recording)
    config = tiny_config(explainers=["softcam", "gradcam"], metrics=["gini"], studies=["agreement"])
    assert run_tiny(plugins / "run", config).problems == []
    wide = [names for names in asked if {f"bench.{name}" for name in expected} <= names]
    assert wide
    silly = (
        "cli.main",
        "progress",
        "run.runner",
        "run.workspace",
        "run.plan",
        "store.folders",
        "store.records",
        "config",
    )
    assert not {f"bench.{name}" for name in silly} & set.union(*asked)
    methods = {"bench.run.cells.part": "softcam.explainer", "bench.training.cell_identity": "softcam.heads"}
    assert any(methods.get(asking, "baselines.cams") in names for names in wide)
