"""Study of implementations of the same method.

A name such as Grad-CAM leaves open whether the logit or the probability is explained and how the map is enlarged;
libraries differ in both, and this study measures how much the scores depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Batch, Classifier, Explainer
from bench.data.split import normalise
from bench.evaluation.batch import explain_images
from bench.evaluation.metric_inputs import MetricInputs
from bench.maps import positive
from bench.metrics import Occluder, patch_at
from bench.metrics.similarity import rank_correlation
from bench.outputs import SOFTMAX, Outputs
from bench.registry import EXPLAINERS
from bench.store.code_digest import code_digest
from bench.studies.base import Study, Subject, register_study

#: Enlargements of a map whose library leaves this to the user, which all draw its cells evenly over the image.
UPSAMPLINGS: dict[str, dict[str, Any]] = {
    "bicubic": {"mode": "bicubic", "align_corners": False},
    "bicubic, corners aligned": {"mode": "bicubic", "align_corners": True},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear, corners aligned": {"mode": "bilinear", "align_corners": True},
    "nearest": {"mode": "nearest"},
}
#: Bicubic, with each cell where it looks: how this benchmark draws maps unless a config asks for the convention.
ALIGNED = "bicubic, receptive-field"
BY_THE_LIBRARY = "by the library"
DIFFERENCES = ("max_difference", "mean_difference", "rank_correlation")


def variants_of(method: str) -> list[str]:
    """Lists the names of the other registered implementations of a method."""
    return [name for name in EXPLAINERS if EXPLAINERS[name].variant_of == method]


class _Probability(nn.Module):
    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, logits: Tensor) -> Tensor:
        return self.outputs.probability(logits)


class Probabilities(Classifier):
    """A classifier with probabilities in the place of its logits, so that explainers explain the probability."""

    def __init__(self, classifier: Classifier, outputs: Outputs = SOFTMAX) -> None:
        head = nn.Sequential(classifier.head, _Probability(outputs))
        super().__init__(classifier.features, head, classifier.num_classes)
        self.eval()


@dataclass(frozen=True)
class _Images:
    """Images of the study: tensors as in ``Batch``, masks, ignored pixels, and one row of ``about`` per image."""

    images: Tensor
    targets: Tensor
    masks: Tensor | None
    ignored: Tensor | None
    about: pd.DataFrame
    positions: np.ndarray


@register_study
class Implementations(Study):
    """Maps and localisation scores of every implementation of a method × target × enlargement, on the black box.

    Each map is compared with the map of the main scores: this benchmark's implementation, the run's target, bicubic,
    drawn as the config asks (``align``). Differences are taken between maps in [0, 1]: as the library scales them,
    otherwise cut at zero and scaled per image. The rank correlation (Spearman) is taken over the pixels of the
    unscaled maps.

    Args:
        images: number of explained diseased images that are read, from the first.
        datasets: names of the data sets that are studied; empty for all.
    """

    name, paper = "implementations", ""

    def __init__(self, images: int = 8, datasets: Sequence[str] = ()) -> None:
        self.images = images
        self.datasets = tuple(datasets)

    def applies_to(self, subject: Subject) -> str:
        """Requires a black box on one of the studied data sets, and explained diseased images."""
        if subject.trained.head.head.family == "inherent":
            return "implementations are compared on the black box"
        if self.datasets and subject.prepared.info.name not in self.datasets:
            return f"implementations are compared on {', '.join(self.datasets)} only"
        return "" if subject.context.explained.diseased.any() else "there are no diseased images"

    def concerns(self, explainer: Explainer) -> bool:
        """Returns whether there is another implementation."""
        return bool(variants_of(explainer.name))

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """Lists the other implementations, the reasons why they cannot run, and the metrics."""
        variants = [EXPLAINERS[name] for name in variants_of(explainer.name if explainer else "")]
        return [
            *((one.name, code_digest(one), one().applies_to(subject.classifier)) for one in variants),
            *((request.name, code_digest(request.info.function)) for request in subject.metrics),
        ]

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns a row per image and measure: implementation, target, upsampling, image, group, measure, value.

        An implementation that cannot run has one row with only its name and the ``reason``.
        """
        assert explainer is not None
        studied = _images_of(subject, self.images)
        own = _explain(subject, subject.explained_model, explainer, studied)
        reference = subject.context.draw(explainer, own)
        rows = []
        for one in (explainer, *(EXPLAINERS[variant]() for variant in variants_of(explainer.name))):
            if reason := one.applies_to(subject.classifier):
                rows.append(pd.DataFrame({"implementation": [one.name], "reason": [reason]}))
                continue
            for target, upsampling, maps in _settings(subject, one, studied):
                about = {"implementation": one.name, "reason": "", "target": target, "upsampling": upsampling}
                measured = _compare(_unit(one, maps), positive(reference), maps, reference)
                measured |= _localisation(subject, one, studied, maps)
                rows += [studied.about.assign(**about, measure=name, value=measured[name]) for name in measured]
        return pd.concat(rows, ignore_index=True)


