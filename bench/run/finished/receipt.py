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
from bench.files import file_digest, read_json, write_json
from bench.registry import BACKBONES
from bench.run.dataset_run import RunOptions
from bench.run.finished.origin import origin_of
from bench.run.plan import Plan
from bench.specs import parse_spec
from bench.store.code_digest import digest, source_digest
from bench.store.folders import RunStore
from bench.store.records import RunRecord

#: File of the receipt, below the run folder.
FILE = ".finished.json"
#: Facts of run.json that say nothing about results.
_PASSING = {"started", "finished", "git"}


def finished_record(config: Config, plan: Plan, options: RunOptions, started: RunRecord) -> RunRecord | None:
    """Returns the record of a run that has computed everything in the plan; None where something may be left.

    Args:
        config: of the run.
        plan: made from it.
        options: of the command line.
        started: record of the run before it has read any data set.
    """
    store = RunStore(options.out)
    try:
        stored, receipt = store.record, read_json(options.out / FILE)
    except (UserError, OSError, ValueError):
        return None
    if not isinstance(receipt, dict) or receipt.get("asked") != _asked(config, plan, options, started):
        return None
    if receipt.get("stored") != _stored(store, stored):
        return None
    record = started.changed(datasets=stored.datasets, finished=stored.finished)
    unchanged = digest(record.model_dump(exclude=_PASSING)) == digest(stored.model_dump(exclude=_PASSING))
    return stored if unchanged else record


def write_receipt(config: Config, plan: Plan, options: RunOptions, finished: RunRecord) -> None:
    """Writes the receipt of a run; removes an old one if this run has problems or a cell without results.

    A second run tells these again.
    """
    store = RunStore(options.out)
    asked = None
    if not finished.problems and all(store.cell(key).record.status == "ok" for key in plan.cells):
        asked = _asked(config, plan, options, finished)
    if asked is None:
        (options.out / FILE).unlink(missing_ok=True)
        return
    content = {"asked": asked, "stored": _stored(store, finished)}
    write_json(options.out / FILE, content)


def _asked(config: Config, plan: Plan, options: RunOptions, record: RunRecord) -> str | None:
    """Returns the digest of everything that decides what a run computes; None if that cannot be known."""
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
        [str(options.device), options.save_maps],
        origins,
        [[str(key), head.base, head.parameters] for key, head in plan.cells.items()],
        plan.parameters,
        {name: parameters for name, (_, parameters) in plan.studies.items()},
        source_digest(*_plugins(plan)),
    )


def _facts(info: DatasetInfo) -> dict[str, Any]:
    values = {one.name: getattr(info, one.name) for one in fields(info)}
    return {name: repr(value) for name, value in values.items() if not callable(value)}


def _plugins(plan: Plan) -> Iterator[object]:
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
        (file.relative_to(store.folder).as_posix(), "link" if file.is_symlink() else file_digest(file))
        for file in files
    ]
    return digest(content, {name: facts.model_dump() for name, facts in record.datasets.items()})
