"""One merged cell: its files, from every run that finished it, and a record in which the merged plan is complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow.parquet as pq

from bench.commands.merge.copying import copy_first
from bench.commands.merge.shared_cells import distinct, joined_scores
from bench.commands.merge.sources import Source, listed, stored_metrics
from bench.contracts import EVERY_CLASS, OWN_CLASS
from bench.files import tell_damage
from bench.store.folders import CellStore
from bench.store.records import CellKey, CellRecord, ExplainerOutcome, RunRecord, StudyOutcome
from bench.store.scores import read_metadata, write_scores
from bench.store.stored_files import StoredFiles

Outcome = TypeVar("Outcome", bound=StudyOutcome)
#: Begins the reason of what a run was not asked for, which a merge of merges tells from other reasons.
_NOT_PART = "not part of"


@dataclass
class MergedCell:
    """A cell of the merged run.

    Attributes:
        key: names the cell.
        sources: runs that have it in their last plan.
        merged: record of the merged run.
        target: files of the cell in the new folder.
    """

    key: CellKey
    sources: Sequence[Source]
    merged: RunRecord
    target: CellStore
    _from: dict[str, list[Source]] = field(default_factory=dict)
    _codes: set[str] = field(default_factory=set)

    def write(self) -> None:
        """Copies the files and writes the record last, so that an interrupted merge leaves an unfinished cell."""
        record = self._record()
        if record.status == "absent":
            self.target.note(plan="")  # of an earlier merge, whose files stay
            return
        if self.target.record != record:
            self.target.write_record(CellRecord(training=record.training, status="training", plan=record.plan))
        if record.status == "ok":
            self._copy_classifier()
            for name, sources in self._from.items():
                self._copy_explainer(name, sources)
            for part in (OWN_CLASS, EVERY_CLASS):
                self._write_part(part)
            self._copy_studies(record)
        if self.target.record != record:
            self.target.write_record(record)

    @cached_property
    def _finished(self) -> list[Source]:
        return [source for source in self.sources if source.cells[self.key].status == "ok"]

    def _record(self) -> CellRecord:
        records = [source.cells[self.key] for source in self.sources]
        begun = [record for record in records if record.status != "absent"]
        if not begun:
            return CellRecord()
        if not self._finished:
            return begun[0].changed(plan=self.merged.plan, explainers={}, studies={})
        asked = self.merged.explained_by[self.key.head]
        explainers = {name: outcome for name in asked if (outcome := self._explainer(name))}
        first = self._finished[0].cells[self.key]
        return first.changed(
            plan=self.merged.plan,
            explainers=explainers,
            studies={name: self._study(name, asked) for name in self.merged.studies},
            metrics_skipped=self._skipped_metrics(),
        )

    def _explainer(self, name: str) -> ExplainerOutcome | None:
        """Returns the outcome of an explainer, and keeps in mind which runs have its scores."""
        asked = [source for source in self._finished if name in source.record.explained_by[self.key.head]]
        if not asked:
            return ExplainerOutcome(status="skipped", reason=self._not_part())
        known = {source.name: source.cells[self.key].explainers.get(name) for source in asked}
        sound = [source for source in asked if name in source.scored(self.key)]
        if not sound:
            return _unsound([(source, known[source.name]) for source in asked], self._scores_of(name))
        self._from[name] = sound
        outcomes = [outcome for source in sound if (outcome := known[source.name])]
        computed = {one for source in sound for one in stored_metrics(source.store.cell(self.key), name)}
        self._codes.update(computed)
        problems = {metric: why for one in outcomes for metric, why in one.problems.items() if metric not in computed}
        return outcomes[0].changed(problems=problems)

    def _study(self, name: str, explainers: list[str]) -> dict[str, StudyOutcome]:
        """Returns explainer, or "" for the whole cell -> outcome of a study."""
        asked = [source for source in self._finished if name in source.record.studies]
        if not asked:
            return {"": StudyOutcome(status="skipped", reason=self._not_part())}
        found = {}
        for of in ("", *explainers):
            known = [(source, source.cells[self.key].studies.get(name, {}).get(of)) for source in asked]
            sound = [one for source, one in known if one and source.store.cell(self.key).study_is_current(name, of)]
            if outcome := (sound[0] if sound else _unsound(known, self._study_of(name, of))):
                found[of] = outcome
        return found

    def _scores_of(self, name: str) -> Callable[[Source], Path]:
        return lambda source: source.store.cell(self.key).scores_file(name)

    def _study_of(self, name: str, of: str) -> Callable[[Source], Path]:
        return lambda source: source.store.cell(self.key).study_file(name, of)

    def _skipped_metrics(self) -> dict[str, str]:
        """Returns metric -> reason, for those that no run computed for this cell."""
        skipped = {}
        stored = {name.split("@")[0] for name in self._codes}  # a run keeps what an earlier plan of it computed
        for name in dict.fromkeys(metric.name for metric in self.merged.metrics):
            asked = [one for one in self._finished if any(metric.name == name for metric in one.record.metrics)]
            reasons = [source.cells[self.key].metrics_skipped.get(name, "") for source in asked]
            if all(reasons) and (asked or name not in stored):
                skipped[name] = reasons[0] if reasons else self._not_part()
        return skipped

    def _not_part(self) -> str:
        return f"{_NOT_PART} {listed(self._finished)}"

    def _files(self, sources: Sequence[Source], part: str = "") -> list[CellStore]:
        cells = [source.store.cell(self.key) for source in sources]
        return [cell.part(part) for cell in cells] if part else cells

    def _copy_classifier(self) -> None:
        sources = self._files(self._finished)
        for path in (self.target.predictions, self.target.explained, self.target.training, self.target.weights):
            self._copy(sources, self.target, path)

    def _copy_explainer(self, name: str, sources: Sequence[Source], part: str = "") -> None:
        cells, target = self._files(sources, part), self.target.part(part) if part else self.target
        maps = target.maps_file(name)
        for path in (target.gallery_file(name), target.cases_file(name), maps, maps.with_suffix(".json")):
            self._copy(cells[:1], target, path)
        several = [] if part else distinct(sources, self.key, name)[1:]
        first = sources[0].scores(self.key, name) if several else pd.DataFrame()
        frame = joined_scores([first, *(source.scores(self.key, name) for source in several)])
        if len(frame) == len(first):
            self._copy(cells[:1], target, target.scores_file(name))
        else:
            self._write_scores(name, frame, cells)

    def _write_scores(self, name: str, frame: pd.DataFrame, cells: Sequence[CellStore]) -> None:
        """Writes scores that are joined from several runs, unless they are there."""
        file = self.target.scores_file(name)
        codes = {metric: code for cell in reversed(cells) for metric, code in stored_metrics(cell, name).items()}
        fingerprint = cells[0].metadata(cells[0].scores_file(name))["fingerprint"]
        about = {"fingerprint": fingerprint, "metrics": json.dumps(codes)}
        stored = self.target.files.read(file, lambda path: (pq.read_table(path).to_pandas(), read_metadata(path)))
        if stored is None or not stored[0].equals(frame) or not stored[1].items() >= about.items():
            write_scores(self.target.files.writing(file), [frame], **about)

    def _write_part(self, part: str) -> None:
        """Copies the scores and maps of further pairs of image and class, with their record."""
        outcomes, origins = dict[str, ExplainerOutcome](), dict[str, Source]()
        for name, sources in self._from.items():
            record = self._files(sources[:1], part)[0].record
            if record.plan == sources[0].record.plan and name in record.explainers:
                outcomes[name], origins[name] = record.explainers[name], sources[0]
        if not outcomes:
            return
        target, first = self.target.part(part), next(iter(origins.values()))
        record = self._files([first], part)[0].record.changed(plan=self.merged.plan, explainers=outcomes)
        if target.record != record:
            target.write_record(CellRecord())
        for name, outcome in outcomes.items():
            if outcome.status == "ok":
                self._copy_explainer(name, [origins[name]], part)
        target.note(**dict(record))

    def _copy_studies(self, record: CellRecord) -> None:
        for name, outcomes in record.studies.items():
            for of, outcome in outcomes.items():
                if outcome.status == "ok":
                    cells = self._files(self._finished)
                    current = [cell for cell in cells if cell.study_is_current(name, of, outcome.fingerprint)]
                    self._copy(current, self.target, self.target.study_file(name, of))

    @staticmethod
    def _copy(sources: Sequence[CellStore], target: CellStore, path: Path) -> None:
        files: list[StoredFiles] = [cell.files for cell in sources]
        copy_first(files, target.files, path.relative_to(target.folder))


def _unsound(known: Sequence[tuple[Source, Outcome | None]], file: Callable[[Source], Path]) -> Outcome | None:
    """Returns the outcome of something without sound results: its damage, otherwise what a run says about it."""
    outcomes = [(source, outcome) for source, outcome in known if outcome is not None]
    for source, outcome in outcomes:
        if outcome.status == "ok":
            tell_damage(file(source), "it is missing or does not belong to the record of its cell")
            reason = f"its results in {source.name} are damaged; repeat the command of {source.name} and merge again"
            return outcome.changed(status="failed", reason=reason)
    said = sorted((outcome for _, outcome in outcomes), key=lambda one: one.reason.startswith(_NOT_PART))
    return said[0] if said else None
