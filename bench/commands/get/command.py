"""The command ``get``: clones a data set, or explains how to get it and checks what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.commands.get.clone import clone
from bench.commands.get.logins import STEPS
from bench.contracts import DatasetInfo
from bench.data.sources.open.repositories import REPOSITORIES

Check = Callable[[], bool]


def get_dataset(info: DatasetInfo, root: Path, console: Console, check: Check) -> bool:
    """Gets a data set as far as a program can.

    Args:
        info: the data set.
        root: folder of the downloaded data sets.
        console: console that is written to.
        check: reads every image of the data set and returns whether there is no fault; called for files that the user
            has downloaded.

    Returns:
        True if the data set is there.

    Raises:
        UserError: as ``clone``.
    """

    def tell(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    base = info.name.partition("@")[0]
    if base in REPOSITORIES:
        return _clone(info, root, tell)
    absent = info.missing(root)
    if not absent:
        if info.source == "generated":
            tell(f"{info.name} is generated; there is nothing to get")
            return True
        tell(f"{info.name} is there; check-data reads it now")
        return check()
    tell(f"{info.name} is not there: {absent}")
    for number, step in enumerate(STEPS.get(base, ()), start=1):
        tell(f"{number}. {step.format(root=root)}")
    _tell_terms(info, tell)
    tell(f"Then give the same command again: it checks the files. More: docs/data.md#{base}")
    return False


def _clone(info: DatasetInfo, root: Path, tell: Callable[[str], None]) -> bool:
    repository = REPOSITORIES[info.name.partition("@")[0]]
    folder = repository.home(root) if repository.home(root) != root else root / repository.folder
    tell(f"{info.name}: {repository.url} at {repository.commit[:7]}, {repository.megabytes} MB, to {folder}")
    written = clone(repository, folder, tell)
    if absent := info.missing(root):
        tell(f"{info.name} is not there: {absent}")
        return False
    whole = f"{repository.files:,} files with the digest {repository.tree[:10]}"
    tell(f"{info.name} is there: {whole}, {written:,} of them new")
    _tell_terms(info, tell)
    tell(f"To read every image: run_benchmark.py check-data {info.name} --data-root {root}")
    return True


def _tell_terms(info: DatasetInfo, tell: Callable[[str], None]) -> None:
    tell(f"Licence: {info.licence}")
    tell(f"Cite: {info.citation}")
