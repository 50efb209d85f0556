"""Record of a merged run: the union of what the runs hold, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from bench.commands.merge.sources import Source, listed
from bench.store.code_digest import digest
from bench.store.records import CellKey, DatasetFacts, MergedRun, RunOrigin, RunRecord

Name = TypeVar("Name")
Value = TypeVar("Value")


def merged_record(sources: Sequence[Source], notes: Iterable[str]) -> RunRecord:
    """Returns the record of runs that agree wherever they overlap.

    Args:
        sources: the runs.
        notes: lines that a reader of the report must know; they join the problems of the runs.
    """
    records = [source.record for source in sources]
    merged = [run for source in sources for run in _origins(source)]
    first = records[0]
    datasets = _datasets(records)
    return RunRecord(
        config=first.config | {"description": f"Merge of the runs {listed(sources)}."},
        cells=_cells([key for record in records for key in record.cells]),
        plan=digest([[run.name, run.plan] for run in merged], [source.name for source in sources]),
        git=_same([record.git for record in records]),
        packages=_versions(records),
        machine=first.machine,
        started=min(record.started for record in records),
        finished=max(record.finished for record in records),
        explained_by=_explained_by(records),
        datasets=datasets,
        absent={
            name: why
            for record in records
            for name, why in record.absent.items()
            if name not in {facts.base for facts in datasets.values()}
        },
        init=_same([record.init for record in records]),
        splits=_same([record.splits for record in records]) or "",
        explainers=_first([record.explainers for record in records]),
        heads=_first([record.heads for record in records]),
        studies=_first([record.studies for record in records]),
        metrics=list(_first([{(one.name, one.variant): one for one in record.metrics} for record in records]).values()),
        problems=list(dict.fromkeys([*(line for record in records for line in record.problems), *notes])),
        merged=merged,
    )


def _origins(source: Source) -> list[MergedRun]:
    """Returns the run, or the runs that it was merged from itself."""
    if source.record.merged:
        return source.record.merged
    facts = {name: getattr(source.record, name) for name in RunOrigin.model_fields}
    finished = [key for key, record in source.cells.items() if record.status == "ok"]
    return [MergedRun(name=source.name, **facts | {"cells": finished})]


def _cells(keys: Sequence[CellKey]) -> list[CellKey]:
    """Returns every cell once, in the order of a run: by data set, backbone, head, seed and fold."""
    places = [
        {name: place for place, name in enumerate(dict.fromkeys(names))}
        for names in zip(*((key.dataset, key.backbone, key.head, key.seed) for key in keys), strict=True)
    ]
    dataset, backbone, head, seed = places or [{}, {}, {}, {}]
    return sorted(
        dict.fromkeys(keys),
        key=lambda key: (
            *(dataset[key.dataset], backbone[key.backbone], head[key.head], seed[key.seed]),
            key.fold or 0,
        ),
    )


def _datasets(records: Sequence[RunRecord]) -> dict[str, DatasetFacts]:
    """Returns the facts of the first run that could read a data set, with splits that only others have."""
    found: dict[str, DatasetFacts] = {}
    for record in records:
        for name, facts in record.datasets.items():
            known = found.get(name, facts)
            if not known.classes:
                known = facts
            splits = {what: getattr(facts, what) | getattr(known, what) for what in ("images", "side", "digests")}
            found[name] = known.changed(**splits)
    return found


def _explained_by(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    heads: dict[str, dict[str, None]] = {}
    for record in records:
        for head, names in record.explained_by.items():
            heads.setdefault(head, {}).update(dict.fromkeys(names))
    return {head: list(names) for head, names in heads.items()}


def _versions(records: Sequence[RunRecord]) -> dict[str, str]:
    """Returns package -> its versions, which are several if the runs had different ones."""
    names = dict.fromkeys(name for record in records for name in record.packages)
    return {
        name: " / ".join(dict.fromkeys(record.packages[name] for record in records if name in record.packages))
        for name in names
    }


def _first(tables: Sequence[dict[Name, Value]]) -> dict[Name, Value]:
    """Joins tables in their order; the first entry of a name counts."""
    joined: dict[Name, Value] = {}
    for table in tables:
        joined = joined | {name: value for name, value in table.items() if name not in joined}
    return joined


def _same(values: Sequence[Value]) -> Value | None:
    return values[0] if all(value == values[0] for value in values) else None
