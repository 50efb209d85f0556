"""Registered facts that the report reads: what the masks of a data set cover."""

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
from bench.store.records import MetricFacts
from tests.support.report_store import make_run


@pytest.mark.usefixtures("unsaved")
def test_stand_ins_for_lesions_are_named_where_localisation_is_shown(tmp_path: Path) -> None:
    make_run(tmp_path)
    frames = load_frames(tmp_path)
    said = "What counts as lesion is a stand-in on first: the whole quadrant."
    record = frames.record
    facts = record.datasets | {"first": record.datasets["first"].changed(mask_is="the whole quadrant")}
    localisation = MetricFacts(name="activation_precision", family="localisation", higher_is_better=True)
    told = replace(frames, record=record.changed(datasets=facts, metrics=[*record.metrics, localisation]))
    captions = draw_figures(told, Manifest(tmp_path))
    assert {stem for stem, caption in captions.items() if said in caption.reading} == {
        "topk_precision",
        "precision_sensitivity",
        "gallery_first",
        "price_pareto",
    }
    tables = {name: table for name, table in all_tables(told).items() if name in ("localisation", "cost")}
    across = TableData("", ["metric"], [Column("first", None)], [{"metric": "activation precision† ↑"}], [True])
    note_masks(told, tables | {"across": across})
    assert {name: said in table.notes for name, table in tables.items()} == {"localisation": True, "cost": False}
    assert across.notes == [said]
