"""Every table of a run, and what a run lacks for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.report.comparisons.decisions import Decisions
from bench.report.figures.class_maps import class_maps
from bench.report.figures.classifier_figures import accuracy_by_head, training_curves
from bench.report.figures.curve_figures import deletion_curves, insertion_curves, topk_precision
from bench.report.figures.gallery_figure import galleries
from bench.report.figures.scatter import precision_sensitivity
from bench.report.figures.style import paper_style, save
from bench.report.frames.load import Frames
from bench.report.gaps import gaps_table, lacking, note_missing
from bench.report.studies import fair_resolution, operators
from bench.report.studies.counterfactual import counterfactual, counterfactual_tables
from bench.report.studies.implementations import implementation_tables
from bench.report.studies.metric_agreement import metric_agreement, metric_agreement_table
from bench.report.studies.rank_figures import fair_resolution_ranks, operator_ranks
from bench.report.studies.sanity import randomisation, sanity_tables
from bench.report.studies.shortcut import shortcut_tables
from bench.report.studies.shortcut_figure import shortcut_forest
from bench.report.studies.soundness import judgements, mark_unsound, soundness_table
from bench.report.sweeps.figures import cross_domain, lambda_sweep, pooling, resolution
from bench.report.sweeps.tables import study_tables
from bench.report.tables.main import all_tables
from bench.report.tables.notes import note_masks
from bench.report.tables.paper import paper_tables
from bench.report.tables.table import TableData
from bench.store.folders import file_name
from bench.store.manifest import Manifest

#: What studies and probes show, each from the frames alone.
FURTHER: tuple[Callable[[Frames], dict[str, TableData]], ...] = (
    study_tables,
    counterfactual_tables,
    operators.operator_tables,
    fair_resolution.fair_resolution_tables,
    sanity_tables,
    shortcut_tables,
    implementation_tables,
)


def every_table(frames: Frames, decisions: Decisions) -> dict[str, TableData]:
    """Main tables, decisions, studies and the paper's tables, by path below the folder of tables."""
    main, judged = all_tables(frames), judgements(frames)
    tables = main | decisions.tables(frames) | paper_tables(frames, main)
    for further in FURTHER:
        tables |= further(frames)
    tables |= {"metric_soundness": soundness_table(frames, judged), "metric_agreement": metric_agreement_table(frames)}
    mark_unsound(tables, judged)
    note_masks(frames, tables)
    note_missing(frames, tables)
    tables["gaps"] = gaps_table(frames, lacking(frames, decisions))
    return {name: table for name, table in tables.items() if table.rows}


FIGURES = (
    topk_precision,
    precision_sensitivity,
    deletion_curves,
    insertion_curves,
    operator_ranks,
    fair_resolution_ranks,
    counterfactual,
    metric_agreement,
    galleries,
    class_maps,
    training_curves,
    accuracy_by_head,
    lambda_sweep,
    resolution,
    pooling,
    cross_domain,
    shortcut_forest,
    randomisation,
)


def draw_figures(frames: Frames, files: Manifest) -> dict[str, str]:
    """Write ``<stem>.png`` (200 dpi) and ``<stem>.pdf`` of every figure; one set a backbone where there are several.

    Returns:
        stem -> caption, in the order of the page. What a run has no data for is not in it.
    """
    captions: dict[str, str] = {}
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    with paper_style():
        for backbone in backbones:
            several = len(backbones) > 1
            part = _of_backbone(frames, backbone) if several else frames
            for draw in FIGURES:
                for drawing in draw(part):
                    stem = f"{drawing.stem}_{file_name(backbone)}" if several else drawing.stem
                    save(drawing.figure, files, stem)
                    captions[stem] = f"{backbone}. {drawing.caption}" if several else drawing.caption
    return captions


def _of_backbone(frames: Frames, backbone: str) -> Frames:
    names = ("cells", "scores", "own_class", "cost", "predictions", "training")

    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["backbone"] == backbone] if len(rows) else rows

    changes: dict[str, Any] = {name: chosen(getattr(frames, name)) for name in names}
    changes["studies"] = {name: chosen(rows) for name, rows in frames.studies.items()}
    return replace(frames, **changes)
