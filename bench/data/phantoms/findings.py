"""Chest X-ray phantom with several findings per image: consolidation, nodule and effusion, each with an exact mask.

Film, distractors and camera are those of ``cxr-phantom``. Every finding is present or absent independently of the
others: eight consecutive images hold each combination once. Two consecutive images are of one patient.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import NO_FINDING, Sample
from bench.data.findings.pairs import SPLIT, FindingPairs, Regions
from bench.data.phantoms.cxr import Chest, camera, distractors, film, opacities
from bench.data.phantoms.scene import CITATION, COUNTS, SMALLEST_SIZE, Mask, Patch, Rng, Scene
from bench.data.phantoms.shapes import blob, grid, margins, patch, ramp, scatter
from bench.data.splitting import require_split
from bench.errors import UserError
from bench.registry import dataset
from bench.seeds import seed_of

NAME = "cxr-phantom@findings"
FINDINGS = ("consolidation", "nodule", "effusion")
#: Share of the labels of training images that are unknown, as in public data sets.
UNKNOWN = 0.1
_BLOCK = 2 ** len(FINDINGS)
#: Widest dark margin: narrower than in ``cxr-phantom``, so that none can hide a finding.
_MARGIN = 0.06


def nodules(rng: Rng, chest: Chest, size: int) -> list[Patch]:
    """Draws one or two round, dense spots with a crisp edge, larger than vessels seen end-on."""
    found = []
    for at in scatter(rng, int(rng.choice((1, 2), p=(0.7, 0.3))), chest.in_lungs, 0.12):
        radius = rng.uniform(0.026, 0.034)
        found.append(patch(blob(rng, size, at, (radius, radius), wobble=0.02), (0.92,), 0.85))
    return found


def effusions(rng: Rng, chest: Chest, size: int) -> list[Patch]:
    """Draws fluid at the base of one lung: white, with a surface that rises towards the chest wall."""
    side = int(rng.integers(2))
    sign, dome = (-1, 1)[side], chest.domes[side]
    x, y = grid(size)
    outwards = np.clip(sign * (x - chest.middle) / (2 * chest.width + 0.055), 0, 1)
    level = dome - rng.uniform(0.04, 0.08) - rng.uniform(0.04, 0.08) * outwards**2
    floor = dome + 0.03
    across = ramp((sign * (x - chest.middle) - 0.07) / 0.02) * ramp((1.02 - outwards) / 0.02)
    cover = across * ramp((y - level) / 0.025) * ramp((floor - y) / 0.02) * (outwards < 1)
    whole = (slice(0, size), slice(0, size))
    return [patch((whole, cover.astype(np.float32)), (0.88,), 0.8)]


class FindingsPhantom:
    """Sequence of generated samples with three labels each and an exact mask per finding.

    Sample ``index`` depends on (seed, split, index, size) alone, not on ``count``.

    Args:
        split: "train", "val" or "test".
        size: S, side of the image in pixels, at least 64.
        count: number of images.
        seed: seed of all random numbers.

    Raises:
        UserError: unknown split, size below 64 or count below 1.
    """

    classes = FINDINGS

    def __init__(self, split: str, size: int, count: int, seed: int) -> None:
        require_split(NAME, split)
        if size < SMALLEST_SIZE or count < 1:
            wanted = f"size must be at least {SMALLEST_SIZE} and count at least 1"
            raise UserError(f"data set {NAME}: {wanted}, not {size} and {count}")
        self.size, self._split, self._count, self._seed = size, split, count, seed
        self.files: tuple[Path, ...] = ()  # no files: the cache depends on the code and the request alone

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        """Renders an image uint8 (3,S,S) with its labels; masks are read by finding."""
        scene, lesions = self._scene(index)
        image = scene.render([one for some in lesions for one in some])
        fov = None if scene.fov is None else torch.from_numpy(scene.fov)
        return Sample(image, self.labels(index), None, self.id_rows[index], self.group_rows[index], fov)

    @cached_property
    def id_rows(self) -> list[str]:
        """Names of all images."""
        return [f"{NAME}-{self._split}-{index:05d}" for index in range(self._count)]

    @cached_property
    def group_rows(self) -> list[str]:
        """Patients of all images."""
        return [f"{NAME}-{self._split}-patient-{index // 2:05d}" for index in range(self._count)]

    @cached_property
    def label_rows(self) -> list[tuple[int, ...]]:
        """Labels of all images."""
        return [self.labels(index) for index in range(self._count)]

    def labels(self, index: int) -> tuple[int, ...]:
        """Returns 1, 0 or -1 per finding; only labels of training images can be unknown (-1)."""
        hidden = self._stream(index, "unknown").random(len(FINDINGS)) < UNKNOWN * (self._split == "train")
        return tuple(-1 if is_hidden else value for value, is_hidden in zip(self.truth(index), hidden, strict=True))

    def truth(self, index: int) -> tuple[int, ...]:
        """Returns 1 or 0 per finding, whether or not its label is known."""
        block, place = divmod(index, _BLOCK)
        code = int(self._stream("labels", block).permutation(_BLOCK)[place])
        return tuple(code >> at & 1 for at in range(len(FINDINGS)))

    def finding_regions(self, index: int, finding: int, image: Tensor) -> Regions:
        """Returns the exact mask of a finding; no pixel is undecided."""
        return self.finding_mask(index, finding), None

    def finding_mask(self, index: int, finding: int) -> Tensor:
        """Returns the exact mask (S,S) bool of a finding; empty if it is absent."""
        masks = [lesion.mask(self.size) for lesion in self._scene(index)[1][finding]]
        return torch.from_numpy(np.any([np.zeros((self.size, self.size), dtype=bool), *masks], axis=0))

    def lesion_masks(self, index: int, finding: int) -> list[Tensor]:
        """Returns the exact mask (S,S) bool of each lesion of a finding."""
        return [torch.from_numpy(lesion.mask(self.size)) for lesion in self._scene(index)[1][finding]]

    def without(self, index: int, finding: int, lesion: int | None = None) -> Tensor:
        """Renders the same scene (3,S,S) without a finding, or without one of its lesions; the others remain."""
        scene, lesions = self._scene(index)
        if lesion is None:
            lesions[finding] = []
        else:
            del lesions[finding][lesion]
        return scene.render([one for some in lesions for one in some])

    def _stream(self, *names: object) -> Rng:
        return np.random.default_rng(seed_of(self._seed, NAME, self._split, *names))

    def _scene(self, index: int) -> tuple[Scene, list[list[Patch]]]:
        """Draws the scene and the lesions of each finding; a finding changes nothing else."""
        if not 0 <= index < self._count:
            raise IndexError(index)

        def rng(name: str) -> Rng:
            return self._stream(index, name)

        chest = Chest.random(rng("chest"))
        air = chest.lungs(*grid(self.size))
        surface = film(rng("film"), chest, air, self.size)
        for distractor in distractors(rng("distractors"), chest, air, surface, self.size):
            distractor.onto(surface)
        field: Mask = margins(rng("field"), self.size, _MARGIN)
        drawn = (
            opacities(rng("consolidation"), chest, air, surface, self.size),
            nodules(rng("nodule"), chest, self.size),
            effusions(rng("effusion"), chest, self.size),
        )
        lesions = [
            [one.within(field) for one in some] if is_present else []
            for some, is_present in zip(drawn, self.truth(index), strict=True)
        ]
        return Scene(surface, [], camera(rng("camera"), field, self.size), field), lesions


class PhantomPairs(FindingPairs):
    """Pairs of a phantom, with the ground truth that studies ask for: a pair's lesions are those of its finding."""

    images: FindingsPhantom

    def counterfactual(self, index: int, lesion: int | None = None) -> Tensor:
        """Renders the image (3,S,S) without the finding of a pair, or without one of its lesions."""
        place, finding = self.pairs[index]
        if finding == NO_FINDING:
            return self.images[place].image
        return self.images.without(place, finding, lesion)

    def lesions(self, index: int) -> list[Tensor]:
        """Returns the exact mask (S,S) bool of each lesion of the finding of a pair."""
        place, finding = self.pairs[index]
        return [] if finding == NO_FINDING else self.images.lesion_masks(place, finding)

    def exact_mask(self, index: int) -> Tensor:
        """Returns the exact mask (S,S) bool of the finding of a pair."""
        place, finding = self.pairs[index]
        if finding == NO_FINDING:
            return torch.zeros(self.images.size, self.images.size, dtype=torch.bool)
        return self.images.finding_mask(place, finding)


@dataset(
    NAME, "cxr", FINDINGS, masks="pixel", source="generated", licence="MIT (generated)", citation=CITATION,
    healthy=None, explain_split=SPLIT, in_all=False, multilabel=True,
)  # fmt: skip
def build(
    root: Path, split: str, size: int = 128, count: int | None = None, seed: int = 0
) -> FindingsPhantom | PhantomPairs:
    """Builds a split, or the pairs of its test images; it reads nothing from ``root``."""
    of = "test" if split == SPLIT else split
    images = FindingsPhantom(of, size, COUNTS.get(of, 1) if count is None else count, seed)
    return PhantomPairs(images) if split == SPLIT else images
