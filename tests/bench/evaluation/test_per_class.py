"""More than two classes: scores per class equal calculations by hand, and leave the main scores as they are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.contracts import EVERY_CLASS, OWN_CLASS, Batch, Classifier, Explainer
from bench.data.selection import Selection
from bench.evaluation.per_class import own_class_positions
from bench.metrics import patch_at
from bench.registry import EXPLAINERS
from bench.report.frames.load import Frames, load_frames
from bench.report.tables.main import all_tables
from bench.run.cells.part import CellPart
from bench.store.folders import RunStore
from tests.oracles import bicubic
from tests.support.class_run import CLASSES, STEPS, cell_of, class_config, one_image, trained
from tests.support.made import run_tiny

pytestmark = pytest.mark.usefixtures("squares")


# --- The rows of each class ------------------------------------------------------------------------------------------


def test_every_class_has_rows_and_none_has_less_than_a_disease_s_share(class_frames: Frames) -> None:
    scores = pd.concat([class_frames.rows(), class_frames.own_class.rows()])
    own = scores[(scores["metric"] == "audc") & (scores["label"] == scores["target"])]
    counts = own.groupby(["explainer", "head", "label"])["image"].nunique().unstack()
    assert counts.columns.tolist() == [0, 1, 2]
    assert (counts >= 2).all(axis=None)  # 3 occluded images, 2 diseases
    assert (counts[0] == 2).all()
    both = own.groupby(["explainer", "head", "image", "variant"]).size()
    assert (both == 1).all()  # no image counts twice


def test_rows_of_the_healthy_class_equal_a_deletion_by_hand(
    class_run: Path, class_frames: Frames, tmp_path: Path
) -> None:
    rows = class_frames.own_class.rows()
    rows = rows[(rows["explainer"] == "softcam") & (rows["variant"] == "zero") & (rows["label"] == 0)]
    name = rows["image"].iloc[0]
    rows = rows[rows["image"] == name].set_index("metric")
    assert (rows["target"] == 0).all()
    classifier, prepared = trained(class_run, tmp_path, "softcam-sparse")
    image = one_image(prepared, name)
    with torch.no_grad():
        evidence = classifier.forward_evidence(image)
        contrast = evidence[:, 0] - evidence[:, 1:].mean(dim=1)
        # the compact backbone: cell i is centred at ½ + 8i
        large = torch.from_numpy(bicubic.draw(contrast[0].numpy(), (32, 32), (0.5, 0.5), (8, 8))).clamp(min=0)
        curve = [classifier(image).softmax(dim=1)[0, 0].item()]
        patch = patch_at(32)
        cells = [(row, column) for row in range(0, 32, patch) for column in range(0, 32, patch)]
        cells.sort(key=lambda at: -large[at[0] : at[0] + patch, at[1] : at[1] + patch].mean().item())
        for row, column in cells[:STEPS]:
            image[:, :, row : row + patch, column : column + patch] = 0
            curve.append(classifier(image).softmax(dim=1)[0, 0].item())
    stored = pd.read_parquet(cell_of(class_run, "softcam-sparse").part(OWN_CLASS).scores_file("softcam"))
    steps = stored[(stored["image"] == name) & (stored["metric"] == "deletion_curve") & (stored["variant"] == "zero")]
    np.testing.assert_allclose(steps.sort_values("step")["value"], curve, atol=1e-6)
    area = sum((a + b) / 2 for a, b in pairwise(curve)) / STEPS / curve[0]
    assert rows.loc["audc", "value"] == pytest.approx(area, abs=1e-5)


def test_added_diseased_images_are_behind_those_of_the_main_scores() -> None:
    explained = Selection(np.arange(20, 30), np.arange(10) < 7, faithful=4)
    labels = np.array([2, 2, 2, 1, 2, 1, 1, 0, 0, 0])
    # Two diseases share 4 occluded images: 2 a class. Class 1 has one of them, healthy images have none.
    assert own_class_positions(labels, explained, 3).tolist() == [5, 7, 8]
    everything = Selection(np.arange(3), np.ones(3, bool), faithful=3)
    assert own_class_positions(np.array([1, 2, 2]), everything, 3).tolist() == []


# --- The table -------------------------------------------------------------------------------------------------------


def test_table_holds_the_means_of_each_class(class_run: Path, class_frames: Frames) -> None:
    tables = all_tables(class_frames)
    table = tables["per_class"].numbers().set_index(["class", "explainer", "head"])
    assert list(dict.fromkeys(table.index.get_level_values("class"))) == CLASSES
    cell = cell_of(class_run, "blackbox")
    files = [cell.scores_file("gradcam"), cell.part(OWN_CLASS).scores_file("gradcam")]
    stored = pd.concat(map(pd.read_parquet, files))
    stored = stored[(stored["metric"] == "audc") & (stored["variant"] == "zero")]
    for label, name in enumerate(CLASSES):
        values = stored.loc[(stored["label"] == label) & (stored["target"] == label), "value"]
        row = table.loc[(name, "gradcam", "blackbox")]
        assert row["audc@zero_mean"] == pytest.approx(values.mean())
        assert row["audc@zero_n"] == len(values) >= 2
    where = tables["per_class_localisation"].numbers().set_index(["class", "explainer", "head"])
    assert set(where.index.get_level_values("class")) == {"bright", "dark"}
    main = tables["localisation"].numbers().set_index(["explainer", "head"])
    parts = where.xs("gradcam", level="explainer")
    pooled = (parts["pixel_auroc_mean"] * parts["pixel_auroc_n"]).sum() / parts["pixel_auroc_n"].sum()
    assert pooled == pytest.approx(main.loc[("gradcam", "blackbox"), "pixel_auroc_mean"])


def test_best_is_sought_within_a_class(class_frames: Frames) -> None:
    table = all_tables(class_frames)["per_class"]
    marked = {table.rows[row]["class"] for row, column in table.best() if column == "audc@zero"}
    assert marked == set(CLASSES)


# --- What stays as it is ---------------------------------------------------------------------------------------------


def test_switching_it_on_touches_no_main_score(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, class_config(every_class=False))
    assert not list(out.rglob(OWN_CLASS)) + list(out.rglob(EVERY_CLASS))
    alone = all_tables(load_frames(out))
    before = {file: file.read_bytes() for folder in ("scores", "gallery") for file in out.rglob(f"{folder}/*")}
    assert before
    assert run_tiny(out, class_config()).computed
    assert before == {file: file.read_bytes() for file in before}
    beside = all_tables(load_frames(out))
    assert "plain" not in set(alone["per_class"].numbers()["class"])
    for name in set(alone) - {"per_class"}:
        pd.testing.assert_frame_equal(alone[name].numbers(), beside[name].numbers(), check_exact=True)
    assert not run_tiny(out, class_config()).computed
    run_tiny(out, class_config(every_class=False))
    assert load_frames(out).own_class.rows().empty


def test_two_classes_have_no_parts(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, class_config(every_class=False, dataset="squares"))
    before = {file: file.read_bytes() for file in out.glob("cells/**/*.*")}
    assert not run_tiny(out, class_config(dataset="squares")).computed
    changed = {file for file, content in before.items() if file.read_bytes() != content}
    assert {file.name for file in changed} == {"cell.json"}  # it names the plan
    assert set(out.glob("cells/**/*.*")) == set(before)
    assert not {"per_class", "per_class_localisation"} & set(all_tables(load_frames(out)))


def test_a_failure_of_one_class_leaves_the_main_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EXPLAINERS["gradcam"].explain_batch

    def not_for_the_healthy(self: Explainer, classifier: Classifier, batch: Batch) -> torch.Tensor:
        if (batch.targets == 0).any():
            raise RuntimeError("no evidence against health")
        return real(self, classifier, batch)

    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", not_for_the_healthy)
    problems = run_tiny(tmp_path / "run", class_config()).problems
    assert any("'gradcam (own class)' failed: " in problem for problem in problems)
    frames = load_frames(tmp_path / "run")
    assert "gradcam" in set(frames.rows()["explainer"])
    assert "gradcam" not in set(frames.own_class.rows()["explainer"])


def test_rows_of_other_settings_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is stopped between the main scores of new settings and those of the other classes."""
    out = tmp_path / "run"
    run_tiny(out, class_config())
    assert not load_frames(out).own_class.rows().empty
    more = class_config()
    more = more.model_copy(update={"explain": more.explain.model_copy(update={"steps": STEPS + 1})})

    real = CellPart.finish

    def stop(part: CellPart, *arguments: Any) -> list[str]:
        if part.name:
            raise KeyboardInterrupt
        return real(part, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(CellPart, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(out, more)
    plan = RunStore(out).record.plan
    cell_of(out, "blackbox").part(OWN_CLASS).note(plan=plan)
    frames = load_frames(out)
    row = next(frames.explained[frames.explained["explainer"] == "gradcam"].itertuples())
    assert set(frames.curve(row, "deletion_curve", "zero")["step"]) == set(range(STEPS + 2))
    assert frames.own_class.rows().empty
