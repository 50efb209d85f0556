"""Receipt of a finished run, by which the same command knows that nothing is left to do.

Otherwise every run would load images and weights to find that all of its results are in the store. The receipt covers
too much rather than too little: where it does not fit, the run compares results one by one as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from bench.config import Config
from bench.contracts import DatasetInfo
from bench.data.prepare import request_for
from bench.errors import UserError
from bench.files import read_json, write_json
from bench.registry import BACKBONES
from bench.run.finished import RECEIPT
from bench.run.finished.origin import origin_of
from bench.run.options import RunOptions
from bench.run.plan import Plan
from bench.specs import parse_spec
from bench.store.code_digest import digest, source_digest
from bench.store.folders import RunStore
from bench.store.records import RunRecord
from bench.store.stored_files import stored_digest

#: Facts of run.json that say how results came about: a run that computes nothing leaves them as they are.
_HISTORY = ("datasets", "git", "machine", "workers", "started", "finished", "problems")


def finished_record(asked: str | None, store: RunStore, started: RunRecord) -> RunRecord | None:
    """Returns the record of a run that has computed everything in the plan; None where something may be left.

    Args:
        asked: result of ``asked_digest``.
        store: files of the run.
        started: record of the run before it has read any data set.
    """
    try:
        stored, receipt = store.record, read_json(store.folder / RECEIPT)
        if not isinstance(receipt, dict) or asked is None or receipt.get("asked") != asked:
            return None
        if not stored.finished or receipt.get("stored") != _stored(store, stored):
            return None
    except (UserError, OSError, ValueError, RecursionError):  # the run tells what is wrong
        return None
    record = started.changed(**{name: getattr(stored, name) for name in _HISTORY})
    return stored if digest(record.model_dump()) == digest(stored.model_dump()) else record


def write_receipt(asked: str | None, store: RunStore, finished: RunRecord) -> None:
    """Writes the receipt of a run; removes an old one if this run has problems or a cell without results.

    A second run tells these again.

    Args:
        asked: result of ``asked_digest`` before the run began: files that changed meanwhile are not those it has read.
        store: files of the run.
        finished: record of the run.
    """
    done = not finished.problems and all(store.cell(key).record.status == "ok" for key in finished.cells)
    if asked is None or not done:
        (store.folder / RECEIPT).unlink(missing_ok=True)
        return
    write_json(store.folder / RECEIPT, {"asked": asked, "stored": _stored(store, finished)})


def asked_digest(config: Config, plan: Plan, options: RunOptions, record: RunRecord) -> str | None:
    """Returns the digest of everything that decides what a run computes; None if that cannot be known.

    Args:
        config: of the run.
        plan: made from it.
        options: of the command line.
        record: of the run.
    """
    origins = []
    for name, info in plan.datasets.items():
        request = request_for(info, plan.configs[name].data, options.root, options.skip_bad, options.splits)
        if (origin := origin_of(info, request)) is None:
            return None
        origins.append([name, origin, _facts(info)])
    return digest(
        config.model_dump(),
        record.plan,
        record.packages,
        [str(options.device), record.machine.bf16, options.save_maps],
        origins,
        [[str(key), head.base, head.parameters] for key, head in plan.cells.items()],
        plan.parameters,
        {name: parameters for name, (_, parameters) in plan.studies.items()},
        source_digest(*parts_of(plan)),
    )


def _facts(info: DatasetInfo) -> dict[str, Any]:
    values = {one.name: getattr(info, one.name) for one in fields(info)}
    return {name: repr(value) for name, value in values.items() if not callable(value)}


def parts_of(plan: Plan) -> Iterator[object]:
    """Yields everything whose code takes part in the results."""
    yield from plan.datasets.values()
    yield from (head.head for head in plan.cells.values())
    yield from (BACKBONES[parse_spec(name).base].build for name in {key.backbone for key in plan.cells})
    yield from plan.explainers.values()
    yield from (request.info.function for request in plan.metrics)
    yield from (study for study, _ in plan.studies.values())


def _stored(store: RunStore, record: RunRecord) -> str:
    """Returns the digest of the content of all results and of the facts about the data sets."""
    folders = [store.folder / "data", *(store.cell(key).folder for key in record.cells)]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_symlink() or file.is_file()]
    content = [
        (file.relative_to(store.folder).as_posix(), "link" if file.is_symlink() else stored_digest(file))
        for file in files
    ]
    return digest(content, {name: facts.model_dump() for name, facts in record.datasets.items()})
