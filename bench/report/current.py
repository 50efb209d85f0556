"""State of a run folder at its last report, which tells whether a report is still current."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.files import file_digest
from bench.store.code_digest import code_digest, digest, source_digest
from bench.store.manifest import Manifest
from bench.store.records import RunRecord

#: Files and folders of a report, below the run folder; the state is written last.
TABLES, FIGURES, PAGE, FRAME, STATE = "tables", "figures", "report.html", "scores.parquet", "report.json"
_HERE = Path(__file__).parent


def state_of(folder: Path, record: RunRecord, figures: str, stored: dict[str, Any], *code: object) -> dict[str, str]:
    """Returns digests of everything that the derived files depend on.

    Args:
        folder: of the run.
        record: run.json.
        figures: which are asked for.
        stored: the state at the last report: as long as no source file has changed, the digest of code still holds.
        code: functions whose code makes the files.
    """
    images = [file_digest(file) for file in sorted((folder / "data").glob("*.*")) if file.is_file()]
    facts = record.model_dump(exclude={"started", "finished"})
    others = [file.read_text(encoding="utf-8") for file in sources()]
    source = digest([source_digest(*code), *others])
    known = stored.get("code") if stored.get("source") == source else None
    return {
        "scores": digest(str(folder), stamps(folder, ["cells/**/*.*"]), images, facts),
        "source": source,
        "code": str(known or digest([code_digest(*code), *others])),
        "figures_asked": figures,
    }


def sources() -> list[Path]:
    """Returns every file that a report is made from and that is not Python, in this package."""
    return sorted(file for file in _HERE.rglob("*.*") if file.suffix not in (".py", ".pyc"))


def stamps(folder: Path, patterns: Iterable[str]) -> list[tuple[str, int, int]]:
    """Returns name, size and time of the files in a folder; a file that is replaced has another stamp."""
    found = []
    for path in sorted(one for pattern in patterns for one in folder.glob(pattern)):
        facts = path.lstat()
        if not path.is_dir():
            found.append((path.relative_to(folder).as_posix(), facts.st_size, facts.st_mtime_ns))
    return found


def stored_state(folder: Path) -> dict[str, Any]:
    """Returns the state at the last report; empty if there is none, or the file is damaged."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_current(files: Manifest, state: dict[str, str], stored: dict[str, Any]) -> bool:
    """Returns whether the last report was made from the same inputs, and all its files are as it wrote them."""
    if any(stored.get(key) != state[key] for key in state if key != "source"):
        return False
    written = stored.get("files")
    if not all(isinstance(stored.get(name), list) for name in ("summary", "details", "damaged")):
        return False  # damaged by hand
    return isinstance(written, list) and all(isinstance(name, str) and files.is_ours(name) for name in written)


def renew_source(files: Manifest, state: dict[str, str], stored: dict[str, Any]) -> None:
    """Notes that the digest of code holds for source files that were only reworded; the next report need not ask."""
    if stored.get("source") != state["source"]:
        files.keep(*stored["files"])
        write_state(files, stored | state)


def write_state(files: Manifest, content: dict[str, Any]) -> None:
    """Writes the state once everything else is written; a damaged file in its place holds nothing of the user."""
    if files.was_written(STATE) and not stored_state(files.folder):
        (files.folder / STATE).unlink(missing_ok=True)
    with files.replacing(STATE) as temporary:
        temporary.write_text(json.dumps(content | {"files": sorted(files.written)}, indent=1) + "\n", encoding="utf-8")
