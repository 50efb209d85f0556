"""Cells as the report reads them: with cross-validation, all folds of a head and seed are one cell.

Everything above this module sees one cell, in which the classifier of its own test fold has scored each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

from bench.cases.grids import Grids, joined, read_grids
from bench.store.cell_facts import LesionReliance
from bench.store.folders import CellStore
from bench.store.records import CellKey, CellRecord, ExplainerOutcome, RunRecord, StudyOutcome

Outcome = TypeVar("Outcome", bound=StudyOutcome)


def whole_record(record: RunRecord) -> RunRecord:
    """Returns the record of a run in which the folds of a cell are one cell."""
    if all(key.fold is None for key in record.cells):
        return record
    merged = [run.changed(cells=_whole(run.cells)) for run in record.merged]
    return record.changed(cells=_whole(record.cells), merged=merged)


def _whole(keys: Sequence[CellKey]) -> list[CellKey]:
    return list(dict.fromkeys(key.whole for key in keys))


@dataclass(frozen=True)
class WholeCell:
    """Files of a cell; of all its folds with cross-validation.

    Attributes:
        folds: files of each fold, in their order; of the cell itself without cross-validation.
        numbers: the number of each fold; None without cross-validation.
    """

    folds: tuple[CellStore, ...]
    numbers: tuple[int | None, ...]

    @property
    def record(self) -> CellRecord:
        """Facts about all folds."""
        return joined_record([one.record for one in self.folds], self.numbers)

    @property
    def first(self) -> CellStore:
        """The files of the first fold, which alone has maps for the figures."""
        return self.folds[0]

    def cases(self, explainer: str) -> Grids | None:
        """Reads the maps of the cases; None where none are stored."""
        read = (one.files.read(one.cases_file(explainer), read_grids) for one in self.folds)
        found = [grids for grids in read if grids is not None]
        return joined(found) if found else None

    def score_files(self, explainer: str) -> list[Path]:
        """Returns the files of the scores of an explainer."""
        return [one.scores_file(explainer) for one in self.folds]


def joined_record(records: Sequence[CellRecord], folds: Sequence[int | None]) -> CellRecord:
    """Joins the records of the folds of a cell.

    The cell has the status of the first fold that is not finished. Facts that only one classifier can have are those of
    the fold with the median weight of a searched penalty, otherwise those of the first fold.

    Args:
        records: of each fold.
        folds: the number of each; None without cross-validation.
    """
    if len(records) == 1 and folds[0] is None:
        return records[0]
    for record, fold in zip(records, folds, strict=True):
        if record.status != "ok":
            return record.changed(reason=f"fold {fold}: {record.reason}" if record.reason else "")
    names = list(dict.fromkeys(name for one in records for name in one.explainers))
    studies = {name: [one.studies.get(name, {}) for one in records] for one in records for name in one.studies}
    shares = [one.near_zero for one in records if one.near_zero is not None]
    return _typical(records).changed(
        seconds=sum(one.seconds or 0 for one in records),
        near_zero=sum(shares) / len(shares) if shares else None,
        lesion_reliance=_reliance(records),
        metrics_skipped=_skipped_metrics(records, folds),
        work=[work for one in records for work in one.work],
        explainers={name: _explainer([one.explainers.get(name) for one in records], folds) for name in names},
        studies={
            name: {of: _study([one.get(of) for one in found], folds) for one in found for of in one}
            for name, found in studies.items()
        },
    )


def _typical(records: Sequence[CellRecord]) -> CellRecord:
    """Returns the record with the lower median of the chosen weights of the penalty."""

    def weight(record: CellRecord) -> list[float]:
        search = record.penalty_search
        return list(search.steps[search.chosen].weights.values()) if search else []

    return sorted(records, key=weight)[(len(records) - 1) // 2] if any(map(weight, records)) else records[0]


def _reliance(records: Sequence[CellRecord]) -> LesionReliance | None:
    known = [one.lesion_reliance for one in records if one.lesion_reliance]
    total = sum(one.true_positives for one in known)
    if not known:
        return None
    healthy = sum(one.called_healthy * one.true_positives for one in known if one.true_positives)
    return LesionReliance(true_positives=total, called_healthy=healthy / total if total else float("nan"))


def _skipped_metrics(records: Sequence[CellRecord], folds: Sequence[int | None]) -> dict[str, str]:
    """Returns metric -> reason; names the folds where only some have skipped it."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for one in records for name in one.metrics_skipped):
        where = [fold for one, fold in zip(records, folds, strict=True) if name in one.metrics_skipped]
        reason = next(one.metrics_skipped[name] for one in records if name in one.metrics_skipped)
        found[name] = reason if len(where) == len(records) else f"{reason} in fold {', '.join(map(str, where))}"
    return found


def _explainer(outcomes: Sequence[ExplainerOutcome | None], folds: Sequence[int | None]) -> ExplainerOutcome:
    """Joins what an explainer came to in each fold; it is finished if it is in all of them."""
    unfinished = _unfinished(outcomes, folds, ExplainerOutcome(status="failed", reason="it was not run"))
    if unfinished is not None:
        return unfinished
    known = [one for one in outcomes if one is not None]
    problems: dict[str, str] = reduce(lambda one, other: one | other, (one.problems for one in reversed(known)))
    return known[0].changed(bad_maps=[image for one in known for image in one.bad_maps], problems=problems)


def _study(outcomes: Sequence[StudyOutcome | None], folds: Sequence[int | None]) -> StudyOutcome:
    """Joins what a study came to in each fold: it has rows of those that could be measured."""
    failed = [one for one in outcomes if one is not None and one.status == "failed"]
    finished = [one for one in outcomes if one is not None and one.status == "ok"]
    if finished and not failed:
        return finished[0]
    unfinished = _unfinished(outcomes, folds, StudyOutcome(status="failed", reason="it was not run"))
    return unfinished or finished[0]


def _unfinished(outcomes: Sequence[Outcome | None], folds: Sequence[int | None], absent: Outcome) -> Outcome | None:
    """Returns the first outcome that is not "ok", a failure before others; None if there is none."""
    found = [(fold, one or absent) for fold, one in zip(folds, outcomes, strict=True)]
    wrong = [(fold, one) for fold, one in found if one.status != "ok"]
    if not wrong:
        return None
    fold, first = min(wrong, key=lambda pair: pair[1].status != "failed")
    everywhere = len({(one.status, one.reason) for _, one in found}) == 1
    return first if everywhere else first.changed(reason=f"fold {fold}: {first.reason}")
