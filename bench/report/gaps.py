"""What a run did not measure, why, and how to add it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.comparisons.decisions import Decisions, missing_decisions
from bench.report.frames.load import Frames
from bench.report.studies import counterfactual, operators, soundness
from bench.report.tables.notes import how_to_add
from bench.report.tables.table import TableData
from bench.store.records import CellKey, StudyOutcome

#: Table -> the probes that make it; those of ``_OF_PHANTOMS`` only where the truth is known.
_NEEDED = {
    "counterfactual": (counterfactual.PROBE,),
    "metric_soundness": (soundness.PROBE,),
    "sanity": ("sanity", "agreement"),
    "fair_resolution": ("fair_resolution",),
    "implementations": ("implementations",),
}
_OF_PHANTOMS = ("counterfactual", "metric_soundness")
#: Table that lacks something without another one -> what it lacks, and that one.
_NOTED = {
    "localisation": {"metric_soundness": "which metrics are sound"},
    "faithfulness": {
        "counterfactual": "the counterfactual columns",
        "metric_soundness": "which metrics are sound",
    },
}


def without_studies(frames: Frames) -> dict[str, tuple[str, ...]]:
    """Table that this run asked no probe for -> the probes that make it."""
    phantoms = any(record.lesion_reliance for record in frames.cells["record"])
    asked = frames.record.studies
    return {
        table: studies
        for table, studies in _NEEDED.items()
        if not set(studies) & set(asked) and (phantoms or table not in _OF_PHANTOMS)
    }


def missing_studies(frames: Frames) -> list[str]:
    """One line for all tables that lack their probes, if there are any."""
    absent = without_studies(frames)
    studies = [name for names in absent.values() for name in names]
    return [f"not there: {', '.join(absent)}: {how_to_add(frames, studies)}"] if absent else []


def note_missing(frames: Frames, tables: dict[str, TableData]) -> None:
    """Say below the tables what they lack without the probes that the run did not ask for."""
    absent = without_studies(frames)
    for name, lacking in _NOTED.items():
        for table, what in lacking.items():
            if name in tables and table in absent:
                tables[name].notes.append(f"Not measured: {what}; {how_to_add(frames, list(absent[table]))}.")


def gaps_table(frames: Frames, lacking: list[str]) -> TableData:
    """Everything that this run's tables do not hold, one line each.

    Args:
        lacking: what could be added, as lines.
    """
    kinds = {"problem": gaps(frames), "can be added": lacking, "by design": skipped_studies(frames)}
    caption = (
        "Gaps: what failed or could not be read, what the same command can add, and what is left out by design, "
        "because it would measure nothing there."
    )
    rows = [{"kind": kind, "gap": line} for kind, lines in kinds.items() for line in lines]
    return TableData(caption, ["kind", "gap"], [], rows, [False] * len(rows))


def lacking(frames: Frames, decisions: Decisions) -> list[str]:
    """A line for each table that this run's scores do not allow, and what would add it."""
    return [
        *missing_decisions(frames, decisions),
        *missing_studies(frames),
        *operators.missing_operators(frames),
    ]


def gaps(frames: Frames) -> list[str]:
    """What the tables do not hold: data sets and metrics left out, all that failed, unusable maps."""
    lines = [f"left out: {name}: {reason}" for name, reason in frames.record.absent.items()]
    lines += _skipped_metrics(frames) + _failed_studies(frames)
    for name, record in zip(map(str, frames.record.cells), frames.cells["record"], strict=True):
        if record.status != "ok":
            status = "not begun" if record.status == "absent" else record.status
            lines.append(f"{name} {status}{': ' + record.reason if record.reason else ''}")
        for explainer, outcome in record.explainers.items():
            if outcome.status == "failed" and explainer in frames.record.explainers:
                lines.append(f"{name}: explainer {explainer!r} failed: {outcome.reason}")
            if outcome.bad_maps:
                lines.append(f"{name}: {explainer}: {len(outcome.bad_maps)} maps hold NaN or infinite values")
            for metric, why in outcome.problems.items():
                lines.append(f"{name}: {explainer}: metric {metric} failed: {why}")
    return lines


def _skipped_metrics(frames: Frames) -> list[str]:
    """Once for each data set: why the metrics of a family could not be read there, and which ones."""
    skipped: dict[tuple[str, str, str], list[str]] = {}
    for key, record in zip(frames.record.cells, frames.cells["record"], strict=True):
        for metric in frames.record.metrics:
            if reason := record.metrics_skipped.get(metric.name):
                names = skipped.setdefault((key.dataset, reason, metric.family), [])
                names += [metric.name] if metric.name not in names else []
    return [f"{name}: {why}: {family} skipped ({', '.join(names)})" for (name, why, family), names in skipped.items()]


def _failed_studies(frames: Frames) -> list[str]:
    return [
        f"{key}: study {study!r}{f' of {of!r}' if of else ''} failed: {outcome.reason}"
        for key, study, of, outcome in _study_outcomes(frames)
        if outcome.status == "failed"
    ]


def skipped_studies(frames: Frames) -> list[str]:
    """Once for each data set and reason: the heads that a probe, by its design, does not apply to."""
    skipped: dict[tuple[str, str, str], list[str]] = {}
    for key, study, _, outcome in _study_outcomes(frames):
        if outcome.status == "skipped":
            heads = skipped.setdefault((key.dataset, study, outcome.reason), [])
            heads += [key.head] if key.head not in heads else []
    return [f"{name}: study {one!r} skipped on {', '.join(on)}: {why}" for (name, one, why), on in skipped.items()]


def _study_outcomes(frames: Frames) -> Iterator[tuple[CellKey, str, str, StudyOutcome]]:
    """Cell, study, explainer ("" = the cell) and what happened, of the last plan: cell.json keeps earlier ones."""
    for key, record in zip(frames.record.cells, frames.cells["record"], strict=True):
        for study in frames.record.studies:
            outcomes = record.studies.get(study, {})
            for of in ("", *frames.record.explained_by[key.head]):
                if of in outcomes:
                    yield key, study, of, outcomes[of]
