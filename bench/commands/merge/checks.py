"""Checks that runs can be read as one: equal data, settings, code and facts wherever their results are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from bench.commands.merge.data import compare_data
from bench.commands.merge.shared_cells import compare_cell
from bench.commands.merge.sources import Source
from bench.errors import UserError
from bench.specs import parse_spec
from bench.store.cell_facts import Record
from bench.store.records import CellKey, CellRecord, MetricFacts, RunRecord


def compare(sources: Sequence[Source]) -> list[str]:
    """Compares every two runs.

    Returns:
        A line per difference that a reader of the report must know.

    Raises:
        UserError: results of two runs cannot be compared; it names both.
    """
    return list(dict.fromkeys(line for pair in combinations(sources, 2) for line in _compare(*pair)))


def _compare(one: Source, other: Source) -> Iterator[str]:
    _compare_facts(one, other)
    for dataset in one.record.datasets:
        if dataset in other.record.datasets:
            yield from compare_data(one, other, dataset)
            _compare_explaining(one, other, dataset)
            _compare_code(one, other, dataset)
            yield from _compare_training(one, other, dataset)
    for key, record in one.cells.items():
        if key in other.cells and record.status == other.cells[key].status == "ok":
            compare_cell(one, other, key)
    if one.record.config.get("report", {}) != other.record.config.get("report", {}):
        yield f"the settings [report] of {one.name} and {other.name} differ; those of the first run of the merge apply"


def _compare_facts(one: Source, other: Source) -> None:
    """Raises ``UserError`` if the two runs know different things by one name."""
    for (kind, ours), (_, known) in zip(_facts(one.record), _facts(other.record), strict=True):
        for name, facts in ours.items():
            if name in known and (text := _difference(facts, known[name])):
                raise UserError(
                    f"{kind} {name!r} is not the same in {one.name} and {other.name} ({text}); repeat one of the runs "
                    "with the version and settings of the other, or under another name"
                )


def _facts(record: RunRecord) -> list[tuple[str, Mapping[str, Record | dict[str, Any]]]]:
    """Returns kind -> name -> facts."""
    tables: dict[str, dict[str, Any]] = {}
    for run in reversed([record, *record.merged]):
        tables |= run.config.get("explainers", {})
    return [
        ("explainer", record.explainers),
        ("explainer", {name: tables.get(parse_spec(name).base, {}) for name in record.explainers}),
        ("head", record.heads),
        ("metric", _metrics(record)),
        ("study", record.studies),
    ]


def _metrics(record: RunRecord) -> dict[str, MetricFacts]:
    return {f"{one.name}@{one.variant}" if one.variant else one.name: one for one in record.metrics}


def _difference(one: Record | dict[str, Any], other: Record | dict[str, Any]) -> str:
    """Returns the first value that differs; empty if all are equal."""
    ours, theirs = dict(one), dict(other)
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return f"{names[0]}: {ours.get(names[0])!r} / {theirs.get(names[0])!r}" if names else ""


def _compare_explaining(one: Source, other: Source, dataset: str) -> None:
    """Raises ``UserError`` if the explained images were explained or occluded differently."""
    sections = [
        source.config(key).explain.model_dump(exclude={"batch_size"})
        for source in (one, other)
        for key in list(source.finished(dataset))[:1]
    ]
    if len(sections) == 2 and (text := _difference(*sections)):
        raise UserError(
            f"the settings [explain] of {dataset!r} differ in {one.name} and {other.name} ({text}); repeat one of the "
            "runs with those of the other"
        )


def _compare_code(one: Source, other: Source, dataset: str) -> None:
    """Raises ``UserError`` if a metric that the report shows was computed by different code."""
    shown = {name for source in (one, other) for name in _metrics(source.record)}
    ours, theirs = one.metric_codes(dataset), other.metric_codes(dataset)
    if changed := [name for name in ours if name in shown and name in theirs and ours[name] != theirs[name]]:
        raise UserError(
            f"the scores {', '.join(changed)} of {dataset!r} were computed by different code in {one.name} and "
            f"{other.name}; repeat the commands of both with one version and these metrics: only they are computed "
            "again"
        )


def _compare_training(one: Source, other: Source, dataset: str) -> Iterator[str]:
    """Yields a line per backbone whose classifiers were trained by different recipes.

    Raises:
        UserError: the seeds of one head were trained by different recipes or have different parameters.
    """
    for key, ours in one.finished(dataset).items():
        for another, theirs in other.finished(dataset).items():
            if key.backbone != another.backbone:
                continue
            text = _recipe_difference(one, other, (key, another)) if _trained(ours) and _trained(theirs) else ""
            if key.head == another.head and (text := text or _difference(_parameters(ours), _parameters(theirs))):
                raise UserError(
                    f"{key} of {one.name} and {another} of {other.name} were made with different settings ({text}); "
                    "repeat one of the runs with those of the other, or under another name of the head"
                )
            if text:
                yield (
                    f"{dataset} · {key.backbone}: the classifiers of {one.name} and {other.name} were trained by "
                    f"different recipes ({text})"
                )


def _trained(record: CellRecord) -> bool:
    return record.best_epoch is not None


def _recipe_difference(one: Source, other: Source, keys: tuple[CellKey, CellKey]) -> str:
    recipes = [source.config(key) for source, key in zip((one, other), keys, strict=True)]
    ours, theirs = (config.training.model_dump() | {"pretrained": config.run.pretrained} for config in recipes)
    return _difference(ours, theirs)


def _parameters(record: CellRecord) -> dict[str, Any]:
    """Returns the parameters of a head without those that a search chose for its seed."""
    found = record.penalty_search.parameters if record.penalty_search else []
    return {name: value for name, value in (record.parameters or {}).items() if name not in found}
