"""Settings of the heads and data sets of a run: the numbers in which the cells of a grid differ, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bench.report.frames.load import Frames
from bench.specs import parse_spec
from bench.store.records import CellKey, MetricFacts, RunRecord

PENALTIES = ("l1", "l2")  # parameters that weigh a head's penalty on its evidence


@dataclass(frozen=True)
class Setting:
    """A trained head on one data set and backbone, seeds taken together.

    Attributes:
        base, source: registered names of the head and of the data set, which a run may have under several settings.
        parameters: arguments of the head, defaults included; None where the cell has none.
        grid: (h, w) cells of its evidence; None where it has none.
        side: of the training images, in pixels.
        explained_side: of the explained images, which may be mosaics of such images; None where unknown.
        planted: whether a shortcut is planted in the data set.
    """

    dataset: str
    backbone: str
    head: str
    base: str
    source: str
    family: str
    paper: str
    parameters: dict[str, Any] | None
    grid: tuple[int, int] | None
    side: int
    explained_side: int | None
    planted: bool

    @property
    def penalties(self) -> dict[str, float]:
        """The penalties that are not 0."""
        return {name: (self.parameters or {})[name] for name in PENALTIES if (self.parameters or {}).get(name)}

    def others(self, *varied: str) -> dict[str, Any]:
        """Returns parameters other than the varied ones; heads of one grid agree in them."""
        return {name: value for name, value in (self.parameters or {}).items() if name not in varied}

    @property
    def grid_text(self) -> str:
        """``h×w``, or a dash."""
        return "×".join(map(str, self.grid)) if self.grid else "–"


def settings(frames: Frames) -> list[Setting]:
    """Returns one entry per data set, backbone and head with a finished cell, in the order of the run."""
    found: dict[tuple[str, str, str], Setting] = {}
    for cell in frames.cells[frames.cells["status"] == "ok"].itertuples():
        setting = _setting(frames.record, cell)
        found.setdefault((setting.dataset, setting.backbone, setting.head), setting)
    return list(found.values())


def _setting(record: RunRecord, cell: Any) -> Setting:
    facts, head = record.datasets[cell.dataset], record.heads[cell.head]
    origin = record.origin(CellKey(cell.dataset, cell.backbone, cell.head, int(cell.seed)))
    everywhere = origin.config.get("data", {}).get("shortcut")
    return Setting(
        dataset=cell.dataset,
        backbone=cell.backbone,
        head=cell.head,
        base=cell.record.base or head.base,
        source=facts.base,
        family=head.family,
        paper=head.paper,
        parameters=cell.record.parameters,
        grid=cell.record.evidence_grid,
        side=facts.size,
        explained_side=facts.side.get("explain"),
        planted=bool(parse_spec(cell.dataset).parameters.get("shortcut") or everywhere),
    )


@lru_cache(maxsize=4)
def explained_by_logit(frames: Frames) -> tuple[str, ...]:
    """Returns the data sets of two classes or more whose maps explain a logit, unless a sigmoid reads it alone.

    Metrics that read the zero of such a map are not identified: adding a constant to the evidence of all classes
    changes no prediction of a softmax model, but moves that zero. Contrasts of classes do not change.
    """
    keys = zip(frames.record.cells, frames.cells["record"], strict=False)
    found = dict.fromkeys(key.dataset for key, record in keys if record.target == "logit" and record.status == "ok")
    datasets = frames.record.datasets
    return tuple(name for name in found if len(datasets[name].classes) > 1 and not datasets[name].multilabel)


def is_identified(frames: Frames, metric: MetricFacts, dataset: str) -> bool:
    """Returns whether the score of a map on this data set follows from what the classifier predicts."""
    return not (metric.uses_zero and dataset in explained_by_logit(frames))
