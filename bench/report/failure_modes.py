"""Warning signs of a trained head whose penalty or grid does not suit the data, each with advice.

Source: arXiv:2505.17748 names the signs; the accuracy and the grid are its thresholds, the two others are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.outputs import outputs_of
from bench.report.frames.classification import labels_of
from bench.report.frames.compared import BLACK_BOX, no_positive_evidence
from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.frames.settings import Setting, settings
from bench.report.frames.stored.reader import CELL
from bench.report.tables.paper import PRECISIONS
from bench.report.tables.table import TableData

ACCURACY_DROP = 0.05
COARSE = 8  # cells a side
NO_EVIDENCE = 0.5  # of the diseased images: the typical one; some are missed by any model, and rightly without evidence
DIFFUSE = 0.5  # of the image: no lesion fills it; as normalised entropy 0.93 at 112 px, 0.94 at 512 px
_UNPENALISED = "it has no penalty to change: see the training curves"
_PLANTED = "a shortcut is planted here, which may cost accuracy and evidence: see shortcut_use"


@dataclass(frozen=True)
class Signature:
    """A sign of failure of the heads (several where all show the same) on one data set and backbone.

    Attributes:
        columns: metrics that it concerns; tables that have one of them carry it as a note.
    """

    dataset: str
    backbone: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.dataset} · {self.backbone} · {', '.join(self.heads)}: {self.text}"

    def concerns(self, table: TableData) -> bool:
        """Returns True if a table shows one of its metrics for one of its heads."""
        if not set(self.columns) & {column.name for column in table.columns}:
            return False
        return any(
            (row.get("dataset"), row.get("backbone")) == (self.dataset, self.backbone) and row.get("head") in self.heads
            for row in table.rows
        )


def signatures(frames: Frames) -> list[Signature]:
    """Returns every sign of failure of a run's inherent heads; a sign needs its metric in the run."""
    inherent = [setting for setting in settings(frames) if setting.family == "inherent"]
    return [
        *_accuracy_drops(frames, inherent),
        *_without_evidence(frames, inherent),
        *_diffuse(frames, inherent),
        *_coarse(frames, inherent),
    ]


def add_notes(tables: dict[str, TableData], signs: list[Signature]) -> None:
    """Adds every sign as a note below the tables that it concerns."""
    for table in tables.values():
        table.notes += [str(sign) for sign in signs if sign.concerns(table)]


def effective_area(entropy: pd.Series, side: int) -> pd.Series:
    """Converts normalised entropy over side² pixels to the share of the image on which an even map would have it."""
    return (side**2) ** (entropy - 1)


def _accuracy_drops(frames: Frames, inherent: list[Setting]) -> Iterator[Signature]:
    accuracy = _accuracy(frames)
    black_boxes = [setting for setting in settings(frames) if setting.family == BLACK_BOX]
    for setting in inherent:
        place = (setting.dataset, setting.backbone)
        twin = next((one for one in black_boxes if (one.dataset, one.backbone) == place), None)
        if twin is None:
            continue
        ours, theirs = accuracy[(*place, setting.head)], accuracy[(*place, twin.head)]
        seeds = sorted(set(ours) & set(theirs))
        drop = float(np.mean([theirs[seed] - ours[seed] for seed in seeds])) if seeds else 0.0
        if drop > ACCURACY_DROP + 1e-9:  # rounding
            text = f"accuracy {drop:.3f} below that of {twin.head} (more than {ACCURACY_DROP}): {_weaker(setting)}"
            yield Signature(*place, (setting.head,), ("accuracy",), text)


def _accuracy(frames: Frames) -> dict[tuple[str, str, str], dict[int, float]]:
    """Returns (data set, backbone, head) -> seed -> share of the test images that are classified right."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for (dataset, backbone, head, seed), stored in frames.predictions.by(*CELL):
        rows, facts = stored.rows(), frames.record.datasets[dataset]
        logits = rows.filter(like="logit_").iloc[:, : len(facts.classes)].to_numpy(dtype=float)
        right = outputs_of(facts).accuracy(logits, labels_of(rows, facts))
        found.setdefault((dataset, backbone, head), {})[int(seed)] = right
    return found


def _without_evidence(frames: Frames, inherent: list[Setting]) -> Iterator[Signature]:
    for setting in inherent:
        rows = no_positive_evidence(_own(frames, setting, "positive_ratio"))
        if (share := rows["value"].mean()) > NO_EVIDENCE:
            text = f"no positive evidence on {share:.0%} of the diseased images (more than half): {_weaker(setting)}"
            yield Signature(setting.dataset, setting.backbone, (setting.head,), ("positive_ratio",), text)


def _diffuse(frames: Frames, inherent: list[Setting]) -> Iterator[Signature]:
    for setting in inherent:
        rows = _own(frames, setting, "entropy")
        side = setting.explained_side
        if side and (area := effective_area(rows["value"], side).mean()) > DIFFUSE:
            l1 = setting.penalties.get("l1")
            advice = f"λ₁ too small? raise l1 ({l1:g})" if l1 else "an l1 penalty would concentrate it"
            text = f"evidence as diffuse as an even map over {area:.0%} of the image (more than half): {advice}"
            yield Signature(setting.dataset, setting.backbone, (setting.head,), ("entropy",), text)


def _coarse(frames: Frames, inherent: list[Setting]) -> Iterator[Signature]:
    names = [title(facts) for facts in frames.record.metrics if facts.family == "localisation"]
    columns = *names, *(column.name for column in PRECISIONS.values())
    coarse: dict[tuple[str, str, str], list[str]] = {}
    for setting in inherent:
        if setting.grid and min(setting.grid) < COARSE:
            coarse.setdefault((setting.dataset, setting.backbone, setting.grid_text), []).append(setting.head)
    for (dataset, backbone, grid), heads in coarse.items():
        text = (
            f"evidence grid {grid} (below {COARSE}×{COARSE}) is too coarse for small lesions: "
            "give larger images or a backbone with a smaller stride"
        )
        yield Signature(dataset, backbone, tuple(heads), columns, text)


def _own(frames: Frames, setting: Setting, metric: str) -> pd.DataFrame:
    """Returns the scores of the head's own maps of diseased images."""
    wanted = {"dataset": [setting.dataset], "backbone": [setting.backbone], "head": [setting.head]}
    rows = frames.source.where(**wanted, family=["inherent"]).rows([metric])
    if not len(rows):
        return pd.DataFrame(columns=["metric", "value"], dtype=float)
    return rows[rows["diseased"].astype(bool)]


def _weaker(setting: Setting) -> str:
    """Returns advice against too strong a penalty; a planted shortcut explains the sign as well."""
    if setting.planted:
        return _PLANTED
    if setting.parameters is None:
        return "λ too large? lower the weight of its penalty"
    if not setting.penalties:
        return _UNPENALISED
    return f"λ too large? lower {' and '.join(f'{name} ({value:g})' for name, value in setting.penalties.items())}"
