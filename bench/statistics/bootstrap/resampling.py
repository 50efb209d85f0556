"""Bootstrap samples of groups, drawn once and used block by block, so that memory does not grow with the samples.

Values are summed per group first; a sample then is a product of the counts of the groups with these sums.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bench.seeds import seed_of_parts
from bench.statistics.bootstrap.names import AnyNames, Names

Floats = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger[Any]]
RESAMPLES = 1000
#: Counts in a block, and bytes of counts that stay in memory; more of them wait in temporary files.
BLOCK, KEPT = 2_000_000, 2**25
_ON_DISK = 2**31  # bytes in all temporary files
_AT_ONCE = 2**16  # names that are text at once
_IN_CACHE = 2**13  # groups whose counts are multiplied at once
_IMAGES = 2**19  # counts of images in a block
_FEWEST_KEPT = 2  # draws that are kept whatever their size


@dataclass(frozen=True)
class Clusters:
    """Groups that are resampled: their number G, and the seed of the draw, a hash of their names."""

    number: int
    seed: int


def clusters_of(groups: AnyNames) -> tuple[Clusters, NDArray[np.integer[Any]]]:
    """Returns the groups that occur, and that of each image (N,), numbered in the order of their names."""
    found = Names.of(groups)
    if found.known.inferred_type not in ("string", "empty"):
        found = Names.of(found.to_numpy().astype(str))
    count = len(found.known)
    parts = (found.known[start : start + _AT_ONCE].tolist() for start in range(0, count, _AT_ONCE))
    return Clusters(count, seed_of_parts(chain([["bootstrap"]], parts))), found.place


class _Draws:
    """Counts of G groups in B bootstrap samples, in blocks of samples."""

    def __init__(self, clusters: Clusters, resamples: int) -> None:
        generator, count = np.random.default_rng(clusters.seed), clusters.number
        share, step = np.full(count, 1 / count), max(1, BLOCK // count)
        self._blocks: list[Counts] = []
        self.size = count * resamples
        self._file: IO[bytes] | None = None if self.size <= KEPT else TemporaryFile()  # noqa: SIM115
        if self._file is not None:
            weakref.finalize(self, self._file.close)
        self._number = 0
        for start in range(0, resamples, step):  # blocks continue one stream: the draws do not depend on their size
            drawn = generator.multinomial(count, share, size=min(step, resamples - start))
            counts: Counts = drawn.astype(np.min_scalar_type(drawn.max()))
            self._number += 1
            if self._file is None:
                self._blocks.append(counts)
            else:
                np.save(self._file, counts)

    @property
    def on_disk(self) -> bool:
        """Whether the counts wait in a temporary file."""
        return self._file is not None

    def __iter__(self) -> Iterator[Counts]:
        if self._file is None:
            yield from self._blocks
            return
        self._file.seek(0, io.SEEK_SET)
        for _ in range(self._number):
            yield np.load(self._file)


_KNOWN: dict[tuple[Clusters, int], _Draws] = {}  # the last used comes last


def _draws(clusters: Clusters, resamples: int) -> _Draws:
    """Returns the draws of these groups, which are kept as long as they and later ones fit into memory, or on disk."""
    key = clusters, resamples
    found = _KNOWN[key] = _KNOWN.pop(key) if key in _KNOWN else _Draws(clusters, resamples)
    for on_disk, most in ((False, KEPT), (True, _ON_DISK)):
        alike = [one for one, draws in _KNOWN.items() if draws.on_disk is on_disk]
        while len(alike) > _FEWEST_KEPT and sum(_KNOWN[one].size for one in alike) > most:
            del _KNOWN[alike.pop(0)]
    return found


def replicates(clusters: Clusters, resamples: int = RESAMPLES) -> Iterator[Counts]:
    """Yields blocks (b,G) of the count of each group in bootstrap samples, in which whole groups are drawn.

    Args:
        clusters: the G groups; their names seed the draw, so that all scores of the same images share it.
        resamples: number of samples.
    """
    yield from _draws(clusters, resamples)


def image_replicates(groups: AnyNames, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yields blocks (b,N) of the count of each image in the samples of ``replicates``, by the group (N,) of each.

    For quantities that no sums over groups give, such as ranks; others are computed from ``group_sums``.
    """
    clusters, member = clusters_of(groups)
    most = max(1, _IMAGES // max(1, len(member)))
    for block in replicates(clusters, resamples):
        for start in range(0, len(block), most):
            yield block[start : start + most, member].astype(float)


def weighted_sums(counts: Counts | Floats, values: Floats) -> Floats:
    """Multiplies counts (b,G) by values (G,M), some groups after the other: (b,M).

    Counts take a byte; as numbers of eight bytes they stay in the cache of the processor if there are few.
    """
    total: Floats = np.zeros((len(counts), values.shape[1]))
    for start in range(0, len(values), _IN_CACHE):
        some = slice(start, start + _IN_CACHE)
        total += counts[:, some].astype(float) @ values[some]
    return total


def group_sums(values: Floats, member: NDArray[np.integer[Any]], count: int) -> tuple[Floats, Floats]:
    """Sums the defined values (N,M) per group, and counts them: both (G,M)."""
    defined, images = np.isfinite(values), len(member)
    if images == count and (member == np.arange(images)).all():  # each image is a group, in order
        return np.where(defined, values, 0), defined.astype(float)
    belongs = sparse.csc_array((np.ones(images), member, np.arange(images + 1, dtype=np.int32)), shape=(count, images))
    return belongs @ np.where(defined, values, 0), belongs @ defined.astype(float)


def resampled_means(values: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> Floats:
    """Computes the means (B,M) of the defined values (N,M) of images in bootstrap samples of their groups."""
    clusters, member = clusters_of(groups)
    return resampled_ratios(*group_sums(values, member, clusters.number), clusters, resamples)


def resampled_sums(values: Floats, clusters: Clusters, resamples: int = RESAMPLES) -> Floats:
    """Sums values of groups (G,M) over bootstrap samples: (B,M)."""
    return np.concatenate([weighted_sums(block, values) for block in replicates(clusters, resamples)])


def resampled_ratios(over: Floats, under: Floats, clusters: Clusters, resamples: int = RESAMPLES) -> Floats:
    """Divides the sums of numerators (G,M) by those of denominators (G,M), at least 0, in bootstrap samples: (B,M)."""
    if under.shape[1] > 1 and (under == under[:, :1]).all():
        under = under[:, :1]
    sums = resampled_sums(np.concatenate([over, under], axis=1), clusters, resamples)
    total, weight = np.split(sums, [over.shape[1]], axis=1)
    ratios: Floats = np.full(total.shape, np.nan)
    return np.divide(total, weight, out=ratios, where=np.broadcast_to(weight > 0, total.shape))
