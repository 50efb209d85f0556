"""Sweeps over the weight of a penalty, and the choice among the weights by a rule that reads no test image."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from bench.report.frames.load import Frames
from bench.report.frames.settings import PENALTIES, Setting, settings
from bench.report.frames.stored.reader import CELL

WITHIN = 0.01  # of the validation AUC without a penalty
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Sweep:
    """Heads on one data set and backbone that differ only in the weight λ of one penalty.

    Attributes:
        penalty: the parameter that is varied.
        dense: the head of the same method without any penalty; None where the run has none.
        grid: the others, by rising λ.
        validation: head -> seed -> validation AUC of its best epoch.
    """

    penalty: str
    dense: Setting | None
    grid: tuple[Setting, ...]
    validation: dict[str, dict[int, float]]

    @property
    def heads(self) -> list[Setting]:
        """All of them, by rising λ."""
        return [*([self.dense] if self.dense else []), *self.grid]

    def weight(self, setting: Setting) -> float:
        """Returns λ of one of its heads, 0 for the dense one."""
        return setting.penalties.get(self.penalty, 0.0)

    def mean_validation(self, setting: Setting) -> float:
        """Returns the validation AUC of one of its heads, mean over its seeds."""
        return float(np.mean(list(self.validation[setting.head].values())))

    def _loss(self, setting: Setting) -> float:
        """Returns the validation AUC that a head loses against the dense one, mean over shared seeds; nan for none."""
        ours, theirs = (self.validation[one.head] for one in (setting, self.dense) if one)
        losses = [theirs[seed] - ours[seed] for seed in ours.keys() & theirs.keys()]
        return float(np.mean(losses)) if losses else np.nan

    @property
    def chosen(self) -> list[str]:
        """Heads with the largest λ whose validation AUC is at most 0.01 below the dense head's; several if λ ties."""
        if self.dense is None:
            return []
        within = [setting for setting in self.grid if self._loss(setting) <= WITHIN + _ROUNDING]
        largest = max(map(self.weight, within), default=None)
        return [setting.head for setting in within if self.weight(setting) == largest]

    @property
    def verdict(self) -> str:
        """The choice in words."""
        place = f"{self.grid[0].dataset} · {self.grid[0].backbone} · {self.penalty}"
        if self.dense is None:
            return f"{place}: no λ is chosen, because the run has no head without a penalty to compare with"
        against = f"within {WITHIN} of the {self.mean_validation(self.dense):.3f} of {self.dense.head}"
        if not self.chosen:
            return f"{place}: no λ is chosen, because none has a validation AUC {against}"
        largest = next(self.weight(setting) for setting in self.grid if setting.head in self.chosen)
        return f"{place}: λ = {largest:g} is chosen, the largest with a validation AUC {against}"


def sweeps(frames: Frames) -> list[Sweep]:
    """Returns a sweep per penalty that the heads of one method (one paper) vary over at least two weights.

    Heads with both penalties are in none: neither weight alone says how strong they are.
    """
    inherent = [one for one in settings(frames) if one.family == "inherent" and one.parameters is not None]
    grids: dict[tuple[str, ...], list[Setting]] = {}
    for setting in inherent:
        if len(setting.penalties) == 1:
            others = json.dumps(setting.others(*PENALTIES), sort_keys=True)
            key = (setting.dataset, setting.backbone, *setting.penalties, setting.paper, others)
            grids.setdefault(key, []).append(setting)
    validation = validation_auc(frames)
    found = []
    for (dataset, backbone, penalty, *_), grid in sorted(grids.items(), key=lambda item: _place(inherent, item[0])):
        if len({setting.penalties[penalty] for setting in grid}) > 1:
            dense = next((one for one in inherent if _is_dense_of(one, grid[0])), None)
            heads = [setting.head for setting in (*grid, *([dense] if dense else []))]
            aucs = {head: validation[(dataset, backbone, head)] for head in heads}
            found.append(Sweep(penalty, dense, tuple(sorted(grid, key=lambda one: one.penalties[penalty])), aucs))
    return found


def _place(inherent: list[Setting], key: tuple[str, ...]) -> tuple[int, int]:
    """Returns the place of a sweep: data sets and backbones in the order of the run, l1 before l2."""
    dataset, backbone, penalty, *_ = key
    places = [(setting.dataset, setting.backbone) for setting in inherent]
    return places.index((dataset, backbone)), PENALTIES.index(penalty)


def _is_dense_of(dense: Setting, other: Setting) -> bool:
    """Returns True for the same method, data set and backbone without a penalty, if all shared parameters agree."""
    mine, theirs = dense.others(*PENALTIES), other.others(*PENALTIES)
    alike = all(theirs[name] == value for name, value in mine.items() if name in theirs)
    same = (dense.dataset, dense.backbone, dense.paper) == (other.dataset, other.backbone, other.paper)
    return not dense.penalties and alike and same


def validation_auc(frames: Frames) -> dict[tuple[str, ...], dict[int, float]]:
    """Returns (data set, backbone, head) -> seed -> validation AUC at the best epoch, nan if undefined.

    With cross-validation it is the mean over folds, each at its own best epoch.
    """
    found: dict[tuple[str, ...], dict[int, float]] = {}
    if not len(frames.training):
        return found
    trained = dict(zip(map(tuple, frames.cells[CELL].astype(str).to_numpy()), frames.cells.itertuples(), strict=True))
    for key, rows in frames.training.groupby(CELL, sort=False):
        dataset, backbone, head, seed = map(str, key)
        records = frames.trainings(trained[dataset, backbone, head, seed])
        parts = [part for _, part in rows.groupby("fold")] if len(records) > 1 else [rows]
        aucs = [
            part.loc[part["epoch"] == record.best_epoch, "val_auc"] for part, record in zip(parts, records, strict=True)
        ]
        best = [float(auc.iloc[0]) if len(auc) else np.nan for auc in aucs]
        found.setdefault((dataset, backbone, head), {})[int(seed)] = float(np.mean(best))
    return found
