"""How often do the intervals and tests of bench/comparison.py keep their promise? Prints what docs/statistics.md shows.

python docs/measurements/coverage.py          # a few minutes on one core
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.statistics.comparison import ALPHA, holm, mean_differences, signed_rank

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """A simulated study whose true mean difference is 0, with standard deviations of its sources of variation.

    Attributes:
        seeds, groups, images: S, G and images of one group.
        group, image, seed, rest: standard deviation between groups, between images of one group, between seeds, and of
            each image with each seed.
        skewed: exponential instead of normal differences.
    """

    seeds: int
    groups: int
    images: int
    group: float
    image: float
    seed: float = 0.0
    rest: float = 0.0
    skewed: bool = False

    def draw(self, generator: np.random.Generator, studies: int) -> tuple[Floats, NDArray[np.object_]]:
        """Differences (S,N,M) of M studies and the groups (N,) of their images."""
        member = np.repeat(np.arange(self.groups), self.images)

        def noise(*shape: int) -> Floats:
            return generator.exponential(size=shape) - 1 if self.skewed else generator.normal(size=shape)

        between = self.group * noise(1, self.groups, studies)[:, member] + self.image * noise(1, len(member), studies)
        of_seeds = self.seed * generator.normal(size=(self.seeds, 1, studies))
        return between + of_seeds + self.rest * noise(self.seeds, len(member), studies), member.astype(str).astype(
            object
        )


def grid() -> list[Study]:
    """The studies of the table."""
    sizes = [(10, 1), (20, 3), (40, 1), (200, 1)]
    studies = [Study(1, *size, group, 0.5, skewed=skewed) for size, group, skewed in product(sizes, (0, 0.5), (0, 1))]
    for seeds, size, group, seed, rest in product((3, 5), sizes, (0, 0.5), (0, 0.1, 0.3), (0.2, 0.5)):
        studies.append(Study(seeds, *size, group, 0.5, seed, rest))
    return studies


def coverage(study: Study, studies: int, resamples: int = 1000, seed: int = 0) -> float:
    """Share of the 95 % intervals that hold the true difference."""
    differences, groups = study.draw(np.random.default_rng(seed), studies)
    found = mean_differences(differences, groups, resamples)
    return float(((found["low"] <= 0) & (found["high"] >= 0)).mean())


def family_error(families: int, comparisons: int, groups: int, seed: int = 0) -> float:
    """Share of families of correlated comparisons without any difference in which Holm lets at least one pass."""
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(families):
        ours = generator.normal(size=(groups, 1))
        p = [signed_rank(ours[:, 0] - theirs)[0] for theirs in generator.normal(size=(comparisons, groups))]
        wrong += bool((holm(np.array(p)) < ALPHA).any())
    return wrong / families


def main() -> None:
    """Print one Markdown row for each number of seeds, groups and images: lowest and highest coverage."""
    rows: dict[tuple[int, int, int, bool], list[float]] = {}
    for number, study in enumerate(grid()):
        key = (study.seeds, study.groups, study.images, bool(study.skewed))
        rows.setdefault(key, []).append(coverage(study, 4000, seed=number))
    print("| seeds | groups | images a group | differences | settings | lowest coverage | highest coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (seeds, groups, images, skewed), found in rows.items():
        kind = "skewed" if skewed else "normal"
        print(f"| {seeds} | {groups} | {images} | {kind} | {len(found)} | {min(found):.1%} | {max(found):.1%} |")
    print(f"\nHolm, 1,000 families of 20 comparisons on 30 groups: {family_error(1000, 20, 30):.1%} with an error")


if __name__ == "__main__":
    main()
