"""What a reader decides by: verdicts, price of interpretability and the rest that is derived from the scores alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from bench.report.comparisons.critical_difference import (
    critical_difference_diagrams,
    critical_difference_frame,
    critical_difference_missing,
    critical_difference_table,
)
from bench.report.comparisons.model_or_map import model_or_map, model_or_map_frame, model_or_map_table
from bench.report.comparisons.price import pareto, price_frame, price_table
from bench.report.comparisons.subgroups import strata_frame, strata_table
from bench.report.comparisons.verdict_figures import win_matrix
from bench.report.comparisons.verdicts import verdict_frame, verdict_table
from bench.report.figures.style import Drawing, paper_style, save
from bench.report.frames.load import Frames
from bench.report.tables.floor_ceiling import floor_ceiling_table
from bench.report.tables.table import TableData
from bench.store.folders import file_name
from bench.store.manifest import Manifest


@dataclass(frozen=True)
class Decisions:
    """Frames of every comparison; empty where a run has nothing to compare."""

    verdicts: pd.DataFrame
    prices: pd.DataFrame
    squares: pd.DataFrame
    strata: pd.DataFrame
    ranks: pd.DataFrame

    def tables(self, frames: Frames) -> dict[str, TableData]:
        """Tables by file name."""
        found: dict[str, TableData] = {}
        if len(self.verdicts):
            found["verdicts"] = verdict_table(frames, self.verdicts)
        if len(self.prices):
            found["price"] = price_table(frames, self.prices)
        if len(self.squares):
            found["model_or_map"] = model_or_map_table(self.squares, self.verdicts)
        if len(self.strata):
            found["strata"] = strata_table(frames, self.strata)
        if len(self.ranks):
            found["critical_difference"] = critical_difference_table(self.ranks)
        found["floor_ceiling"] = floor_ceiling_table(frames)
        return {name: table for name, table in found.items() if table.rows}

    def drawings(self, frames: Frames) -> Iterator[Drawing]:
        """Figures that the frames allow; those with a panel a data set once for each backbone."""
        yield from win_matrix(self.verdicts)
        yield from critical_difference_diagrams(self.ranks)
        backbones = list(dict.fromkeys(frames.cells["backbone"]))
        for backbone in backbones:
            prices, squares = (_of_backbone(rows, backbone) for rows in (self.prices, self.squares))
            for drawing in (*pareto(frames, prices), *model_or_map(frames, squares)):
                stem, caption = f"{drawing.stem}_{file_name(backbone)}", f"{backbone}. {drawing.caption}"
                yield replace(drawing, stem=stem, caption=caption) if len(backbones) > 1 else drawing

    def draw(self, frames: Frames, files: Manifest) -> dict[str, str]:
        """Write every figure -> stem and caption."""
        captions = {}
        with paper_style():
            for drawing in self.drawings(frames):
                save(drawing.figure, files, drawing.stem)
                captions[drawing.stem] = drawing.caption
        return captions


def missing_decisions(frames: Frames, decisions: Decisions) -> list[str]:
    """A line for each table that this run's scores do not allow, and what would add it."""
    lines = []
    roles = {facts.role for facts in frames.record.explainers.values()}
    if not {"floor", "ceiling"} <= roles:
        lines.append(
            "floor_ceiling needs a floor and a ceiling control; a run that has them notes so when it is repeated"
        )
    if not len(decisions.verdicts):
        lines.append(
            "verdicts and strata need an inherent head, its black box and a post-hoc method on the same images"
        )
    if not len(decisions.prices):
        lines.append("price needs an inherent head and its black box")
    if not len(decisions.squares):
        lines.append("model_or_map needs post-hoc methods on inherent heads (on_inherent) or a head that converts")
    lines += critical_difference_missing(frames, decisions.ranks)
    return [f"not there: {line}" for line in lines]


def _of_backbone(rows: pd.DataFrame, backbone: str) -> pd.DataFrame:
    return rows[rows["backbone"] == backbone] if len(rows) else rows


def weigh(frames: Frames) -> Decisions:
    """Compare everything that a run allows to compare."""
    verdicts = verdict_frame(frames)
    return Decisions(
        verdicts=verdicts,
        prices=price_frame(frames, verdicts),
        squares=model_or_map_frame(frames),
        strata=strata_frame(frames, verdicts),
        ranks=critical_difference_frame(frames),
    )
