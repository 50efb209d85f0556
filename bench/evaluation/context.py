"""Evaluation context: images, targets, logits and predictor of one classifier.

All its explainers read the same frozen object, so that none can change the conditions of the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Channels, Classifier, Explainer, Geometry
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.guests import Host
from bench.evaluation.predictor import Predictor, Target, contrasts, explained_as, predict_images
from bench.maps import drawn_by, upsample
from bench.outputs import SOFTMAX, Outputs

if TYPE_CHECKING:  # the digest of a score does not cover how settings are read
    from bench.configs.sections import ExplainSection


@dataclass(frozen=True)
class EvaluationContext:
    """Everything that the explainers of one cell share; read-only.

    Attributes:
        classifier: the trained classifier in evaluation mode, on ``device``.
        split: the split that holds the explained images.
        explained: the selection of explained images in ``split``.
        section: batch size, occlusion steps and other settings of explaining.
        logits: (N,C) logits of the explained images, in their order.
        targets: (N,) class that each image is explained for.
        mean: mean per channel by which images are normalised.
        std: standard deviation per channel by which images are normalised.
        device: device that everything is computed on.
        gallery: positions among the explained images that the figures show.
        healthy: label of images without lesions, which are the reference images of the ``donor`` operator; None if
            there are none.
        seed_names: names of the cell that seed the explainers' random numbers.
        classes: number of classes that each image is explained for, in turn (saved maps are then (classes,h,w)); None
            if each is explained for one class.
        predictor: computes explanations and predictions instead of ``classifier``; None = the classifier itself.
        outputs: meaning of the logits.
    """

    classifier: Classifier
    split: Split
    explained: Selection
    section: ExplainSection
    logits: np.ndarray
    targets: np.ndarray
    mean: Channels
    std: Channels
    device: torch.device
    gallery: list[int]
    healthy: int | None
    seed_names: tuple[object, ...]
    classes: int | None = None
    predictor: Predictor | None = None
    outputs: Outputs = SOFTMAX

    @cached_property
    def inference(self) -> Predictor:
        """The predictor that explains and predicts."""
        return self.predictor or Predictor(self.classifier, "float32", self.section.batch_size)

    @property
    def size(self) -> tuple[int, int]:
        """(H,W) of the images."""
        height, width = self.split.images.shape[2:]
        return height, width

    @cached_property
    @torch.inference_mode()
    def feature_grid(self) -> tuple[int, int]:
        """Grid (h,w) of the classifier's feature map."""
        image = torch.zeros(1, 3, *self.size, device=self.device)
        height, width = self.classifier.forward_features(image).shape[2:]
        return height, width

    def why_too_coarse(self, explainer: Explainer) -> str:
        """Returns why maps on so few cells are not computed; "" for finer grids, maps of pixels and controls."""
        if explainer.grid != "features" or explainer.family == "control":
            return ""
        rows, columns = self.feature_grid
        if min(rows, columns) >= self.section.smallest_grid:
            return ""
        height, width = self.size
        return (
            f"the feature map has only {rows}×{columns} cells for images of {height}×{width} pixels; use larger "
            f"images, or allow it by smallest_grid = {min(rows, columns)} in [explain]"
        )

    def geometry_of(self, explainer: Explainer) -> Geometry | None:
        """Returns the geometry that an explainer's maps are drawn by; None for the grid convention."""
        return drawn_by(explainer.grid, self.classifier.geometry(self.size), self.section.align)

    @property
    def alignment(self) -> list[object]:
        """Everything that decides where maps on the feature grid are drawn, for fingerprints; to a thousandth pixel."""
        geometry = self.classifier.geometry(self.size)
        places = [] if geometry is None else [*geometry.start, *geometry.stride]
        return [self.section.align, *(round(place, 3) for place in places)]

    def draw(self, explainer: Explainer, maps: Tensor) -> Tensor:
        """Draws an explainer's raw maps (n,h,w) at the resolution of the images: (n,H,W)."""
        return upsample(maps, self.size, self.geometry_of(explainer))

    @property
    def target(self) -> Target:
        """Explained quantity: the target's logit, or its contrast with the others."""
        return self.outputs.explained(self.section.target)

    @cached_property
    def explained_model(self) -> Classifier:
        """The classifier that explainers get: its logits are what the maps explain, and not for predictions."""
        return explained_as(self.target, self.inference.classifier)

    @cached_property
    def host(self) -> Host:
        """State of ``explained_model`` before any plugin is called with it."""
        return Host(self.explained_model)

    def explained_scores(self, logits: Tensor) -> Tensor:
        """Returns what maps of each class explain, (n,C), from logits (n,C): these, or their contrasts."""
        return contrasts(logits) if self.target == "contrast" else logits

    @cached_property
    def once(self) -> EvaluationContext:
        """The same context without ``classes``, for what is computed once per image."""
        return replace(self, classes=None)

    @cached_property
    def about(self) -> pd.DataFrame:
        """One row per explained image: image, group, label, predicted, target, diseased."""
        indices = self.explained.indices
        return pd.DataFrame(
            {
                "image": np.asarray(self.split.ids)[indices],
                "group": np.asarray(self.split.groups)[indices],
                "label": self.split.labels[indices],
                "predicted": self.outputs.predicted(self.logits, self.targets),
                "target": self.targets,
                "diseased": self.explained.diseased,
            }
        )

    def split_positions(self, positions: np.ndarray, size: int) -> list[np.ndarray]:
        """Splits positions (n,) into parts of about this size; all classes of an image stay in one part."""
        size = max(1, size // (self.classes or 1)) * (self.classes or 1)
        return np.split(positions, range(size, len(positions), size))

    def regions(self, regions: np.ndarray | None, positions: np.ndarray) -> Tensor | None:
        """Returns masks, fields of view or ignored pixels (n,H,W) of the explained images at positions (n,)."""
        if regions is None:
            return None
        return torch.from_numpy(regions[self.explained.indices[positions]]).to(self.device)

    def predict(self, images: Tensor) -> Tensor:
        """Computes float32 logits (n,C) of normalised images (n,3,H,W) in batches that shrink when memory runs out."""
        predictor = replace(self.inference, precision="float32")
        return predict_images(predictor.predict, images, self.section.batch_size)
