"""Every table of a run, and what a run lacks for more."""

from __future__ import annotations

from collections.abc import Callable

from bench.report import fair_resolution, missing, operators
from bench.report.counterfactual import counterfactual_tables
from bench.report.decisions import Decisions
from bench.report.decisions import missing as missing_decisions
from bench.report.frames import Frames
from bench.report.implementations import implementation_tables
from bench.report.masks import note_masks
from bench.report.metric_agreement import metric_agreement_table
from bench.report.paper import paper_tables
from bench.report.sanity import sanity_tables
from bench.report.shortcut import shortcut_tables
from bench.report.soundness import judgements, mark_unsound, soundness_table
from bench.report.studies import study_tables
from bench.report.tables import TableData, all_tables

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
    missing.note_missing(frames, tables)
    tables["gaps"] = missing.gaps_table(frames, lacking(frames, decisions))
    return {name: table for name, table in tables.items() if table.rows}


def lacking(frames: Frames, decisions: Decisions) -> list[str]:
    """A line for each table that this run's scores do not allow, and what would add it."""
    return [
        *missing_decisions(frames, decisions),
        *missing.missing(frames),
        *operators.missing(frames),
    ]
