"""The command ``merge``: checks that runs fit together, copies their results, and writes one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.commands.merge.cells import MergedCell
from bench.commands.merge.checks import compare
from bench.commands.merge.copying import copy_first
from bench.commands.merge.record import merged_record
from bench.commands.merge.sources import Source, listed, open_sources
from bench.report.build import build_report
from bench.store.folders import RunStore
from bench.store.records import RunRecord
from bench.store.run_folder import check_run_folder
from bench.store.stored_files import collecting


def merge_runs(folders: Sequence[Path], out: Path, console: Console) -> list[str]:
    """Merges runs into a folder and reports on it; the runs themselves stay as they are.

    An interrupted merge continues when the command is repeated, and a repeated one copies what has changed.

    Args:
        folders: of two runs or more, which may be merged ones.
        out: new or empty folder, or one that runs were merged into.
        console: receives the summary of the report.

    Returns:
        A line per damaged file that was left out, and whatever ``build_report`` returns.

    Raises:
        UserError: the runs do not fit together, or a folder cannot be used; nothing was copied then.
    """
    check_run_folder(out, merging=True)
    with open_sources(folders, out) as sources, collecting() as met:
        notes = compare(sources)
        _say([*(f"{one.name} is not finished" for one in sources if not one.record.finished), *notes], console)
        store = RunStore(out)
        with store.lock():
            record = merged_record(sources, notes)
            console.print(f"merging {listed(sources)}: {len(record.cells)} classifiers, into {out}", soft_wrap=True)
            store.write_record(record.changed(finished=""))
            _copy(sources, record, store)
            lost = _lost(met, sources)
            store.write_record(record.changed(problems=[*record.problems, *lost]))
    _say(lost, console)
    return [*lost, *build_report(out, console, only_if_stale=True, said=lost)]


def _copy(sources: Sequence[Source], record: RunRecord, store: RunStore) -> None:
    """Copies images and cells."""
    for dataset in record.datasets:
        for file in (store.images_file(dataset), store.cases_file(dataset), store.lesions_file(dataset)):
            owners = [source.store.files for source in sources if dataset in source.record.datasets]
            copy_first(owners, store.files, file.relative_to(store.folder))
    for key in record.cells:
        owning = [source for source in sources if key in source.cells]
        MergedCell(key, owning, record, store.cell(key)).write()


def _lost(met: Mapping[Path, str], sources: Sequence[Source]) -> list[str]:
    """Returns a line per damaged file of the runs."""
    return [
        f"{path} is damaged ({why}) and was left out; repeat the command of {source.name} and merge again"
        for path, why in met.items()
        for source in sources
        if path.is_relative_to(source.store.folder)
    ]


def _say(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(Text(line, style="yellow"), soft_wrap=True)
