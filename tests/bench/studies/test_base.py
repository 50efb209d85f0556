"""Studies: computed once, and again when something they depend on changes; failures leave the scores as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.config import Config
from bench.contracts import Explainer
from bench.report.frames.load import load_frames
from bench.report.gaps import gaps, skipped_studies
from bench.store.folders import RunStore
from bench.store.records import CellKey, StudyOutcome
from bench.studies.base import Study, Subject, register_study
from tests.support.made import registered_squares, run_tiny, tiny_config

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    CALLS.clear()
    with registered_squares():
        register_study(Largest)
        register_study(Cells)
        yield


class Largest(Study):
    """Largest value of the maps of the first images."""

    name, paper = "largest", "this test"

    def __init__(self, images: int = 2) -> None:
        self.images = images

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        CALLS.append(name)
        if name == "gradcam" and self.images == 3:
            raise RuntimeError("made up")
        return pd.DataFrame({"images": [self.images], "largest": [1.0]})


class Cells(Study):
    """Once a cell, and only of black boxes."""

    name, paper, per_explainer = "cells", "this test", False

    def applies_to(self, subject: Subject) -> str:
        return "" if subject.trained.key.head == "blackbox" else "not a black box"

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        CALLS.append("cell")
        assert explainer is None
        return pd.DataFrame({"explainers": [len(subject.explainers)]})


def config(images: int = 2, **run: Any) -> Config:
    settings = tiny_config(studies=["largest", "cells"], **run)
    return settings.model_copy(update={"studies": {"largest": {"images": images}}})


def test_rows_reach_the_report_and_are_computed_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_tiny(folder, config()).problems == []
    assert sorted(CALLS) == sorted(
        ["cell", *["gradcam", "random", "mask_oracle"] * 2, "softcam"]
    )  # softcam does not apply to the black box
    frames = load_frames(folder)
    assert set(frames.studies["largest"]["family"]) == {"inherent", "post-hoc", "control"}
    assert frames.studies["cells"][["head", "explainers", "explainer"]].to_numpy().tolist() == [["blackbox", 3, ""]]
    record = RunStore(folder).cell(CellKey("squares", "compact", "softcam-sparse", 0)).record
    assert not [line for line in gaps(frames) if "study" in line]
    (skipped,) = skipped_studies(frames)
    assert skipped == "squares: study 'cells' skipped on softcam-sparse: not a black box"
    assert record.studies["cells"][""] == StudyOutcome(status="skipped", reason="not a black box")
    CALLS.clear()
    assert not run_tiny(folder, config()).computed
    assert CALLS == []
    assert run_tiny(folder, config(images=1)).computed
    assert "cell" not in CALLS
    assert len(CALLS) == 7


def test_failure_is_kept_and_the_scores_stay(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path / "run", config(images=3, heads=["blackbox"]))
    (problem,) = outcome.problems
    assert "study 'largest' of 'gradcam' failed: RuntimeError: made up" in problem
    frames = load_frames(tmp_path / "run")
    assert set(frames.studies["largest"]["explainer"]) == {"random", "mask_oracle"}
    assert [line for line in gaps(frames) if "study" in line] == [problem]
    assert "gradcam" in set(frames.rows()["explainer"])


def test_without_studies_there_are_none(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", tiny_config(heads=["blackbox"], explainers=["random"]))
    assert load_frames(tmp_path / "run").studies == {}
