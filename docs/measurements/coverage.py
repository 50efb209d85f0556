"""Coverage of the intervals and error rate of the tests in bench/statistics/comparison.py, by simulation.

Prints the tables of docs/statistics.md:

    python docs/measurements/coverage.py          # a few minutes on one core
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.statistics.comparison import ALPHA, mean_differences
from bench.statistics.decisions import holm
from bench.statistics.intervals import Floats
from bench.statistics.sign_flip import sign_flip_tests


@dataclass(frozen=True)
class Study:
    """A simulated study whose true mean difference is 0, with standard deviations of its sources of variation.

    Attributes:
        seeds: number of seeds S.
        groups: number of groups G.
        images: number of images per group.
        group: standard deviation between groups.
        image: standard deviation between images of one group.
        seed: standard deviation between seeds.
        rest: standard deviation of each image with each seed.
        skewed: whether differences are exponential instead of normal.
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
        """Draws differences (S,N,M) of M studies, and the groups (N,) of their images."""
        member = np.repeat(np.arange(self.groups), self.images)

        def noise(*shape: int) -> Floats:
            return generator.exponential(size=shape) - 1 if self.skewed else generator.normal(size=shape)

        between = self.group * noise(1, self.groups, studies)[:, member] + self.image * noise(1, len(member), studies)
        of_seeds = self.seed * generator.normal(size=(self.seeds, 1, studies))
        differences = between + of_seeds + self.rest * noise(self.seeds, len(member), studies)
        return differences, member.astype(str).astype(object)


def grid() -> list[Study]:
    """Lists the studies of the table."""
    sizes = [(10, 1), (20, 3), (40, 1), (200, 1)]
    studies = [Study(1, *size, group, 0.5, skewed=skewed) for size, group, skewed in product(sizes, (0, 0.5), (0, 1))]
    for seeds, size, group, seed, rest in product((3, 5), sizes, (0, 0.5), (0, 0.1, 0.3), (0.2, 0.5)):
        studies.append(Study(seeds, *size, group, 0.5, seed, rest))
    return studies


def coverage(study: Study, studies: int, resamples: int = 1000, seed: int = 0) -> float:
    """Computes the fraction of the 95 % intervals that contain the true difference."""
    differences, groups = study.draw(np.random.default_rng(seed), studies)
    found = mean_differences(differences, groups, resamples)
    return float(((found["low"] <= 0) & (found["high"] >= 0)).mean())


def family_error(families: int, comparisons: int, groups: int, seed: int = 0) -> float:
    """Computes the fraction of families of comparisons without difference in which Holm rejects at least one."""
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(families):
        ours = generator.normal(size=(groups, 1))
        p, _ = sign_flip_tests(ours - generator.normal(size=(comparisons, groups)).T)
        wrong += bool((holm(p) < ALPHA).any())
    return wrong / families


def error_rate(groups: int, steps: int, studies: int = 20000) -> float:
    """Share of tests without any true difference whose p is below 0.05; differences are rounded to 1/steps and tie."""
    differences = np.random.default_rng(groups).normal(size=(groups, studies))
    return float((sign_flip_tests(np.round(differences * steps) / steps)[0] < ALPHA).mean())


def main() -> None:
    """Prints one Markdown row per number of seeds, groups and images, with the lowest and highest coverage."""
    rows: dict[tuple[int, int, int, bool], list[float]] = {}
    for number, study in enumerate(grid()):
        key = (study.seeds, study.groups, study.images, bool(study.skewed))
        rows.setdefault(key, []).append(coverage(study, 4000, seed=number))
    print("| seeds | groups | images per group | differences | settings | lowest coverage | highest coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (seeds, groups, images, skewed), found in rows.items():
        kind = "skewed" if skewed else "normal"
        print(f"| {seeds} | {groups} | {images} | {kind} | {len(found)} | {min(found):.1%} | {max(found):.1%} |")
    print(f"\nHolm, 1,000 families of 20 comparisons on 30 groups: {family_error(1000, 20, 30):.1%} with an error")
    for groups, steps in product((10, 16, 32, 60, 61, 100), (1, 3, 12, 10**6)):
        print(f"One test, {groups} groups, steps of 1/{steps}: p < 0.05 in {error_rate(groups, steps):.1%}")


if __name__ == "__main__":
    main()
