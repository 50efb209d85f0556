"""Published values, and values of the authors' drafts, for the same data set, backbone and method as ours."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd

FILE = Path(__file__).with_name("reported.csv")
#: "reported" are values of the paper; "draft" are outputs of the authors' notebooks of an earlier version.
Kind = Literal["reported", "draft"]
KINDS: tuple[Kind, ...] = ("reported", "draft")
_KEYS = ["kind", "dataset", "backbone", "method", "metric"]
Key = tuple[Kind, str, str, str, str]


@dataclass(frozen=True)
class Reported:
    """A number of others, as text because its digits are part of it.

    Attributes:
        value: the number.
        spread: ± of it; empty if none is given.
        source: where it was read.
        doubt: why it may be wrong; empty if there is no reason.
        l1: weight of the penalty of the head it belongs to; empty if there is none, or it is unknown.
    """

    value: str
    spread: str
    source: str
    doubt: str = ""
    l1: str = ""

    def __str__(self) -> str:
        spread = f" ± {self.spread}" if self.spread else ""
        return f"{self.value}{spread}{' ?' if self.doubt else ''}{f' (λ₁ = {self.l1})' if self.l1 else ''}"


@cache
def reported_values() -> dict[Key, list[Reported]]:
    """Returns (kind, data set, backbone, method, metric) -> values, one per weight of the penalty.

    The method is the head for classifiers and for own maps, otherwise the explainer; all names are registered names.
    """
    table = pd.read_csv(FILE, dtype=str, keep_default_na=False)
    found: dict[Key, list[Reported]] = defaultdict(list)
    keys = table[_KEYS].itertuples(index=False, name=None)
    values = table[["value", "spread", "source", "doubt", "l1"]].itertuples(index=False, name=None)
    for key, value in zip(keys, values, strict=True):
        found[key].append(Reported(*value))
    return dict(found)


def joined(values: list[Reported]) -> Reported:
    """Joins the values of a head at several weights of its penalty into one entry."""
    if len(values) == 1:
        return values[0]
    doubts = dict.fromkeys(f"{one.l1}: {one.doubt}" for one in values if one.doubt)
    return Reported("; ".join(map(str, values)), "", values[0].source, "; ".join(doubts))
