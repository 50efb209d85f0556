"""Counterfactual faithfulness: what taking one lesion out of the scene does, against what a map says it would do.

A phantom can be drawn again without one of its lesions: an intervention inside the data's own distribution, which no
occlusion is. Its effect on the logit is the importance of that lesion for that model.
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
from bench.maps import upsample
from bench.studies.base import Study, Subject, register_study


@dataclass(frozen=True)
class Intervened:
    """One explained image, and what removing each of its lesions does.

    Attributes:
        position: among the explained images.
        masks: (L,H,W) bool, exact; a lesion that is nowhere visible is not in it.
        effects: (L,) logit of the target on the intact image minus that without the lesion.
    """

    position: int
    masks: Tensor
    effects: Tensor


@register_study
class Counterfactual(Study):
    """One row an image and lesion: positive mass of the map on the lesion, and the effect of removing the lesion.

    The mass is the sum over the lesion's exact mask and not the mean, because the effect is that of the whole lesion:
    a large faint lesion may matter more than a small bright one. The effect is that on the target's logit, which is
    what the maps explain.

    Source: arXiv:2308.06248 (single deletion protocol).

    Args:
        images: how many of the explained diseased images with at least two visible lesions are read, the first ones.
    """

    name, paper = "counterfactual", "arXiv:2308.06248"

    def __init__(self, images: int = 8) -> None:
        self.images = images

    def applies_to(self, subject: Subject) -> str:
        """Only where the data set can render an image without one of its lesions."""
        samples = subject.prepared.samples
        return (
            ""
            if hasattr(samples, "counterfactual") and hasattr(samples, "lesions")
            else "the data set cannot remove a lesion"
        )

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Columns of ``EvaluationContext.about``, lesion (its number), pixels, mass and effect."""
        assert explainer is not None  # per_explainer
        found = subject.once(f"{self.name} {self.images}", lambda: self._intervene(subject))
        if not found:
            return pd.DataFrame()
        positions = np.array([one.position for one in found])
        maps = explain(subject.context, name, explainer, positions)
        about = subject.context.about.iloc[positions]
        rows = []
        for image, one, raw in zip(about.to_dict("records"), found, maps, strict=True):
            evidence = upsample(raw[None], (one.masks.shape[1], one.masks.shape[2]))[0].relu().cpu()
            for number, (mask, effect) in enumerate(zip(one.masks, one.effects.tolist(), strict=True)):
                measured = {"pixels": int(mask.sum()), "mass": evidence[mask].double().sum().item(), "effect": effect}
                rows.append(image | {"lesion": number} | measured)
        return pd.DataFrame(rows)

    def _intervene(self, subject: Subject) -> list[Intervened]:
        """The images that are read; each is rendered and classified once for all explainers of the cell."""
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
    """Where an explained image is in its split, and so among the samples: phantoms leave no image out."""
    return int(subject.context.explained.indices[position])


def _effects(subject: Subject, position: int, lesions: list[int]) -> Tensor:
    """Loss (L,) of the target's logit when one of these lesions is removed."""
    context, index = subject.context, _index(subject, position)
    twins = [subject.prepared.samples.counterfactual(index, lesion) for lesion in lesions]  # type: ignore[union-attr]
    images = torch.stack([context.split.batch([index])[0], *twins]).to(context.device)
    intact, *removed = context.predict(normalise(images, context.mean, context.std))[:, context.targets[position]].cpu()
    return intact.double() - torch.stack(removed).double()
