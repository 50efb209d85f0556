"""Runs that do not fit together: one line that names both, before anything is copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.errors import UserError
from bench.report.frames.load import load_frames
from bench.store.cell_facts import PenaltySearch, SearchStep
from bench.store.folders import RunStore
from tests.bench.commands.merge.merging import (
    change,
    change_cells,
    change_data,
    contents,
    first_cell,
    merge,
    one_run,
    rewrite,
    two_runs,
)

Edit = Callable[[RunStore], object]


def label_tested(store: RunStore, **columns: Any) -> None:
    """Changes columns of the test images of every cell."""
    for key in store.record.cells:
        cell = store.cell(key)
        cell.files.write_frame(cell.predictions, pd.read_parquet(cell.predictions).assign(**columns))


def explained(store: RunStore, names: list[str]) -> None:
    for key in store.record.cells:
        cell = store.cell(key)
        cell.files.write_frame(cell.explained, pd.DataFrame({"image": names, "label": 1}))


def coded(store: RunStore, code: str) -> None:
    """Notes the code that a metric was computed by."""
    for key in store.record.cells:
        rewrite(store.cell(key), "noise", lambda scores: scores, metrics=f'{{"audc@zero": "{code}"}}')


def shown(store: RunStore, pixel: int) -> None:
    images = np.full((2, 3, 4, 4), pixel, np.uint8)
    with store.files.writing(store.images_file("first")) as temporary, temporary.open("wb") as stream:
        np.savez(stream, images=images)


def facts_of(field: str, name: str, **changes: Any) -> Edit:
    def edit(store: RunStore) -> None:
        known = getattr(store.record, field)
        change(store, **{field: known | {name: known[name].changed(**changes)}})

    return edit


def nothing(store: RunStore) -> None:
    """Leaves a run as it is."""


DATA = "data set 'first' of a and b is not the same: "
CONFLICTS: list[tuple[Edit, Edit, str]] = [
    (
        nothing,
        lambda run: change_data(run, digests={"test": "9"}),
        DATA + "images, labels or masks of split test differ",
    ),
    (
        nothing,
        lambda run: change_data(run, digests={"explain": "9"}),
        DATA + "images, labels or masks of the explained",
    ),
    (nothing, lambda run: change_data(run, size=32), DATA + "size 16 / 32"),
    (nothing, lambda run: change_data(run, classes=["ill", "healthy"]), DATA + "classes "),
    (nothing, lambda run: change_data(run, explained_healthy=2), DATA + "explained healthy 1 / 2"),
    (nothing, lambda run: label_tested(run, label=0), DATA + "test images, their labels or groups differ"),
    (nothing, lambda run: label_tested(run, group="one"), DATA + "test images, their labels or groups differ"),
    (
        lambda run: explained(run, ["i0", "i1"]),
        lambda run: explained(run, ["i1", "i0"]),
        DATA + "explained images or their labels differ",
    ),
    (lambda run: shown(run, 1), lambda run: shown(run, 2), DATA + "images or masks of the figures differ"),
    (
        nothing,
        facts_of("explainers", "noise", signed=True),
        "explainer 'noise' is not the same in a and b (signed: False / True)",
    ),
    (nothing, facts_of("explainers", "noise", grid="features"), "explainer 'noise' is not the same in a and b (grid"),
    (
        lambda run: change(run, config={"explainers": {"noise": {"samples": 3}}}),
        lambda run: change(run, config={"explainers": {"noise": {"samples": 4}}}),
        "explainer 'noise' is not the same in a and b (samples: 3 / 4)",
    ),
    (
        nothing,
        lambda run: change(run, metrics=[one.changed(higher_is_better=True) for one in run.record.metrics]),
        "metric 'audc@zero' is not the same in a and b (higher_is_better: False / True)",
    ),
    (
        lambda run: change(run, studies={"sanity": {"images": 3}}),
        lambda run: change(run, studies={"sanity": {"images": 4}}),
        "study 'sanity' is not the same in a and b (images: 3 / 4)",
    ),
    (
        nothing,
        lambda run: change(run, config={"datasets": {"first": {"explain": {"steps": 7}}}}),
        "the settings [explain] of 'first' differ in a and b (steps: 30 / 7)",
    ),
    (
        nothing,
        lambda run: (
            change_data(run, spec="folder:/data/first"),
            change(run, config={"datasets": {"folder": {"explain": {"steps": 7}}}}),
        ),
        "the settings [explain] of 'first' differ in a and b (steps: 30 / 7)",
    ),
    (
        lambda run: coded(run, "1"),
        lambda run: coded(run, "2"),
        "the scores audc@zero of 'first' were computed by different code in a and b",
    ),
    (nothing, lambda run: change(run, config={"explain": {"step": 7}}), "run.json: unknown key 'explain.step'"),
]


@pytest.mark.parametrize(("first", "second", "said"), CONFLICTS)
def test_a_conflict_is_one_line_before_anything_is_copied(tmp_path: Path, first: Edit, second: Edit, said: str) -> None:
    one, other = two_runs(tmp_path)
    first(one)
    second(other)
    before = [contents(tmp_path / name) for name in "ab"]
    with pytest.raises(UserError) as caught:
        merge(tmp_path, "a", "b")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "merged").exists()
    assert [contents(tmp_path / name) for name in "ab"] == before


@pytest.mark.parametrize(
    ("change_of_b", "said"),
    [
        (lambda run: change_cells(run, weights_sha256="other"), "with different weights; repeat the command of b with"),
        (lambda run: change_cells(run, weights_sha256=""), "with different weights; repeat the command of b with"),
        (
            lambda run: change_cells(run, align="receptive-field"),
            "different settings (align 'grid' / 'receptive-field')",
        ),
        (
            lambda run: rewrite(
                first_cell(run, "plain"), "noise", lambda rows: rows.assign(value=rows["value"] + 0.01)
            ),
            "explainer 'noise' has different scores there (activation_precision)",
        ),
        (
            lambda run: rewrite(first_cell(run, "plain"), "noise", lambda rows: rows.assign(target=0)),
            "explainer 'noise' has different scores there (activation_precision)",
        ),
    ],
)
def test_a_cell_with_two_results_is_refused(tmp_path: Path, change_of_b: Edit, said: str) -> None:
    for name in "ab":
        change_cells(one_run(tmp_path / name, heads=("plain",)), weights_sha256="same")
    assert merge(tmp_path, "a", "b", out="before") == []
    change_of_b(RunStore(tmp_path / "b"))
    with pytest.raises(UserError) as caught:
        merge(tmp_path, "a", "b")
    assert str(caught.value).startswith("first · small · plain · seed 0 is in a and in b")
    assert said in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_rounding_and_costs_are_no_other_result(tmp_path: Path) -> None:
    def round_off(scores: pd.DataFrame) -> pd.DataFrame:
        return scores.assign(value=np.where(scores["image"] == "", 7.0, scores["value"] * (1 + 1e-7)))

    for name in "ab":
        change_cells(one_run(tmp_path / name, heads=("plain",)), weights_sha256="same")
    rewrite(first_cell(RunStore(tmp_path / "b"), "plain"), "noise", round_off)
    assert merge(tmp_path, "a", "b") == []
    scores = load_frames(tmp_path / "merged").rows()
    assert scores.equals(load_frames(tmp_path / "a").rows())


def test_seeds_of_a_head_have_the_same_recipe(tmp_path: Path) -> None:
    one = one_run(tmp_path / "a", heads=("plain",))
    other = one_run(tmp_path / "b", heads=("plain",), seeds=(1,))
    change_cells(one, parameters={"l1": 1.0, "scale": "mean"})
    change_cells(other, parameters={"l1": 2.0, "scale": "mean"})
    with pytest.raises(UserError, match=r"seed 0 of a and .*seed 1 of b were made with .*\(l1: 1.0 / 2.0\)"):
        merge(tmp_path, "a", "b")
    step = SearchStep(weights={"l1": 1.0}, auc=1, balanced_accuracy=1, near_zero=0)
    search = PenaltySearch(
        parameters=["l1"], twin="plain", margin=0, epochs=1, reference=step, steps=[step], chosen=0, reason=""
    )
    for run in (one, other):
        change_cells(run, penalty_search=search)
    assert merge(tmp_path, "a", "b") == []
    change(other, config={"training": {"epochs": 5}})
    with pytest.raises(UserError, match=r"seed 1 of b were made with different settings \(epochs: 70 / 5\)"):
        merge(tmp_path, "a", "b")


def test_differences_that_a_reader_must_know_are_stated(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path)
    change(other, config={"training": {"epochs": 5}, "report": {"reference": ""}})
    change_data(one, digests={})
    assert merge(tmp_path, "a", "b") == []
    problems = RunStore(tmp_path / "merged").record.problems
    assert problems[0] == "something <odd> happened"
    assert "pixels were not compared, because a has no digests of its images" in problems[1]
    assert problems[2:] == [
        "first · small: the classifiers of a and b were trained by different recipes (epochs: 70 / 5)",
        "the settings [report] of a and b differ; those of the first run of the merge apply",
    ]


def test_a_data_set_that_one_run_could_not_read_is_that_of_the_other(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    change_data(one, classes=[], images={}, digests={})
    change_cells(one, status="failed", reason="no such file")
    assert merge(tmp_path, "a", "b") == []
    assert RunStore(tmp_path / "merged").record.datasets == RunStore(tmp_path / "b").record.datasets
