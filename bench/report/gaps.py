"""Gaps of a run: problems, omissions by design, and results that the same command can add.

Every table, figure and terminal message states its gaps through this module, so that they all read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bench.report.frames.load import Frames
from bench.report.tables.table import TableData
from bench.store.records import CellKey, RunRecord, StudyOutcome


@dataclass(frozen=True)
class Missing:
    """Something that a run could show but did not compute.

    Attributes:
        what: tables or columns, as messages name them.
        remedy: sentence that says what adds them; not needed where there are ``studies``.
        studies: names of the studies that compute them.
        below: table -> what it lacks; the message is printed below that table too.
    """

    what: str
    remedy: str = ""
    studies: tuple[str, ...] = ()
    below: Mapping[str, str] = field(default_factory=dict)

    def message(self, frames: Frames, what: str = "") -> str:
        """Returns one line; ``what`` replaces the name of the missing results."""
        remedy = self.remedy or _how_to_add(frames, self.studies)
        return f"Not computed: {what or self.what}. {remedy}{merged_too(frames.record)}"


def _how_to_add(frames: Frames, studies: Iterable[str]) -> str:
    """Returns the sentence that says how to add studies to this run."""
    names = ",".join(dict.fromkeys([*frames.record.studies, *studies]))
    return f"Re-run the same command with --studies {names} to add it; existing results are reused."


def merged_too(record: RunRecord) -> str:
    """Returns the sentence that follows a remedy in a merged run, which computes nothing itself; empty otherwise."""
    names = ", ".join(run.name for run in record.merged)
    return f" This is done in the runs that were merged ({names}); then merge again." if names else ""


def without_studies(frames: Frames, table: str, *studies: str, below: Mapping[str, str] | None = None) -> list[Missing]:
    """Returns the table as missing if the run asked for none of the studies that make it."""
    asked = frames.record.studies
    return [] if set(studies) & set(asked) else [Missing(table, studies=studies, below=below or {})]


def has_counterfactuals(frames: Frames) -> bool:
    """Returns True if a data set of the run has images whose lesions can be removed exactly."""
    return any(record.lesion_reliance for record in frames.cells["record"])


def missing_lines(frames: Frames, missing: Iterable[Missing]) -> list[str]:
    """Returns one line per gap; gaps that studies fill share one line, because one command fills them all."""
    missing = list(missing)
    by_study = [one for one in missing if one.studies]
    lines = [one.message(frames) for one in missing if not one.studies]
    if by_study:
        names = ", ".join(dict.fromkeys(one.what for one in by_study))
        lines.append(Missing(names, studies=tuple(name for one in by_study for name in one.studies)).message(frames))
    return lines


def note_missing(frames: Frames, tables: dict[str, TableData], missing: Iterable[Missing]) -> None:
    """Adds a note to every table that lacks something."""
    for one in missing:
        for name, what in one.below.items():
            if name in tables:
                tables[name].notes.append(one.message(frames, what))


def gaps_table(frames: Frames, missing: list[str]) -> TableData:
    """Returns everything that the tables of this run lack, one gap per row.

    Args:
        frames: the run.
        missing: results that could be added, as lines.
    """
    kinds = {"problem": gaps(frames), "can be added": missing, "by design": skipped_studies(frames)}
    rows = [{"kind": kind, "gap": line} for kind, lines in kinds.items() for line in lines]
    return TableData("Results that this run does not hold.", ["kind", "gap"], [], rows, [False] * len(rows))


def gaps(frames: Frames) -> list[str]:
    """Returns a line per problem: data sets and metrics left out, damaged files, all that failed, unusable maps."""
    return [*(f"left out: {name}: {reason}" for name, reason in frames.record.absent.items()), *faults(frames)]


def faults(frames: Frames) -> list[str]:
    """Returns ``gaps`` without the data sets that are not there."""
    lines = [*frames.damaged, *_skipped_metrics(frames), *_failed_studies(frames)]
    lines += (whole := _failed_datasets(frames)).values()
    for key, record in zip(frames.record.cells, frames.cells["record"], strict=True):
        name = str(key)
        if record.status != "ok" and key.dataset not in whole:
            status = "not begun" if record.status == "absent" else record.status
            lines.append(f"{name} {status}{': ' + record.reason if record.reason else ''}")
        for explainer, outcome in record.explainers.items():
            if outcome.status == "failed" and explainer in frames.record.explainers:
                lines.append(f"{name}: explainer {explainer!r} failed: {outcome.reason}")
            if outcome.bad_maps:
                lines.append(f"{name}: {explainer}: {len(outcome.bad_maps)} maps hold NaN or infinite values")
            for metric, why in outcome.problems.items():
                lines.append(f"{name}: {explainer}: metric {metric} failed: {why}")
    return list(dict.fromkeys(lines))


def _failed_datasets(frames: Frames) -> dict[str, str]:
    """Returns data set -> one line, for those whose cells all failed for the same reason, such as unreadable images."""
    found: dict[str, str] = {}
    for name, cells in frames.cells.groupby("dataset", sort=False):
        reasons = {(record.status, record.reason) for record in cells["record"]}
        if len(cells) > 1 and len(reasons) == 1 and (reason := reasons.pop())[0] == "failed":
            found[str(name)] = f"{name} failed: {reason[1]}"
    return found


def _skipped_metrics(frames: Frames) -> list[str]:
    """Returns one line per data set, reason and family of metrics that could not be computed there."""
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
    """Returns one line per data set and reason, with the heads that a study does not apply to by its design."""
    skipped: dict[tuple[str, str, str], list[str]] = {}
    for key, study, _, outcome in _study_outcomes(frames):
        if outcome.status == "skipped":
            heads = skipped.setdefault((key.dataset, study, outcome.reason), [])
            heads += [key.head] if key.head not in heads else []
    return [f"{name}: study {one!r} skipped on {', '.join(on)}: {why}" for (name, one, why), on in skipped.items()]


def _study_outcomes(frames: Frames) -> Iterator[tuple[CellKey, str, str, StudyOutcome]]:
    """Yields cell, study, explainer ("" = the cell) and outcome of the last plan; cell.json keeps earlier ones too."""
    for key, record in zip(frames.record.cells, frames.cells["record"], strict=True):
        for study in frames.record.studies:
            outcomes = record.studies.get(study, {})
            for of in ("", *frames.record.explained_by[key.head]):
                if of in outcomes:
                    yield key, study, of, outcomes[of]
