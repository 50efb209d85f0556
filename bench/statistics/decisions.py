"""Verdicts on families of comparisons: adjusted p-values, simultaneous intervals, and the words that follow from both.

What belongs to a family, which comparison comes first and which leave it is settled before any score is seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.bootstrap_t import half_width
from bench.statistics.comparison import ALPHA, BETTER, NO_EVIDENCE, SAME, TOO_FEW, WORSE
from bench.statistics.intervals import Floats

Bools = NDArray[np.bool_]


def holm(p: Floats) -> Floats:
    """Adjusts the p-values (M,) of one family by Holm's method; nan remains nan and does not count.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def primary_first(p: Floats, primary: Bools) -> Floats:
    """Adjusts the p-values (M,) of one family: the primary one is tested first, and the others by Holm if it passes.

    The first test needs no adjustment, and the others share the whole error rate, because none of them can pass unless
    the first one does.

    Args:
        p: nan remains nan and does not count.
        primary: True for at most one of them; without one, all are adjusted by Holm.

    Source: fixed sequence, Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001,
    doi:10.1016/S0378-3758(01)00077-5.
    """
    gate = float(p[primary][0]) if np.isfinite(p[primary]).any() else 0.0
    return np.where(primary, p, np.maximum(holm(np.where(primary, np.nan, p)), gate))


def needed_groups(comparisons: int) -> int:
    """Returns the smallest number of groups at which Holm's first step can reject one of so many comparisons.

    The smallest p of a sign-flip test on n differences is 2^(1-n), with or without ties: no other sign pattern than the
    two extreme ones has as large a rank sum as differences that all point one way.
    """
    return int(np.floor(1 + np.log2(comparisons / ALPHA))) + 1


def can_be_rejected(groups: NDArray[np.integer[Any]], primary: Bools) -> Bools:
    """Returns which comparisons of a family stay in it: those that Holm's first step can reject.

    Comparisons with too few groups leave, which makes the family smaller for those with more: the largest family is
    kept whose members all have enough groups for it. Only numbers of groups are used, so no method is favoured.

    Args:
        groups: (M,) of each comparison.
        primary: (M,) True for the comparison that is tested first, alone.
    """
    first: Bools = primary & (groups >= needed_groups(1))
    for least in np.unique(groups):
        members: Bools = (groups >= least) & ~primary
        if members.any() and least >= needed_groups(int(members.sum())):
            return members | first
    return first


def decide(comparisons: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """Adds the verdict to rows of ``compare``, with the adjusted p and simultaneous intervals that it rests on.

    "better" and "worse" need an adjusted p below 0.05, a simultaneous interval without 0, an effect of the same sign
    and a difference beyond the margin. A simultaneous interval within the margin is "no relevant difference"
    (equivalence). Comparisons that cannot be rejected are "too few images" and not part of the family; ``needed``
    groups for each would suffice.

    Args:
        comparisons: rows of ``compare``, with the columns ``higher_is_better``, ``margin`` (the smallest relevant
            difference), ``reach`` (the largest possible difference) and ``primary`` (at most one per family).
        family: columns that name a family.

    Returns:
        The rows with ``effect`` oriented so that positive is better, ``low`` and ``high`` simultaneous over the family,
        ``low_alone`` and ``high_alone`` at 95 %, ``comparisons`` (size of the family without the primary one),
        ``p_adjusted``, ``gated`` (True if only the primary comparison prevents a rejection), ``needed`` and
        ``verdict``.

    Source: equivalence by an interval within a margin, Schuirmann 1987, doi:10.1007/BF01068419.
    Deviation: simultaneous 95 % intervals instead of one of 90 %, which is stricter.
    """
    parts = [_family(rows) for _, rows in comparisons.groupby(family, sort=False)]
    rows = pd.concat(parts).loc[comparisons.index]
    gain = rows["difference"] * np.where(rows["higher_is_better"], 1, -1)
    apart = (rows["low"] > 0) | (rows["high"] < 0)
    decided = (rows["p_adjusted"] < ALPHA) & apart & (gain * rows["effect"] > 0) & (gain.abs() > rows["margin"])
    same = (rows["low"] > -rows["margin"]) & (rows["high"] < rows["margin"])
    conditions = [rows["verdict"] == TOO_FEW, same, decided & (gain > 0), decided & (gain < 0)]
    return rows.assign(verdict=np.select(conditions, [TOO_FEW, SAME, BETTER, WORSE], NO_EVIDENCE))


def _family(rows: pd.DataFrame) -> pd.DataFrame:
    """Adjusts the p-values and intervals of one family; ``verdict`` is only whether it has too few images."""
    primary, p = rows["primary"].to_numpy(dtype=bool), rows["p"].to_numpy(dtype=float)
    member = can_be_rejected(rows["groups"].to_numpy(), primary)
    size, everyone = int((member & ~primary).sum()), int((~primary).sum())
    adjusted = primary_first(np.where(member, p, np.nan), primary & member)
    alone = holm(np.where(member & ~primary, p, np.nan))
    level = 1 - ALPHA / np.where(member & ~primary, max(size, 1), 1)
    difference, reach = rows["difference"].to_numpy(), rows["reach"].to_numpy()
    ends = {}
    for suffix, half in (("", half_width(rows, level)), ("_alone", half_width(rows))):
        for name, sign in (("low", -1), ("high", 1)):
            ends[f"{name}{suffix}"] = np.clip(difference + sign * half, -reach, reach)
    return rows.assign(
        **ends,
        effect=rows["effect"] * np.where(rows["higher_is_better"], 1, -1),
        comparisons=size,
        p_adjusted=adjusted,
        gated=(alone < ALPHA) & (adjusted >= ALPHA),
        needed=np.where(primary, needed_groups(1), needed_groups(max(everyone, 1))),
        verdict=np.where(member, "", TOO_FEW),
    )
