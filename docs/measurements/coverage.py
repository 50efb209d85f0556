"""Coverage of the intervals and error rate of the tests in bench/statistics/comparison.py, by simulation.

Prints the tables of docs/statistics.md:

    python docs/measurements/coverage.py              # a few minutes on one core
    python docs/measurements/coverage.py RUN          # also resamples the AUDC differences of a finished run
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.bootstrap_t import half_width
from bench.statistics.comparison import ALPHA, mean_differences
from bench.statistics.decisions import holm
from bench.statistics.intervals import Floats
from bench.statistics.sign_flip import sign_flip_tests

#: Images that a stored pair of maps must have.
LEAST_IMAGES = 16


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


def stored_coverage(run: Path, groups: int, studies: int = 2000) -> float:
    """Coverage of intervals of AUDC differences resampled from a finished run, one pair of maps per study.

    Each study draws images of one pair of black-box maps with replacement; the mean of the pair is the truth.
    """
    rows = pd.concat([pd.read_parquet(file).assign(cell=str(file.parent), map=file.stem) for file in _score_files(run)])
    rows = rows[(rows["metric"] == "audc") & (rows["step"] < 0)]
    pairs = []
    for _, part in rows.groupby(["cell", "variant"]):
        wide = part.pivot(index="image", columns="map", values="value").dropna(axis=1).to_numpy(dtype=float)
        pairs += [wide[:, one] - wide[:, other] for one in range(wide.shape[1]) for other in range(one)]
    known = [pair for pair in pairs if pair.std() > 1e-6 and len(pair) >= LEAST_IMAGES]
    generator = np.random.default_rng(0)
    chosen = [known[place] for place in generator.integers(len(known), size=studies)]
    drawn = np.stack([generator.choice(pair, groups) - pair.mean() for pair in chosen], axis=1)
    found = mean_differences(drawn[None], np.arange(groups).astype(str).astype(object))
    return float(((found["low"] <= 0) & (found["high"] >= 0)).mean())


def _score_files(run: Path) -> list[Path]:
    return sorted(run.glob("cells/*-phantom/*-blackbox-*/scores/*.parquet"))


def choice_coverage(groups: int, rivals: int, studies: int = 400) -> tuple[float, float]:
    """Coverage of the difference from the best of equal rivals, when it is chosen by the same data.

    Returns:
        of the interval that ignores the choice, and of the one that covers it (``joint``).
    """
    generator, names = np.random.default_rng(0), np.arange(groups).astype(str).astype(object)
    covered = np.zeros(2)
    for _ in range(studies):
        ours = generator.normal(size=(groups, 1))
        rows = mean_differences((ours - generator.normal(size=(groups, rivals)))[None], names, 500)
        gain, best = rows["difference"].to_numpy(), rows["difference"].argmin()
        alone, joint = half_width(rows), half_width(rows, joint=True)
        covered += [abs(gain[best]) <= alone[best], (gain - joint).min() <= 0 <= (gain + joint).min()]
    return float(covered[0] / studies), float(covered[1] / studies)


def main() -> None:
    """Prints one Markdown row per number of seeds, groups and images, with the lowest and highest coverage."""
    rows: dict[tuple[int, int, int, bool], list[float]] = {}
    for number, study in enumerate(grid()):
        key = (study.seeds, study.groups, study.images, bool(study.skewed))
        rows.setdefault(key, []).append(coverage(study, 1000, seed=number))
    print("| seeds | groups | images per group | differences | settings | lowest coverage | highest coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (seeds, groups, images, skewed), found in rows.items():
        kind = "skewed" if skewed else "normal"
        print(f"| {seeds} | {groups} | {images} | {kind} | {len(found)} | {min(found):.1%} | {max(found):.1%} |")
    print(f"\nHolm, 1,000 families of 20 comparisons on 30 groups: {family_error(1000, 20, 30):.1%} with an error")
    for groups, rivals in product((16, 32), (3, 12)):
        alone, joint = choice_coverage(groups, rivals)
        print(
            f"Best of {rivals}, {groups} groups: covered in {alone:.1%} if the choice is ignored, in {joint:.1%} if not"
        )
    for groups in (10, 16, 32) if len(sys.argv) > 1 else ():
        print(f"Stored AUDC differences, {groups} groups: covered in {stored_coverage(Path(sys.argv[1]), groups):.1%}")
    for groups, steps in product((10, 16, 32, 60, 61, 100), (1, 3, 12, 10**6)):
        print(f"One test, {groups} groups, steps of 1/{steps}: p < 0.05 in {error_rate(groups, steps):.1%}")


if __name__ == "__main__":
    main()
