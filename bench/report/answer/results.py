"""Results file: the scores of a run in a small file with a fixed schema, for leaderboards and comparisons."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final, Literal

import numpy as np

from bench.report.answer.model import Answer
from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.tables.table import TableData, is_number
from bench.statistics.classification import CLASSIFICATION_SCORES
from bench.statistics.intervals import Estimate
from bench.store.cell_facts import Record
from bench.store.folders import file_name

FILE = "results.json"
#: Version of the schema; a change that readers must know about raises it.
FORMAT: Final = 1


class Dataset(Record):
    """A data set of the run.

    Attributes:
        name: as in the rows of results.
        digests: split, or "explain" for the explained images -> SHA-256 of images, labels, masks, ids and groups; the
            same digests mean the same data.
        images: split -> number of images of each class.
    """

    name: str
    digests: dict[str, str]
    images: dict[str, list[int]]
    classes: list[str]
    masks: str
    mask_is: str
    licence: str
    citation: str


class Metric(Record):
    """A metric of the run: its direction, its range (None = unbounded) and its source."""

    name: str
    family: str
    higher_is_better: bool | None
    lowest: float | None
    highest: float | None
    paper: str


class Classifier(Record):
    """Classifiers of one head; ``weights`` holds the SHA-256 of the weights of each seed (and fold), empty without."""

    dataset: str
    backbone: str
    head: str
    weights: list[str]


class Score(Record):
    """A mean over images with its 95 % interval.

    Attributes:
        explainer: empty for scores of classification.
        low, high: None without an interval (too few groups).
        n: images with a value. undefined: images without one.
    """

    dataset: str
    backbone: str
    head: str
    explainer: str
    family: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    n: int
    undefined: int


class ResultsFile(Record):
    """Content of ``results.json``."""

    format: Literal[1] = FORMAT
    suite: str
    run: str
    description: str
    commit: str
    machine: dict[str, str]
    started: str
    finished: str
    datasets: list[Dataset]
    metrics: list[Metric]
    classifiers: list[Classifier]
    scores: list[Score]
    answer: Answer


def results_of(frames: Frames, tables: dict[str, TableData], answer: Answer) -> ResultsFile:
    """Returns the scores of the main tables as one file.

    Args:
        frames: the run.
        tables: by file name.
        answer: of the run.
    """
    record = frames.record
    return ResultsFile(
        suite=f"softcam-bench {version('softcam-bench')}",
        run=frames.store.folder.name,
        description=record.config.get("description", ""),
        commit=record.git.commit if record.git else "",
        machine={name: str(value) for name, value in record.machine},
        started=record.started,
        finished=record.finished,
        datasets=[
            Dataset(name=name, **facts.model_dump(include=set(Dataset.model_fields) - {"name"}))
            for name, facts in record.datasets.items()
        ],
        metrics=_metrics(frames),
        classifiers=_classifiers(frames),
        scores=_scores(frames, tables),
        answer=answer,
    )


def _metrics(frames: Frames) -> list[Metric]:
    found = [
        Metric(name=name, family="classification", higher_is_better=better, lowest=None, highest=None, paper="")
        for name, better in CLASSIFICATION_SCORES.items()
    ]
    for one in frames.record.metrics:
        lowest, highest = (value if np.isfinite(value) else None for value in one.value_range)
        facts = {"family": one.family, "higher_is_better": one.higher_is_better, "paper": one.paper}
        found.append(Metric(name=title(one), lowest=lowest, highest=highest, **facts))
    return found


def _classifiers(frames: Frames) -> list[Classifier]:
    weights: dict[tuple[str, str, str], list[str]] = {}
    for cell in frames.cells.itertuples():
        place = (str(cell.dataset), str(cell.backbone), str(cell.head))
        weights.setdefault(place, []).extend(record.weights_sha256 for record in frames.trainings(cell))
    return [
        Classifier(dataset=dataset, backbone=backbone, head=head, weights=of)
        for (dataset, backbone, head), of in weights.items()
    ]


def _scores(frames: Frames, tables: dict[str, TableData]) -> list[Score]:
    """Returns a row per entry of the main tables, in their order."""
    stems = dict.fromkeys(["classification", *(file_name(one.family) for one in frames.record.metrics)])
    found = []
    for table in [tables[stem] for stem in stems if stem in tables]:
        for row in table.rows:
            place = {name: str(row[name]) for name in ("dataset", "backbone", "head")}
            explainer = str(row.get("explainer", ""))
            family = frames.record.explainers[explainer].family if explainer else "classifier"
            about = place | {"explainer": explainer, "family": family}
            for column in table.columns:
                estimate: Estimate | None = row.get(column.name)
                if estimate is not None and is_number(estimate):
                    found.append(Score(**about, metric=column.name, **_parts(estimate)))
    return found


def _parts(estimate: Estimate) -> dict[str, float | int | None]:
    low, high = (float(end) if np.isfinite(end) else None for end in (estimate.low, estimate.high))
    return {"mean": float(estimate.mean), "low": low, "high": high, "n": estimate.n, "undefined": estimate.undefined}
