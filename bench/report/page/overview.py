"""Facts of a run for its page: configuration, data sets, problems, and methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.report.frames.load import Frames
from bench.report.gaps import gaps
from bench.report.machines import merged_runs, work_of_machines
from bench.report.page.section import Content, Section


def run_section(content: Content) -> Section:
    """Returns the facts of the run."""
    frames = content.frames
    view = {
        "run": _run_facts(frames),
        "datasets": [_dataset_facts(frames, name) for name in frames.record.datasets],
        "problems": problems(content),
        "signs": content.signs,
        "skipped": _skipped(frames),
        "methods": frames.record.explainers,
        "heads": frames.record.heads,
    }
    return Section("run", "Run", "run.html", view)


def problems(content: Content) -> list[str]:
    """Returns all problems, in the run's own words, each once, and what of the report failed."""
    return _distinct([*content.frames.record.problems, *gaps(content.frames), *content.failures.lines])


def _run_facts(frames: Frames) -> dict[str, str]:
    """Returns title -> text of the lines at the top."""
    record, cells = frames.record, frames.cells
    git = record.git
    names = {column: ", ".join(map(str, cells[column].unique())) for column in ("backbone", "head", "seed")}
    each = ", each once per fold" if frames.folds else ""
    facts = {
        "Configuration": record.config.get("description", ""),
        "Backbones": names["backbone"],
        "Heads": names["head"],
        "Seeds": names["seed"],
        "Classifiers": f"{(cells['status'] == 'ok').sum()} of {len(cells)} trained{each}",
        "Weights start from": "; ".join(_distinct(cell.weights_from for cell in cells["record"])),
        "Machine": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record.machine),
        "Work": work_of_machines(frames),
        "Versions": ", ".join(f"{key} {value}" for key, value in record.packages.items()),
        "Code": f"{git.commit[:12]}{', with local changes' if git.dirty else ''}" if git else "",
        "Time": f"{record.started} to {record.finished or '… (not finished)'}",
    }
    return {title: text for title, text in (facts | merged_runs(record)).items() if text}


def _dataset_facts(frames: Frames, name: str) -> dict[str, str]:
    """Returns column -> text of one row about a data set; a dash for facts that are not known (yet)."""
    facts = frames.record.datasets[name]
    images = facts.images
    counts = {f"{split} n": " / ".join(map(str, images.get(split, []))) for split in ("train", "val", "test")}
    explained = [str(count) for count in (facts.explained_diseased, facts.explained_healthy) if count is not None]
    row = {
        "data set": name,
        "classes": " / ".join(facts.classes),
        **({"folds": str(facts.folds or "")} if frames.folds else {}),
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