def _images_of(subject: Subject, count: int) -> _Images:
    context = subject.context
    positions = np.flatnonzero(context.explained.diseased)[:count]
    indices, split = context.explained.indices[positions], context.split
    images = normalise(split.batch(indices).to(context.device), context.mean, context.std)

    def regions(pixels: np.ndarray | None) -> Tensor | None:
        return None if pixels is None else torch.from_numpy(pixels[indices]).to(context.device)

    about = context.about.iloc[positions][["image", "group"]].reset_index(drop=True)
    targets = torch.from_numpy(context.targets[positions]).to(context.device)
    return _Images(images, targets, regions(split.masks), regions(split.ignored), about, positions)


def _settings(subject: Subject, explainer: Explainer, studied: _Images) -> Iterator[tuple[str, str, Tensor]]:
    """Yields target, upsampling and maps (N,H,W) of one implementation."""
    # Libraries explain the logit or the probability; the maps of the main scores explain the run's target.
    targets: dict[str, Classifier] = {subject.context.target: subject.explained_model}
    targets |= {"logit": subject.classifier, "probability": Probabilities(subject.classifier, subject.context.outputs)}
    for target, classifier in targets.items():
        maps = _explain(subject, classifier, explainer, studied)
        if maps.shape[1:] == studied.images.shape[2:]:
            yield target, BY_THE_LIBRARY, maps
            continue
        if subject.context.geometry_of(explainer) is not None:
            yield target, ALIGNED, subject.context.draw(explainer, maps)
        for upsampling, how in UPSAMPLINGS.items():
            yield target, upsampling, _enlarged(maps, studied, how)


def _explain(subject: Subject, classifier: Classifier, explainer: Explainer, studied: _Images) -> Tensor:
    """Computes maps (N,h,w) float32."""
    batch = Batch(studied.images, studied.targets, None, tuple(range(len(studied.images))))
    return explain_images(classifier, explainer.name, explainer, batch, subject.context.section.batch_size).float()


def _enlarged(maps: Tensor, studied: _Images, how: dict[str, Any]) -> Tensor:
    size = (studied.images.shape[2], studied.images.shape[3])
    return F.interpolate(maps[:, None], size, **how)[:, 0]


def _unit(explainer: Explainer, maps: Tensor) -> Tensor:
    """Scales maps to [0, 1], except for the overshoot of a bicubic enlargement."""
    return maps if explainer.scaled else positive(maps)


def _compare(unit: Tensor, unit_reference: Tensor, maps: Tensor, reference: Tensor) -> dict[str, np.ndarray]:
    """Computes each of ``DIFFERENCES`` per image (N,)."""
    difference = (unit - unit_reference).abs().flatten(1).cpu().numpy()
    correlation = rank_correlation(maps.cpu().numpy(), reference.cpu().numpy())
    return dict(zip(DIFFERENCES, (difference.max(axis=1), difference.mean(axis=1), correlation), strict=True))


def _localisation(subject: Subject, explainer: Explainer, studied: _Images, maps: Tensor) -> dict[str, np.ndarray]:
    """Computes the score (N,) of the enlarged maps by every localisation metric of the run."""
    context = subject.context
    if studied.masks is None:
        return {}
    logits = torch.from_numpy(context.logits[studied.positions]).to(context.device)
    inputs = MetricInputs(
        native_maps=maps,
        occluder=Occluder(context.predict, studied.images, patch_at(studied.images.shape[-1])),
        targets=studied.targets,
        logits=logits,
        explained_logits=context.explained_scores(logits),
        masks=studied.masks,
        ignored=studied.ignored,
        steps=context.section.steps,
        inherent=False,
        signed=explainer.signed,
    )
    asked = [request for request in subject.metrics if request.info.family == "localisation"]
    return {
        request.name: request.info.function(*(inputs.get(need, request.variant) for need in request.info.needs))
        .double()
        .cpu()
        .numpy()
        for request in asked
    }
