"""Batches of explained images.

A batch holds everything that the explainers of a cell share about its images, so that each is computed only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Batch, Classifier, Explainer
from bench.data.donors import donor_source
from bench.data.split import normalise
from bench.evaluation.context import EvaluationContext
from bench.evaluation.guests import Host, as_guest, check_grid, check_maps
from bench.memory import in_batches, with_smaller_batches
from bench.metrics import Occluder, patch_at
from bench.models.shared_features import SharedFeatures
from bench.seeds import seed_of

Result = TypeVar("Result")


class EvaluationBatch:
    """The explained images at some positions, at most as many as are explained at once.

    Images, features, head outputs and logits under occlusion are computed on first use, serve every explainer and are
    freed with the batch, so that memory does not grow with the number of images.

    Args:
        context: the context of the cell.
        positions: (n,) positions among the explained images.
    """

    def __init__(self, context: EvaluationContext, positions: np.ndarray) -> None:
        self.context, self.positions = context, positions
        self._occluders: dict[str, Occluder] = {}
        #: Changes that the last explainer left behind and that were put back.
        self.left: list[str] = []

    @cached_property
    def about(self) -> pd.DataFrame:
        """One row per image: the labels of its scores."""
        return self.context.about.iloc[self.positions]

    @cached_property
    def images(self) -> Tensor:
        """Normalised images (n,3,H,W) in channels_last, on the device."""
        context = self.context
        pixels = context.split.batch(context.explained.indices[self.positions]).to(context.device)
        return normalise(pixels, context.mean, context.std).contiguous(memory_format=torch.channels_last)

    @cached_property
    def targets(self) -> Tensor:
        """Class (n,) that each image is explained for."""
        return torch.tensor(self.about["target"].to_numpy()).to(self.context.device)

    @cached_property
    def shared(self) -> SharedFeatures:
        """Features, gradients and evidence of the images."""
        return SharedFeatures(self.context.explained_model, self.images)

    @property
    def once(self) -> EvaluationBatch:
        """The batch itself, or each image once where the context explains every image for several classes."""
        return self._once or self  # a batch that held itself would outlive its last user

    @cached_property
    def _once(self) -> EvaluationBatch | None:
        classes = self.context.classes
        return EvaluationBatch(self.context.once, self.positions[::classes]) if classes else None

    def explainer_input(self, name: str, explainer: Explainer) -> Batch:
        """Returns the ``Batch`` that this explainer is called with."""
        return Batch(
            images=self.images,
            targets=self.targets,
            masks=self.context.regions(self.context.split.masks, self.positions) if explainer.needs_masks else None,
            seeds=tuple(seed_of(*self.context.seed_names, name, image) for image in self.about["image"]),
            shared=self.shared,
        )

    def maps(self, name: str, explainer: Explainer) -> Tensor:
        """Computes raw maps (n,h,w) float32 on the device.

        Raises:
            UserError: The explainer did not return one map per image on the grid that it states, or changed the images.
        """
        # Both from one context: features are shared only for the very classifier that they were computed with.
        context, batch = self.once.context, self.once.explainer_input(name, explainer)
        network = context.explained_model

        def call() -> Tensor:
            if self.once is self:
                return explainer.explain_batch(network, batch)
            return explainer.explain_classes(network, batch).flatten(0, 1)

        self.left = ["an error"]  # until the call has come to an end
        try:
            raw, self.left = as_guest(f"explainer {name!r}", call, context.host, batch)
        finally:
            if self.left:
                self._forget()
        maps = check_maps(name, raw, len(self.positions))
        check_grid(name, explainer, maps, self.context.feature_grid)
        return maps.detach().to(self.context.device, torch.float32)

    def occluder(self, subset: str, at: np.ndarray) -> Occluder:
        """Returns the occluder of the images at places (n,) of the batch, cached as ``subset`` for all explainers."""
        if subset not in self._occluders:
            context, ids = self.context, self.about["image"].iloc[at].tolist()
            self._occluders[subset] = Occluder(
                context.inference.predict,
                self.images[at],
                patch_at(self.images.shape[-1]),
                black=-torch.tensor(context.mean) / torch.tensor(context.std),
                donors=donor_source(context.split, context.healthy, ids, context.mean, context.std),
                ids=ids,
                fov=context.regions(context.split.fov, self.positions[at]),
                batch_size=context.inference.batch_size,
                dtype=context.inference.dtype,
            )
        return self._occluders[subset]

    def in_parts(self, compute: Callable[[EvaluationBatch], Result]) -> list[Result]:
        """Returns ``[compute(batch)]``, or one result per smaller part (parts share nothing) when memory runs out."""

        def attempt(size: int) -> list[Result]:
            if size >= len(self.positions):
                return [compute(self)]
            parts = self.context.split_positions(self.positions, size)
            return [compute(EvaluationBatch(self.context, part)) for part in parts]

        return with_smaller_batches(attempt, len(self.positions))[0]

    def _forget(self) -> None:
        """Discards everything shared, so that the next explainer gets fresh images."""
        for part in ("images", "targets", "shared", "_once"):
            vars(self).pop(part, None)
        self._occluders.clear()


def batches(context: EvaluationContext, positions: np.ndarray | None = None) -> Iterator[EvaluationBatch]:
    """Yields the explained images, or the ones at ``positions`` (n,), in batches of the configured size."""
    chosen = np.arange(len(context.explained.indices)) if positions is None else positions
    for part in context.split_positions(chosen, context.section.batch_size):
        yield EvaluationBatch(context, part)


def explain(context: EvaluationContext, name: str, explainer: Explainer, positions: np.ndarray) -> Tensor:
    """Computes raw maps (n,h,w) of the explained images at positions (n,) in batches that shrink when memory runs out.

    Raises:
        UserError: The explainer did not return one map per image.
    """
    parts = [batch.in_parts(lambda part: part.maps(name, explainer)) for batch in batches(context, positions)]
    return torch.cat([maps for part in parts for maps in part])


def explain_images(classifier: Classifier, name: str, explainer: Explainer, batch: Batch, batch_size: int) -> Tensor:
    """Computes raw maps (N,h,w) of any images, in parts that shrink when memory runs out.

    Raises:
        UserError: The explainer did not return one map per image.
    """
    host = Host(classifier)

    def compute(part: slice) -> Tensor:
        some = part_of(batch, part)
        maps, _ = as_guest(f"explainer {name!r}", lambda: explainer.explain_batch(classifier, some), host, some)
        return check_maps(name, maps, len(some.seeds)).detach()

    return torch.cat(in_batches(compute, len(batch.seeds), batch_size))


def part_of(batch: Batch, part: slice) -> Batch:
    """Returns some images of a batch, without its shared features."""
    masks = None if batch.masks is None else batch.masks[part]
    return Batch(batch.images[part], batch.targets[part], masks, batch.seeds[part])
