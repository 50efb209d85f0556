"""Studies of a planted shortcut: a tag in the corner of the images.

They measure whether a classifier uses the tag, and whether its maps show it. Rendering the same scene with and without
the tag gives the exact effect of the tag on the classifier, which occlusion cannot. Every phantom can render the tag,
also if its training images had none; a classifier trained on such images is the reference.

Source: DeGrave et al. 2021, doi:10.1038/s42256-021-00338-7; Adebayo et al. 2022, arXiv:2212.04629 (maps of a model that
uses a planted signal compared with maps of a model that does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Batch, Explainer
from bench.data.split import normalise
from bench.evaluation.batch import explain_images
from bench.evaluation.predictor import predict_images
from bench.metrics import activation_precision
from bench.seeds import seed_of
from bench.statistics.classification import softmax
from bench.studies.base import Study, Subject, register_study

_PAPER = "doi:10.1038/s42256-021-00338-7, arXiv:2212.04629"


@dataclass(frozen=True)
class Scenes:
    """N scenes, each without and with its tag.

    Attributes:
        indices: (N,) positions in the explained split.
        images: (2,N,3,H,W) normalised: without tag, with tag.
        tags: (N,H,W) bool masks of the tags.
        lesions: (N,H,W) bool masks of the lesions, exact even if the masks of the data set are boxes.
        logits: (2,N,C) logits without and with tag.
        targets: (N,) the disease that is explained.
    """

    indices: NDArray[np.int64]
    images: Tensor
    tags: Tensor
    lesions: Tensor
    logits: NDArray[np.float64]
    targets: NDArray[np.int64]


def render_scenes(subject: Subject, indices: NDArray[np.int64]) -> Scenes:
    """Renders and classifies images (N,) of the explained split, without and with their tags.

    The target is the true disease; on a healthy image it is the most likely disease without the tag, because the tag
    is planted as a sign of disease.
    """
    samples: Any = subject.prepared.samples
    context, healthy = subject.context, subject.prepared.info.healthy
    pixels = torch.stack([samples.with_tag(index, tagged) for tagged in (False, True) for index in indices])
    images = normalise(pixels.to(context.device), context.mean, context.std)
    with torch.inference_mode():
        logits = predict_images(subject.classifier, images, context.section.batch_size)
    pairs = logits.double().cpu().numpy().reshape(2, len(indices), -1)
    diseases = pairs[0].copy()
    diseases[:, healthy] = -np.inf
    labels = context.split.labels[indices]
    return Scenes(
        indices=indices,
        images=torch.unflatten(images, 0, (2, len(indices))),
        tags=torch.stack([samples.tag_mask(index) for index in indices]),
        lesions=torch.stack([samples.exact_mask(index) for index in indices]),
        logits=pairs,
        targets=np.where(labels == healthy, diseases.argmax(axis=1), labels),
    )


class _TagStudy(Study):
    """Selection of images that both studies share.

    Args:
        images: number of images of the explained split that are read; half of them diseased, if there are enough.
    """

    paper = _PAPER

    def __init__(self, images: int) -> None:
        self.images = images

    def applies_to(self, subject: Subject) -> str:
        """Requires a data set that renders tags, and a class without the disease."""
        if not hasattr(subject.prepared.samples, "with_tag"):
            return "the data set cannot render its images with and without a tag"
        return "" if subject.prepared.info.healthy is not None else "the data set has no healthy class"

    def chosen(self, subject: Subject) -> NDArray[np.int64]:
        """Selects positions (N,) in the explained split: diseased images, then healthy ones, in seeded order."""
        split, healthy = subject.context.split, subject.prepared.info.healthy
        order = sorted(range(len(split)), key=lambda index: seed_of("shortcut", split.ids[index]))
        halves = [[at for at in order if (split.labels[at] == healthy) == is_healthy] for is_healthy in (False, True)]
        return np.array([at for half in halves for at in half[: self.images // 2]], dtype=np.int64)


@register_study
class ShortcutUse(_TagStudy):
    """Effect of the tag on the prediction: one row per scene."""

    name, per_explainer = "shortcut_use", False

    def __init__(self, images: int = 200) -> None:
        super().__init__(images)

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns the rows of ``effects``."""
        return effects(subject, render_scenes(subject, self.chosen(subject)))


def effects(subject: Subject, scenes: Scenes) -> pd.DataFrame:
    """Computes the effect of the tag on each scene.

    Returns:
        One row per scene: image, group, label, target; predicted_without, predicted_with (classes);
        probability_without, probability_with (of the target, in [0, 1]); logit_drop, probability_drop (decrease of the
        target when the tag is removed).
    """
    split = subject.context.split
    at = np.arange(len(scenes.indices)), scenes.targets
    without, with_tag = softmax(scenes.logits[0])[at], softmax(scenes.logits[1])[at]
    return pd.DataFrame(
        {
            "image": np.asarray(split.ids)[scenes.indices],
            "group": np.asarray(split.groups)[scenes.indices],
            "label": split.labels[scenes.indices],
            "target": scenes.targets,
            "predicted_without": scenes.logits[0].argmax(axis=1),
            "predicted_with": scenes.logits[1].argmax(axis=1),
            "probability_without": without,
            "probability_with": with_tag,
            "logit_drop": scenes.logits[1][at] - scenes.logits[0][at],
            "probability_drop": with_tag - without,
        }
    )


@register_study
class ShortcutMaps(_TagStudy):
    """Fraction of a map on the tag: one row per scene, explained with its tag."""

    name = "shortcut"

    def __init__(self, images: int = 32) -> None:
        super().__init__(images)
        self._last: tuple[Subject, Scenes] | None = None

    def scenes(self, subject: Subject) -> Scenes:
        """Renders the scenes, once for all explainers of a cell."""
        if self._last is None or self._last[0] is not subject:
            self._last = subject, render_scenes(subject, self.chosen(subject))
        return self._last[1]

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Computes the effects of the tag and the masses of the maps of the scenes with tags.

        Returns:
            The columns of ``effects``; tag_mass, lesion_mass: fraction of the map's positive mass on the tag and on the
            lesions (nan without lesion); tag_area, lesion_area: their fraction of the image.
        """
        assert explainer is not None  # per_explainer
        scenes = self.scenes(subject)
        rows = effects(subject, scenes)
        maps = _explain(subject, name, explainer, scenes, rows["image"].tolist())
        return rows.assign(
            tag_mass=activation_precision(maps, scenes.tags).double().numpy(),
            lesion_mass=activation_precision(maps, scenes.lesions).double().numpy(),
            tag_area=scenes.tags.double().mean(dim=(1, 2)).numpy(),
            lesion_area=scenes.lesions.double().mean(dim=(1, 2)).numpy(),
        )


def _explain(subject: Subject, name: str, explainer: Explainer, scenes: Scenes, ids: list[str]) -> Tensor:
    """Computes maps (N,H,W) of the scenes with their tags."""
    context, images = subject.context, scenes.images[1]
    batch = Batch(
        images=images.contiguous(memory_format=torch.channels_last),
        targets=torch.from_numpy(scenes.targets).to(context.device),
        masks=scenes.lesions.to(context.device) if explainer.needs_masks else None,
        seeds=tuple(seed_of(*context.seed_names, name, image) for image in ids),
    )
    maps = explain_images(subject.explained_model, name, explainer, batch, context.section.batch_size)
    return context.draw(explainer, maps.float().cpu())
