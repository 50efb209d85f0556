"""Tables of the paper: our numbers by recomputation, reported ones beside them, and no file of an earlier plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.files import replacing
from bench.registry import BACKBONES, DATASETS, EXPLAINERS, HEADS, METRICS
from bench.report.build import build_report
from bench.report.contents import every_table
from bench.report.frames.load import load_frames
from bench.report.tables.paper import PRECISIONS
from bench.report.tables.reported import Reported, reported_values
from bench.report.tables.table import TableData
from bench.report.tables.writers import markdown
from bench.store.folders import RunStore
from bench.store.manifest import Manifest
from bench.store.records import CellKey, MetricFacts
from bench.store.scores import write_scores
from tests.support.study_store import IMAGES, PLAIN, head, make_grid

OWN = head("softcam-sparse", l1=5e-5)


def tables_of(folder: Path) -> dict[str, TableData]:
    frames = load_frames(folder)
    return every_table(frames)


def stored(folder: Path, name: str, dataset: str, explainer: str, metric: str) -> pd.DataFrame:
    scores = pd.read_parquet(RunStore(folder).cell(CellKey(dataset, "small", name, 0)).scores_file(explainer))
    return scores[scores["metric"] == metric]


def test_precision_at_k_counts_the_first_k_patches_that_exist(tmp_path: Path) -> None:
    make_grid(tmp_path, {"plain": PLAIN, "own": OWN})
    table = tables_of(tmp_path)["paper/topk_precision"]
    assert [column.name for column in table.columns] == [f"precision_at_{k}" for k in PRECISIONS if k <= 12]
    row = next(row for row in table.rows if row["explainer"] == "post_a")
    hits = stored(tmp_path, "plain", "first", "post_a", "topk_hits")
    for k in (1, 5, 10):
        shares = [
            np.nanmean(patches["value"].to_numpy()[:k])
            for _, patches in hits.groupby("image")
            if patches["value"].notna().any()
        ]
        assert row[f"precision_at_{k}"].mean == pytest.approx(np.mean(shares))
        assert row[f"precision_at_{k}"].n == len(shares) == IMAGES - 1
    assert "noise" not in {row["explainer"] for row in table.rows}


def test_a_second_rule_has_columns_of_its_own(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "own": OWN})
    file = store.cell(CellKey("first", "small", "plain", 0)).scores_file("post_a")
    rows = pd.read_parquet(file)
    hits = rows[rows["metric"] == "topk_hits"]
    write_scores(replacing(file), [rows, hits.assign(variant="point", value=1 - hits["value"])], fingerprint="x")
    frames = load_frames(tmp_path)
    metrics = [MetricFacts(name="topk_precision", variant=way, family="localisation", higher_is_better=True)
               for way in ("", "point")]  # fmt: skip
    table = every_table(replace(frames, record=frames.record.changed(metrics=metrics)))["paper/topk_precision"]
    columns = [column.name for column in table.columns]
    assert columns == [*(f"precision_at_{k}" for k in (1, 5, 10)), *(f"precision_at_{k}@point" for k in (1, 5, 10))]
    row = next(row for row in table.rows if row["explainer"] == "post_a")
    for k in (1, 5, 10):
        assert row[f"precision_at_{k}@point"].mean == pytest.approx(1 - row[f"precision_at_{k}"].mean)
    assert all("precision_at_1@point" not in row for row in table.rows if row["explainer"] != "post_a")
    assert "@point: one value at the centre of the patch" in table.reading


def test_consistency_has_the_spread_across_images(tmp_path: Path) -> None:
    make_grid(tmp_path, {"plain": PLAIN, "own": OWN})
    (row,) = tables_of(tmp_path)["paper/consistency"].rows
    for metric in ("positive_ratio", "negative_ratio"):
        values = stored(tmp_path, "own", "first", "evidence", metric)["value"]
        assert row[metric].mean == pytest.approx(np.mean(values))
        assert row[f"{metric}_sd"].mean == pytest.approx(np.std(values, ddof=1))


def test_deletion_by_class_is_of_the_true_class(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "own": OWN}, {"three": {"classes": ["healthy", "a", "b"]}, "two": {}})
    tables = tables_of(tmp_path)
    table = tables["paper/multiclass_deletion"]
    assert {row["dataset"] for row in table.rows} == {"three"}
    assert list(dict.fromkeys(row["class"] for row in table.rows)) == ["a", "b"]
    for row in table.rows:
        values = stored(tmp_path, row["head"], "three", row["explainer"], "audc")
        mine = values[(values["label"] == ["healthy", "a", "b"].index(row["class"])) & (values["variant"] == "zero")]
        assert row["audc@zero"].mean == pytest.approx(mine["value"].mean())
    multiclass = tables["paper/multiclass"]
    assert {row["dataset"] for row in multiclass.rows} == {"three"}
    assert [column.name for column in multiclass.columns] == ["accuracy", "kappa", "auc"]
    frame = pd.read_parquet(store.cell(CellKey("three", "small", "own", 0)).predictions)
    right = frame.filter(like="logit_").to_numpy().argmax(axis=1) == frame["label"]
    row = next(row for row in multiclass.rows if row["head"] == "own")
    assert row["accuracy"].mean == pytest.approx(right.mean())


def test_reported_values_stand_beside_ours_by_registered_names(tmp_path: Path) -> None:
    heads = {"blackbox": PLAIN | {"base": "blackbox"}, "softcam-sparse@l1=1e-5": OWN, "tte": head("tte")}
    make_grid(tmp_path, heads, {"fundus@size=96": {"base": "fundus"}, "mine": {}}, backbones=("vgg16",))
    tables = tables_of(tmp_path)
    table = tables["paper/classification"]
    reported = {(row["dataset"], row["head"]): str(row.get("auc_reported", "")) for row in table.rows}
    assert reported["fundus@size=96", "blackbox"] == "0.938"
    assert reported["fundus@size=96", "softcam-sparse@l1=1e-5"] == "0.938"
    assert reported["fundus@size=96", "tte"] == reported["mine", "blackbox"] == ""
    assert "accuracy_reported" not in table.numbers()
    assert table.numbers()["auc_reported_value"].tolist()[0] == "0.938"
    assert any("second-hand" in note for note in table.notes)
    lines = markdown(table).splitlines()
    assert lines[2].endswith("| auc ↑ | auc reported |")
    assert lines[4].endswith("| 0.938 |")
    consistency = next(row for row in tables["paper/consistency"].rows if row["head"] == "softcam-sparse@l1=1e-5")
    assert str(consistency["positive_ratio_reported"]) == "0.28"


def test_draft_values_have_their_own_column_and_the_weight_of_their_penalty(tmp_path: Path) -> None:
    heads = {
        "blackbox": PLAIN | {"base": "blackbox"},
        "softcam-dense": OWN | {"base": "softcam-dense"},
        "softcam-sparse@l1=1e-4": OWN | {"base": "softcam-sparse"},
        "softcam-sparse@l1=0.5": OWN | {"base": "softcam-sparse"},
        "softcam-sparse": OWN,
    }
    make_grid(tmp_path, heads, {"cxr": {}}, backbones=("vgg16",))
    table = tables_of(tmp_path)["paper/classification"]
    names = [column.name for column in table.columns]
    assert names == ["accuracy", "accuracy_draft", "auc", "auc_reported", "auc_draft"]
    of = {row["head"]: row for row in table.rows}
    assert str(of["softcam-dense"]["auc_draft"]) == "0.9899"
    assert str(of["softcam-sparse@l1=1e-4"]["auc_draft"]) == "0.9899 (λ₁ = 1e-4)"
    assert "auc_draft" not in of["softcam-sparse@l1=0.5"]
    assert str(of["softcam-sparse"]["auc_draft"]).startswith("0.9899 (λ₁ = 1e-6); 0.9904 (λ₁ = 1e-5); ")
    assert "auc_draft" not in of["blackbox"]
    labelled = next(note for note in table.notes if "authors' draft notebook, fa7063e" in note)
    assert "second-hand" not in labelled


def test_the_doubtful_value_is_marked_with_its_reason(tmp_path: Path) -> None:
    heads = {"softcam-dense": OWN | {"base": "softcam-dense"}, "softcam-sparse": OWN}
    make_grid(tmp_path, heads, {"cxr": {}}, backbones=("vgg16",))
    table = tables_of(tmp_path)["paper/classification"]
    assert [str(row["auc_reported"]) for row in table.rows] == ["0.999 ?", "0.990"]
    (reason,) = [note for note in table.notes if note.startswith("?")]
    assert reason.startswith("? cxr, vgg16, softcam-dense, auc: probably a misprint of 0.990")
    assert table.numbers()["auc_reported_doubt"].tolist()[0].startswith("probably a misprint")


def test_reported_file_names_its_sources() -> None:
    values = [(kind, value) for (kind, *_), values in reported_values().items() for value in values]
    assert sum(kind == "reported" for kind, _ in values) == 13
    assert all(0 <= float(value.value) <= 1 for _, value in values)
    for kind, value in values:
        assert value.source.startswith("reported; " if kind == "reported" else "authors' draft notebook, fa7063e")
    assert str(Reported("0.55", "0.2", "")) == "0.55 ± 0.2"


def test_values_of_others_are_of_registered_names() -> None:
    for _, dataset, backbone, method, metric in reported_values():
        assert dataset in DATASETS
        assert backbone in BACKBONES
        assert method in HEADS or method in EXPLAINERS
        assert metric.partition("@")[0] in (*METRICS, "accuracy", "auc", "precision_at_1", "precision_at_30")


def test_every_head_is_a_row_of_every_paper_table(tmp_path: Path) -> None:
    make_grid(
        tmp_path,
        {"plain": PLAIN, "own": OWN, "tte": head("tte", paper="arXiv:2")},
        {"three": {"classes": ["h", "a", "b"]}},
    )
    tables = {name: table for name, table in tables_of(tmp_path).items() if name.startswith("paper/")}
    assert len(tables) == 7
    for name, table in tables.items():
        assert {"own", "tte"} <= {row["head"] for row in table.rows}, name


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which are most of a report's time."""
    monkeypatch.setattr("bench.report.two_processes.draw_figures", lambda frames, files, topics, failures: {})


@pytest.mark.usefixtures("undrawn")
def test_files_of_an_earlier_plan_are_removed_and_the_folder_with_them(tmp_path: Path) -> None:
    store = make_grid(tmp_path, {"plain": PLAIN, "own": OWN})
    quiet = Console(quiet=True)
    build_report(tmp_path, quiet)
    folder = tmp_path / "tables"
    assert {file.name for file in (folder / "paper").glob("classification.*")} == {
        f"classification.{end}" for end in ("csv", "md", "tex")
    }
    assert 'href="tables/paper/classification.csv"' in (tmp_path / "report.html").read_text()
    names = ("paper/old.csv", "old.md", "gone/old.tex")
    for name in names:
        with Manifest(tmp_path).replacing(f"tables/{name}") as temporary:
            temporary.write_text("")
    (tmp_path / "report.json").unlink()
    build_report(tmp_path, quiet)
    assert not any((folder / name).exists() for name in (*names, "gone"))
    assert (folder / "paper" / "classification.csv").exists()
    for key in store.record.cells:
        store.cell(key).note(status="failed", reason="broken")
    build_report(tmp_path, quiet)
    assert not (folder / "paper").exists()
