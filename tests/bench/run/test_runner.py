"""The harness from plan to store: what is computed once, what survives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.contracts import Classifier, UserError
from bench.registry import DATASETS, EXPLAINERS, METRICS
from bench.report.frames.load import load_frames
from bench.report.gaps import gaps
from bench.report.tables.main import all_tables
from bench.store.folders import RunStore
from bench.store.scores import read_metadata
from bench.studies.base import Study, Subject, register_study
from bench.training.classifier import CellClassifier
from bench.training.loop import TrainingLoop
from tests.support.made import SIZE, register_squares, run_tiny, stopped_in_second_epoch, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


def tables_of(folder: Path) -> dict[str, pd.DataFrame]:
    """All tables but the cost, which holds seconds."""
    return {name: table.numbers() for name, table in all_tables(load_frames(folder)).items() if name != "cost"}


def assert_same_tables(first: Path, second: Path) -> None:
    ours, theirs = tables_of(first), tables_of(second)
    assert set(ours) == set(theirs)
    for name in ours:
        pd.testing.assert_frame_equal(ours[name], theirs[name], check_exact=True)


def test_store_holds_the_whole_run(finished: Path) -> None:
    frames = load_frames(finished)
    assert frames.cells["status"].tolist() == ["ok", "ok"]
    assert set(frames.rows()["explainer"]) == {"softcam", "gradcam", "random", "mask_oracle"}
    skipped = frames.cells["record"][0].explainers["softcam"]
    assert skipped.status == "skipped"
    assert "evidence" in skipped.reason
    assert len(frames.training) == 4


def test_controls_score_at_floor_and_ceiling(finished: Path) -> None:
    scores = load_frames(finished).rows()
    oracle = scores[scores["explainer"] == "mask_oracle"]
    for name in ("activation_precision", "activation_sensitivity", "pointing_game", "pixel_auroc", "iou_at_area"):
        assert oracle[oracle["metric"] == name]["value"].eq(1).all(), name
    chance = scores[(scores["explainer"] == "random") & (scores["metric"] == "activation_precision")]["value"].mean()
    assert chance == pytest.approx(64 / SIZE**2, abs=0.05)


def test_inherent_map_is_the_prediction(finished: Path) -> None:
    scores = load_frames(finished).rows()
    gap = scores[scores["metric"] == "evidence_gap"]
    assert set(gap["explainer"]) == {"softcam"}
    assert gap["value"].max() < 1e-4


def test_each_metric_is_read_on_its_images(finished: Path) -> None:
    scores = load_frames(finished).rows()
    assert scores[scores["metric"] == "activation_precision"]["diseased"].all()
    assert not scores[scores["metric"] == "negative_ratio"]["diseased"].any()
    assert scores[scores["metric"] == "audc"]["image"].nunique() == 2
    assert (scores["target"] == 1).all()


def test_second_run_computes_nothing(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.parquet")}
    assert before
    assert not run_tiny(out).computed
    assert before == {file: file.stat().st_mtime_ns for file in out.rglob("*.parquet")}


def test_interrupted_training_and_explaining_end_alike(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second epoch, then in the second explainer, then left alone."""
    out = tmp_path / "run"

    with stopped_in_second_epoch(), pytest.raises(KeyboardInterrupt):
        run_tiny(out)
    assert list(out.rglob("checkpoint.safetensors"))
    with monkeypatch.context() as patched:
        patched.setattr(EXPLAINERS["random"], "explain_batch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(out)
    run_tiny(out)
    assert_same_tables(out, finished)
    assert not list(out.rglob("*.tmp"))


def interrupt(*arguments: object) -> Tensor:
    raise KeyboardInterrupt


def test_results_do_not_depend_on_the_batch_size(finished: Path, tmp_path: Path) -> None:
    config = tiny_config()
    section = config.explain.model_copy(update={"batch_size": 3})
    run_tiny(tmp_path / "run", config.model_copy(update={"explain": section}))
    ours, theirs = tables_of(tmp_path / "run"), tables_of(finished)
    for name in ours:
        pd.testing.assert_frame_equal(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


def test_missing_metric_is_added_to_stored_scores(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, tiny_config(metrics=["activation_precision"], heads=["blackbox"]))
    file = RunStore(out).cell(next(iter_keys(out))).scores_file("gradcam")
    first = pd.read_parquet(file).query("metric == 'activation_precision'")
    run_tiny(out, tiny_config(metrics=["activation_precision", "pointing_game"], heads=["blackbox"]))
    rows = pd.read_parquet(file)
    assert {"activation_precision", "pointing_game"} <= set(rows["metric"])
    again = rows.query("metric == 'activation_precision'")
    np.testing.assert_array_equal(first["value"], again["value"])
    assert rows.groupby(["image", "metric", "variant", "step"]).size().max() == 1


def iter_keys(out: Path) -> Iterator:

    return iter(RunStore(out).record.cells)


def test_other_settings_set_the_old_training_aside_and_bring_it_back(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny_config(heads=["blackbox"], explainers=["random"])
    run_tiny(out, config)
    other = config.model_copy(update={"training": config.training.model_copy(update={"lr": 0.01})})
    assert run_tiny(out, other).computed
    assert not run_tiny(out, config).computed
    assert not run_tiny(out, other).computed


@pytest.mark.parametrize("named", ["study", "scores"])
def test_parameters_of_the_table_reach_names_with_parameters(tmp_path: Path, named: str) -> None:
    """What a table says holds for names that carry other parameters too: their scores are of it."""
    register_study(MapMean)
    studies = ["map_mean"] if named == "study" else []

    def run_with(samples: int) -> pd.DataFrame:
        config = tiny_config(heads=["blackbox"], explainers=["smoothgrad@noise=0.3"], studies=studies)
        run_tiny(tmp_path / "run", config.model_copy(update={"explainers": {"smoothgrad": {"samples": samples}}}))
        frames = load_frames(tmp_path / "run")
        return frames.studies["map_mean"] if studies else frames.rows().query("metric == 'pixel_auroc'")

    first, second, again = run_with(1), run_with(4), run_with(1)
    column = "samples" if studies else "value"
    assert not np.array_equal(first[column], second[column])
    np.testing.assert_array_equal(first[column], again[column])


class MapMean(Study):
    """How many noisy copies the explainer was made with."""

    name, paper = "map_mean", "this test"

    def measure(self, subject: Subject, of: str, explainer: Any) -> pd.DataFrame:
        return pd.DataFrame({"samples": [explainer.samples]})


@pytest.mark.parametrize(
    "other", [{"splits": Path("elsewhere")}, {"skip_bad": True}, {"root": Path("elsewhere")}], ids=str
)
def test_cells_of_other_images_are_not_shown_beside_those_of_a_stopped_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    run_tiny(out)
    assert load_frames(out).cells["status"].tolist() == ["ok", "ok"]
    real = CellClassifier.load

    def stop_in_second_cell(self: CellClassifier) -> Classifier:
        if self.key.head != "blackbox":
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(CellClassifier, "load", stop_in_second_cell)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(out, **other)
    assert load_frames(out).cells["status"].tolist() == ["ok", "absent"]


def test_data_set_without_masks_skips_localisation(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.support import made

    register_squares("bare", masks="none")
    DATASETS.remove("bare")
    info = replace(
        DATASETS["squares"],
        name="bare",
        builder=lambda root, split: [replace(sample, mask=None) for sample in made.squares(root, split)],
        masks="none",
    )
    DATASETS.add("bare", info)
    outcome = run_tiny(tmp_path / "run", tiny_config(datasets=["bare"]))
    assert outcome.problems == []
    frames = load_frames(tmp_path / "run")
    assert len(frames.cells) == 2
    for record in frames.cells["record"]:
        assert record.metrics_skipped["activation_precision"] == "no masks"
        assert "audc" not in record.metrics_skipped
    names = [name for name in METRICS if METRICS[name].family == "localisation"]
    (line,) = [line for line in gaps(frames) if "no masks" in line]  # one for all cells and explainers
    said, asked = line.removeprefix("bare: no masks: localisation skipped (").removesuffix(")").split(", "), names
    assert set(said) == set(asked)
    assert len(said) == len(asked)
    assert "activation_precision" not in set(frames.rows()["metric"])
    assert {"audc", "positive_ratio"} <= set(frames.rows()["metric"])
    assert frames.cells["record"][0].explainers["mask_oracle"].reason == "the data set has no masks"


def test_saved_maps_are_raw(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, tiny_config(heads=["softcam-sparse"], explainers=["softcam"]), save_maps=True)
    store = RunStore(out).cell(next(iter_keys(out)))
    with np.load(store.maps_file("softcam")) as maps:
        assert len(maps.files) == 6
        assert maps[maps.files[0]].shape == (4, 4)
        assert min(maps[name].min() for name in maps.files) < 0


def test_folder_is_locked_while_a_run_works_in_it(tmp_path: Path) -> None:
    with RunStore(tmp_path).lock(), pytest.raises(UserError, match="another run or report is working"):
        run_tiny(tmp_path)


def test_scores_carry_what_they_belong_to(finished: Path) -> None:
    store = RunStore(finished).cell(next(iter_keys(finished)))
    assert {"fingerprint", "metrics"} <= set(read_metadata(store.scores_file("gradcam")))


def test_twins_start_from_the_same_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black box and SoftCAM share their first weights and their recipe; only head and penalty differ."""
    started: list[dict[str, Tensor]] = []
    recipes: list[object] = []

    def look(loop: TrainingLoop, *rest: object) -> None:
        started.append({name: value.clone() for name, value in loop.classifier.features.state_dict().items()})
        recipes.append(loop.recipe)
        raise RuntimeError("seen enough")

    monkeypatch.setattr("bench.training.training_run.train", look)
    run_tiny(tmp_path / "run")
    assert len(started) == 2
    assert recipes[0] == recipes[1]
    assert started[0].keys() == started[1].keys()
    assert all(torch.equal(started[0][name], started[1][name]) for name in started[0])


def test_report_shows_only_what_the_last_plan_came_to(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, tiny_config(explainers=["gradcam", "random"]))
    run_tiny(out, tiny_config(explainers=["random"], heads=["blackbox"]))
    frames = load_frames(out)
    assert set(frames.rows()["explainer"]) == {"random"}
    assert frames.cells["head"].tolist() == ["blackbox"]
    assert not run_tiny(out, tiny_config(explainers=["gradcam", "random"])).computed
    assert set(load_frames(out).rows()["explainer"]) == {"gradcam", "random"}


def test_inherent_models_alone_keep_their_controls(tmp_path: Path) -> None:
    config = tiny_config(heads=["softcam-sparse"], on_inherent=["gradcam"])
    run_tiny(tmp_path / "run", config)
    assert "mask_oracle" in set(load_frames(tmp_path / "run").rows()["explainer"])


def test_maps_of_coarse_grids_are_asked_for(tmp_path: Path) -> None:
    """The feature map of the tiny run has 4×4 cells."""
    config = tiny_config()
    config = config.model_copy(update={"explain": config.explain.model_copy(update={"smallest_grid": 5})})
    assert run_tiny(tmp_path / "run", config).problems == []
    skipped = set()
    for key in iter_keys(tmp_path / "run"):
        explainers = RunStore(tmp_path / "run").cell(key).record.explainers
        skipped |= {name for name, one in explainers.items() if "only 4×4 cells for images of 32×32" in one.reason}
        assert explainers["random"].status == "ok"
    assert skipped == {"softcam", "gradcam"}
