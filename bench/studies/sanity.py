"""Study of the sanity of maps.

A map should depend on the learned weights and on the explained class, and should not change much under noise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Explainer
from bench.errors import UserError
from bench.metrics.similarity import Floats, histogram_entropy, rank_correlation, relative_change
from bench.seeds import generator
from bench.studies.base import Study, Subject, register_study
from bench.studies.cascade import cascade
from bench.studies.subset import Subset

#: Checks with one value per image; ``cascade`` has one per image and stage.
COMPLEXITY, SENSITIVITY, CLASSES, CASCADE = "complexity_rise", "max_sensitivity", "class_sensitivity", "cascade"


@register_study
class Sanity(Study):
    """Cascading randomisation, max-sensitivity and class sensitivity, on the first explained images.

    Rows: image, group, target, check, stage (of the cascade, from 1; otherwise 0), fresh (name of the stage), value.

    Args:
        images: number of explained images that are read, from the first.
        blocks: number of parts of the feature extractor that are randomised one after the other, after the head.
        weight_draws: number of sets of random weights; the images are divided among them.
        noise_draws: number of noisy copies of each image.
        radius: bound of the uniform noise, as a fraction of the range of pixel values.

    Raises:
        ValueError: A number is below 1, or there are more sets of weights than images.

    Source:
        arXiv:1810.03292 (cascade), arXiv:2401.06465 (complexity), arXiv:1901.09392 (max-sensitivity).
    """

    name, paper = "sanity", "arXiv:1810.03292, arXiv:2401.06465, arXiv:1901.09392"

    def __init__(
        self, images: int = 8, blocks: int = 3, weight_draws: int = 2, noise_draws: int = 2, radius: float = 0.02
    ) -> None:
        if min(images, blocks, weight_draws, noise_draws) < 1 or weight_draws > images:
            raise ValueError("images, blocks, weight_draws and noise_draws are at least 1, and images ≥ weight_draws")
        self.images, self.blocks, self.weight_draws = images, blocks, weight_draws
        self.noise_draws, self.radius = noise_draws, radius

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Returns the rows of all checks of one explainer; the checks share the intact maps."""
        if explainer is None:
            raise UserError("sanity is studied per explainer, but none was given")
        subset = Subset.of(subject, name, explainer, self.images)
        intact = subset.maps(subject.explained_model, "intact")
        noisy = max_sensitivity(subject, subset, intact, self.noise_draws, self.radius)
        rows = [
            *self._cascade(subject, subset, intact),
            _rows(subset, SENSITIVITY, noisy),
            _rows(subset, CLASSES, class_sensitivity(subject, subset, intact)),
        ]
        return pd.concat(rows, ignore_index=True)

    def _cascade(self, subject: Subject, subset: Subset, intact: Floats) -> Iterator[pd.DataFrame]:
        names = subject.context.seed_names
        parts = np.array_split(np.arange(len(intact)), min(self.weight_draws, len(intact)))
        for draw, positions in enumerate(parts):
            part, before = subset.part(slice(positions[0], positions[-1] + 1)), intact[positions]
            stages = cascade(subject.explained_model, subset.batch.images, self.blocks, *names, "cascade", draw)
            maps = before
            for stage, (fresh, classifier) in enumerate(stages, start=1):
                maps = part.maps(classifier, fresh)
                yield _rows(part, CASCADE, rank_correlation(before, maps), stage, fresh)
            yield _rows(part, COMPLEXITY, complexity_rise(before, maps))


def complexity_rise(intact: Floats, fresh: Floats) -> Floats:
    """Computes the relative rise (N,) of the maps' entropy when every weight is random; nan if a map is constant.

    A learned map is simpler than a map of a random network. Unlike pairwise similarity, this does not reward a noisy
    method.

    Args:
        intact: (N,h,w) maps of the trained classifier.
        fresh: (N,h,w) maps with all weights randomised.

    Source:
        arXiv:2401.06465 (eMPRT). Deviation: raw instead of absolute values; number of bins by the square-root rule.
    """
    before, after = histogram_entropy(intact), histogram_entropy(fresh)
    return (after - before) / np.where(before > 0, before, np.nan)


def max_sensitivity(subject: Subject, subset: Subset, intact: Floats, draws: int, radius: float) -> Floats:
    """Computes the largest relative change (N,) ≥ 0 of the map over noisy copies of the image; nan for a zero map.

    Noise is uniform in ±radius for every value of the image in [0, 1]; sums are not clipped to that range.

    Source:
        arXiv:1901.09392, eq. 4, divided by the norm of the intact map (as captum does), so that scales cancel.
    """
    deviation = torch.tensor(subject.context.std).reshape(3, 1, 1)
    changes = []
    for draw in range(draws):
        noise = torch.stack([_noise(image, draw, subset.batch.images.shape[1:]) for image in subset.about["image"]])
        images = subset.batch.images + (radius * noise / deviation).to(subset.batch.images)
        changes.append(relative_change(intact, subset.maps(subject.explained_model, f"noise {draw}", images=images)))
    largest: Floats = np.max(changes, axis=0)
    return largest


def _noise(image: str, draw: int, shape: torch.Size) -> Tensor:
    """Draws noise uniform in [-1, 1), the same for every explainer."""
    return 2 * torch.rand(shape, generator=generator("noise", image, draw)) - 1


def class_sensitivity(subject: Subject, subset: Subset, intact: Floats) -> Floats:
    """Computes 1 − rank correlation (N,) with the map of the most likely other class.

    0 = the same map, 1 = unrelated, 2 = reversed, as for two classes with opposite evidence.
    """
    others = subset.logits.copy()
    others[np.arange(len(others)), subset.about["target"]] = -np.inf
    rivals = torch.from_numpy(others.argmax(axis=1)).to(subset.batch.targets)
    return 1 - rank_correlation(intact, subset.maps(subject.explained_model, "other class", targets=rivals))


def _rows(subset: Subset, check: str, values: Floats, stage: int = 0, fresh: str = "") -> pd.DataFrame:
    return subset.about.assign(check=check, stage=stage, fresh=fresh, value=values)
