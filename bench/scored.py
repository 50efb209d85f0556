"""What came of one explainer on some images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.cost import Cost


@dataclass
class Scored:
    """What came of one explainer.

    Attributes:
        frames: long rows, see ``bench.store.SCORE_COLUMNS``; without those of the cost.
        maps: position among the explained images -> raw map (h,w), of the images whose maps are kept.
        bad_maps: ids of images whose map holds NaN or infinite values; their scores are nan.
        problems: metric -> why it failed on these maps.
        cost: of the maps.
        kinds: metric and variant of all rows.
    """

    frames: list[pd.DataFrame] = field(default_factory=list)
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    bad_maps: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    kinds: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: Scored) -> None:
        """Take in what came of the same explainer on further images; a metric that failed on any has failed."""
        self.frames += other.frames
        self.maps |= other.maps
        self.bad_maps += other.bad_maps
        self.problems = other.problems | self.problems
        self.cost += other.cost
        self.kinds |= other.kinds

    @property
    def notes(self) -> list[str]:
        """A line for everything that a reader of the scores must know."""
        lines = [f"metric {metric} failed: {why}" for metric, why in self.problems.items()]
        if self.bad_maps:
            lines.append(f"{len(self.bad_maps)} maps hold NaN or infinite values, first: {self.bad_maps[0]}")
        return lines

    @property
    def rows(self) -> pd.DataFrame:
        """All rows in one frame, those of the cost last; they belong to no image."""
        return pd.concat([*self.frames, self.cost_rows], ignore_index=True)

    @property
    def cost_rows(self) -> pd.DataFrame:
        """Those of the cost."""
        about = {"image": "", "group": "", "label": -1, "predicted": -1, "target": -1, "diseased": False}
        cost = self.cost.per_map()
        return pd.DataFrame([about | {"metric": name, "variant": "", "step": -1, "value": cost[name]} for name in cost])
