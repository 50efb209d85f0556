"""Files of the answer: ``results.json``, and the scorecard in Markdown and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from bench.report.answer.results import FILE, ResultsFile
from bench.report.answer.scorecard import STEM, scorecard, scorecard_markdown
from bench.store.manifest import Manifest


def write_results(results: ResultsFile, files: Manifest) -> None:
    """Writes ``results.json``, ``scorecard.json`` and ``scorecard.md`` into the run folder."""
    card = scorecard(results)
    for name, text in (
        (FILE, results.model_dump_json()),
        (f"{STEM}.json", json.dumps(card, indent=1, allow_nan=False)),
        (f"{STEM}.md", scorecard_markdown(card).rstrip("\n")),
    ):
        with files.replacing(name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def read_results(folder: Path) -> ResultsFile | None:
    """Reads ``results.json`` of a run folder; None if there is none, or a damaged one."""
    try:
        return ResultsFile.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None
