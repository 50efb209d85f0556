"""Cells that two runs have: they are one cell if the weights are the same and no explainer has two results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.commands.merge.sources import Source
from bench.errors import UserError
from bench.store.records import CellKey
from bench.store.stored_files import stored_digest

#: Facts of a cell that the scores of its explainers depend on.
_FACTS = ("base", "parameters", "mean", "std", "align", "target")
#: Machines round differently; a score that differs by more is another result.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6
_KIND = ["metric", "variant"]


def compare_cell(one: Source, other: Source, key: CellKey) -> None:
    """Compares a finished cell of two runs.

    Raises:
        UserError: its weights or their use differ, or an explainer has other scores in the two runs.
    """
    ours, theirs = one.cells[key], other.cells[key]
    where = f"{key} is in {one.name} and in {other.name}"
    if not ours.weights_sha256 or ours.weights_sha256 != theirs.weights_sha256:
        raise UserError(
            f"{where} with different weights; repeat the command of {other.name} with another seed (--seeds), or "
            "without this cell"
        )
    for name in _FACTS:
        if getattr(ours, name) != getattr(theirs, name):
            values = f"{getattr(ours, name)!r} / {getattr(theirs, name)!r}"
            raise UserError(f"{where} with different settings ({name} {values}); repeat one run as the other")
    for name in [name for name in one.scored(key) if name in other.scored(key)]:
        differing = distinct([one, other], key, name)
        if len(differing) > 1 and (why := _conflict([source.scores(key, name) for source in differing])):
            raise UserError(
                f"{where}: explainer {name!r} has different scores there ({why}); repeat the command of one of them "
                "without this explainer (--explainers)"
            )


def distinct(sources: Sequence[Source], key: CellKey, explainer: str) -> list[Source]:
    """Returns one run for each content of the file of scores: copies of a run have the same files."""
    found: dict[str, Source] = {}
    for source in sources:
        found.setdefault(stored_digest(source.store.cell(key).scores_file(explainer)), source)
    return list(found.values())


def _conflict(frames: list[pd.DataFrame]) -> str:
    """Returns the first metric in which scores differ that both have; costs, which have no image, do not count."""
    ours, theirs = (dict(list(frame[frame["image"] != ""].groupby(_KIND))) for frame in frames)
    for kind in ours:
        if kind in theirs and not _are_equal(ours[kind], theirs[kind]):
            return "@".join(str(part) for part in kind if part)
    return ""


def _are_equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    if len(one) != len(other):
        return False
    about = [name for name in one if name != "value"]
    ours, theirs = (rows.sort_values(["image", "target", "step"], ignore_index=True) for rows in (one, other))
    close = np.allclose(ours["value"], theirs["value"], rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
    return bool(ours[about].equals(theirs[about]) and close)


def joined_scores(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Joins scores of one explainer: those of the first run, and the missing metrics from each further one."""
    joined = frames[0]
    for frame in frames[1:]:
        known = pd.MultiIndex.from_frame(joined[_KIND])
        joined = pd.concat([joined, frame[~pd.MultiIndex.from_frame(frame[_KIND]).isin(known)]], ignore_index=True)
    return joined
