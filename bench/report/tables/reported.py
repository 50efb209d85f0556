"""What others report for the same data set, backbone and method: a column beside ours, empty where unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("reported.csv")


@dataclass(frozen=True)
class Reported:
    """A published number: as text, because its digits are part of it; ``spread`` (±) is empty where none is given."""

    value: str
    spread: str
    source: str

    def __str__(self) -> str:
        return f"{self.value} ± {self.spread}" if self.spread else self.value


@cache
def reported_values() -> dict[tuple[str, str, str, str], Reported]:
    """(data set, backbone, method, metric) -> what is reported.

    The method is the head of a classifier or of its own maps, else the explainer; all names are the registered ones.
    """
    table = pd.read_csv(FILE, dtype=str, keep_default_na=False)
    keys = table[["dataset", "backbone", "method", "metric"]].itertuples(index=False, name=None)
    values = table[["value", "spread", "source"]].itertuples(index=False, name=None)
    return {key: Reported(*value) for key, value in zip(keys, values, strict=True)}
