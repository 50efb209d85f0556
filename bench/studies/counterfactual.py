"""Study of counterfactual faithfulness: the effect of removing a lesion, compared with the map's values on it.

A phantom can be rendered again without one of its lesions. Unlike occlusion, this intervention stays inside the
distribution of the data; its effect on the logit is the importance of that lesion for the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Explainer
from bench.data.split import normalise
from bench.evaluation.batch import explain
from bench.studies.base import Study, Subject, register_study


@dataclass(frozen=True)
class Intervened:
    """One explained image, and the effect of removing each of its lesions.

    Attributes:
        position: position among the explained images.
        masks: (L,H,W) bool, exact masks of the L visible lesions.
        effects: (L,) explained score of the target on the intact image minus that without the lesion.
    """

    position: int
    masks: Tensor
    effects: Tensor


@register_study
class Counterfactual(Study):
    """Mass of the map on each lesion, and the effect of removing the lesion: one row per image and lesion.

    The mass is the sum of the positive values over the lesion's exact mask, not their mean, because the whole lesion
    causes the effect: a large faint lesion may matter more than a small bright one. The effect is the change of the
    target's logit, or of its contrast with the other classes: of what the maps explain.

    Args:
        images: number of images that are read: the first explained diseased ones with at least two visible lesions.

    Source:
        arXiv:2308.06248 (single deletion protocol).
    """

    name, paper = "counterfactual", "arXiv:2308.06248"

    def __init__(self, images: int = 8) -> None:
        self.images = images

    def applies_to(self, subject: Subject) -> str:
        """Requires a data set that can render an image without one of its lesions."""
        samples = subject.prepared.samples
        can_remove = hasattr(samples, "counterfactual") and hasattr(samples, "lesions")
        return "" if can_remove else "the data set cannot remove a lesion"

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns the columns of ``EvaluationContext.about``, lesion (its number), pixels, mass and effect."""
        assert explainer is not None  # per_explainer
        found = subject.once(f"{self.name} {self.images}", lambda: self._intervene(subject))
        if not found:
            return pd.DataFrame()
        positions = np.array([one.position for one in found])
        maps = subject.context.draw(explainer, explain(subject.context, name, explainer, positions)).relu().cpu()
        about = subject.context.about.iloc[positions]
        rows = []
        for image, one, evidence in zip(about.to_dict("records"), found, maps, strict=True):
            for number, (mask, effect) in enumerate(zip(one.masks, one.effects.tolist(), strict=True)):
                measured = {"pixels": int(mask.sum()), "mass": evidence[mask].double().sum().item(), "effect": effect}
                rows.append(image | {"lesion": number} | measured)
        return pd.DataFrame(rows)

    def _intervene(self, subject: Subject) -> list[Intervened]:
        """Selects, renders and classifies the images, once for all explainers of the cell."""
        found: list[Intervened] = []
        for position in np.flatnonzero(subject.context.explained.diseased).tolist():
            if len(found) == self.images:
                break
            masks = subject.prepared.samples.lesions(_index(subject, position))  # type: ignore[union-attr]
            visible = [number for number, mask in enumerate(masks) if mask.any()]
            if len(visible) > 1:
                effects = _effects(subject, position, visible)
                found.append(Intervened(position, torch.stack([masks[number] for number in visible]), effects))
        return found


def _index(subject: Subject, position: int) -> int:
    """Returns the index of an explained image in its split, and so among the samples: phantoms skip no image."""
    return int(subject.context.explained.indices[position])


def _effects(subject: Subject, position: int, lesions: list[int]) -> Tensor:
    """Computes the decrease (L,) of the target's explained score when one of these lesions is removed."""
    context, index = subject.context, _index(subject, position)
    rendered = [subject.prepared.samples.counterfactual(index, lesion) for lesion in lesions]  # type: ignore[union-attr]
    images = torch.stack([context.split.batch([index])[0], *rendered]).to(context.device)
    logits = context.predict(normalise(images, context.mean, context.std)).cpu().double()
    scores = context.explained_scores(logits)[:, context.targets[position]]
    return scores[0] - scores[1:]
