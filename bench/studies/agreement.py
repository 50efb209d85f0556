"""Study of the agreement between cells.

It stores small maps of the same images from every cell, so that a report can compare seeds and backbones without a
classifier.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contracts import Explainer
from bench.errors import UserError
from bench.studies.base import Study, Subject, register_study
from bench.studies.subset import Subset


@register_study
class Agreement(Study):
    """Maps of the first explained images on one common grid.

    Rows: image, group, target, map (grid·grid values, row by row).

    Args:
        images: number of explained images that are read, from the first.
        grid: cells per side. Maps on a feature grid are drawn at the resolution of the images first, where its cells
            look. Finer maps are averaged over each cell, coarser ones repeated.
    """

    name, paper = "agreement", ""

    def __init__(self, images: int = 8, grid: int = 14) -> None:
        self.images, self.grid = images, grid

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns one row per image."""
        if explainer is None:
            raise UserError("agreement is studied per explainer, but none was given")
        subset = Subset.of(subject, name, explainer, self.images)
        maps = self._placed(subject, explainer, torch.from_numpy(subset.maps(subject.explained_model, "intact")))
        small = F.interpolate(maps[:, None], (self.grid, self.grid), mode="area").flatten(1).float()
        return subset.about.assign(map=list(small.numpy()))

    def _placed(self, subject: Subject, explainer: Explainer, maps: Tensor) -> Tensor:
        """Draws maps (N,h,w) unless their cells divide the image evenly, because backbones look at other places."""
        is_even = subject.context.geometry_of(explainer) is None
        return maps if is_even else subject.context.draw(explainer, maps)
