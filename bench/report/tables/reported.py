"""Published values for the same data set, backbone and method, shown next to ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("reported.csv")


@dataclass(frozen=True)
class Reported:
    """A published number, as text because its digits are part of it; ``spread`` (±) is empty if none is given."""

    value: str
    spread: str
    source: str

    def __str__(self) -> str:
        return f"{self.value} ± {self.spread}" if self.spread else self.value


@cache
def reported_values() -> dict[tuple[str, str, str, str], Reported]:
    """Returns (data set, backbone, method, metric) -> reported value.

    The method is the head for classifiers and for own maps, otherwise the explainer; all names are registered names.
    """
    table = pd.read_csv(FILE, dtype=str, keep_default_na=False)
    keys = table[["dataset", "backbone", "method", "metric"]].itertuples(index=False, name=None)
    values = table[["value", "spread", "source"]].itertuples(index=False, name=None)
    return {key: Reported(*value) for key, value in zip(keys, values, strict=True)}
