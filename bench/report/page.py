"""Page of a run (report.html): its facts, its problems, and every figure and table, readable on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.files import Place
from bench.report.failure_modes import Signature
from bench.report.figures.style import Caption
from bench.report.frames.load import Frames
from bench.report.frames.machines import work_of_machines
from bench.report.gaps import gaps
from bench.text.media import html_value


def write_page(
    frames: Frames,
    captions: dict[str, Caption],
    tables: dict[str, tuple[str, str, str]],
    signs: list[Signature],
    place: Place,
    failed: Sequence[str] = (),
) -> None:
    """Writes the page of a run next to its folders ``figures`` and ``tables``, which it links to.

    Args:
        frames: the run.
        captions: stem -> texts below the figures, in the order of the page.
        tables: stem -> (caption, how to read it, HTML table).
        signs: of failure, shown with their advice.
        place: of the page.
        failed: a line per table or figure that could not be made.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=html_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=frames.store.folder.name,
        run=_run_facts(frames),
        datasets=[_dataset_facts(frames, name) for name in frames.record.datasets],
        problems=[*_problems(frames), *failed],
        signs=signs,
        skipped=_skipped(frames),
        methods=frames.record.explainers,
        heads=frames.record.heads,
        captions=captions,
        tables=tables,
    )
    with place as temporary:
        temporary.write_text(text, encoding="utf-8")


def _run_facts(frames: Frames) -> dict[str, str]:
    """Returns title -> text of the lines at the top."""
    record, cells = frames.record, frames.cells
    git = record.git
    names = {column: ", ".join(map(str, cells[column].unique())) for column in ("backbone", "head", "seed")}
    facts = {
        "Configuration": record.config.get("description", ""),
        "Backbones": names["backbone"],
        "Heads": names["head"],
        "Seeds": names["seed"],
        "Classifiers": f"{(cells['status'] == 'ok').sum()} of {len(cells)} trained",
        "Weights start from": "; ".join(_distinct(cell.weights_from for cell in cells["record"])),
        "Machine": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record.machine),
        "Work": work_of_machines(frames),
        "Versions": ", ".join(f"{key} {value}" for key, value in record.packages.items()),
        "Code": f"{git.commit[:12]}{', with local changes' if git.dirty else ''}" if git else "",
        "Time": f"{record.started} to {record.finished or '… (not finished)'}",
    }
    return {title: text for title, text in facts.items() if text}


def _dataset_facts(frames: Frames, name: str) -> dict[str, str]:
    """Returns column -> text of one row about a data set; a dash for facts that are not known (yet)."""
    facts = frames.record.datasets[name]
    images = facts.images
    counts = {f"{split} n": " / ".join(map(str, images.get(split, []))) for split in ("train", "val", "test")}
    explained = [str(count) for count in (facts.explained_diseased, facts.explained_healthy) if count is not None]
    row = {
        "data set": name,
        "classes": " / ".join(facts.classes),
        **counts,
        "explained: diseased / healthy": " / ".join(explained),
        "side [px]": ", ".join(map(str, _distinct(facts.side.values()))),
        "masks": ": ".join(filter(None, [facts.masks, facts.mask_is])),
        "lesion share of image": _percent(facts.prevalence),
        "brightness AUC": _number(facts.brightness_auc),
        "called healthy without lesions": _twins(frames, name),
        "bad files left out": "" if facts.excluded is None else str(len(facts.excluded)),
        "licence": facts.licence,
    }
    return {column: text or "–" for column, text in row.items()}


def _twins(frames: Frames, name: str) -> str:
    """Returns the share of true positives that are called healthy without their lesions, as a range over models."""
    records = frames.cells.loc[frames.cells["dataset"] == name, "record"]
    shares = [record.lesion_reliance.called_healthy for record in records if record.lesion_reliance]
    if not shares:
        return ""
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"


def _problems(frames: Frames) -> list[str]:
    """Returns all problems, in the run's own words, each once."""
    return _distinct([*frames.record.problems, *gaps(frames)])


def _skipped(frames: Frames) -> list[str]:
    """Returns a line per explainer that does not apply to some classifiers, with the reason."""
    where: dict[tuple[str, str], list[str]] = {}
    for key, record in zip(frames.record.cells, frames.cells["record"], strict=True):
        for explainer, outcome in record.explainers.items():
            if outcome.status == "skipped":
                where.setdefault((explainer, outcome.reason), []).append(str(key))
    return [f"{name}: {reason} ({'; '.join(cells)})" for (name, reason), cells in where.items()]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [value for value in dict.fromkeys(values) if value]


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{100 * value:.1f} %"
