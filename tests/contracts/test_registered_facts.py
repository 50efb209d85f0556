"""Facts of a registration that the report reads: what a mask covers, whether the network sets a metric's level."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.contents import draw_figures
from bench.report.frames.load import load_frames
from bench.report.tables.main import all_tables
from bench.report.tables.notes import note_masks
from bench.report.tables.table import Column, TableData
from bench.store.manifest import Manifest
from tests.support.report_store import make_run


@pytest.mark.usefixtures("unsaved")
def test_stand_ins_for_lesions_are_named_where_localisation_is_shown(tmp_path: Path) -> None:
    make_run(tmp_path)
    frames = load_frames(tmp_path)
    said = "What counts as lesion is a stand-in on first: the whole quadrant."
    facts = frames.record["datasets"] | {
        "first": frames.record["datasets"]["first"] | {"mask_is": "the whole quadrant"}
    }
    localisation = {"variant": "", "family": "localisation", "higher_is_better": True}
    metrics = [*frames.record["metrics"], localisation | {"name": "activation_precision"}]
    told = replace(frames, record=frames.record | {"datasets": facts, "metrics": metrics})
    captions = draw_figures(told, Manifest(tmp_path))
    assert {stem for stem, caption in captions.items() if said in caption.reading} == {
        "topk_precision",
        "precision_sensitivity",
        "gallery_first",
    }
    tables = {name: table for name, table in all_tables(told).items() if name in ("localisation", "cost")}
    across = TableData("", ["metric"], [Column("first", None)], [{"metric": "activation precision† ↑"}], [True])
    note_masks(told, tables | {"across": across})
    assert {name: table.notes for name, table in tables.items()} == {"localisation": [said], "cost": []}
    assert across.notes == [said]


def test_facts_that_an_older_run_did_not_note_come_from_the_registration(tmp_path: Path) -> None:
    store = make_run(tmp_path, datasets=("elpv", "first"))
    metrics = [{key: one[key] for key in one if key != "of_network"} for one in store.record["metrics"]]
    store.write_record(store.record | {"metrics": [*metrics, metrics[0] | {"name": "gone"}]})
    record = load_frames(tmp_path).record
    assert [facts.get("of_network") for facts in record["metrics"]] == [True, True, None]
    assert record["datasets"]["elpv"]["mask_is"].startswith("the quadrant")
    assert "mask_is" not in record["datasets"]["first"]
