"""Bootstrap samples of groups, drawn once and used block by block, so that memory does not grow with the samples.

Values are summed per group first; a sample then is a product of the counts of the groups with these sums.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bench.seeds import seed_of

Floats = NDArray[np.float64]
Names = NDArray[np.object_] | pd.Series
RESAMPLES = 1000
#: Counts in a block, and bytes of counts that stay in memory; more of them wait in a temporary file.
BLOCK, KEPT = 4_000_000, 2**27
_FEWEST_KEPT = 2  # draws that are kept whatever their size


def names_of(groups: Names) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """Returns the names (G,) of the groups in order, and the group (N,) of each image."""
    code, found = pd.factorize(np.asarray(groups, dtype=object), use_na_sentinel=False)  # faster than to sort all names
    names, place = np.unique(np.asarray(found, dtype=str), return_inverse=True)
    return names, place[code]


class _Draws:
    """Counts of G groups in B bootstrap samples, in blocks of samples."""

    def __init__(self, names: tuple[str, ...], resamples: int) -> None:
        generator, count = np.random.default_rng(seed_of("bootstrap", *names)), len(names)
        share, step = np.full(count, 1 / count), max(1, BLOCK // count)
        self._blocks: list[NDArray[np.unsignedinteger[Any]]] = []
        self.size = count * resamples
        self._file: IO[bytes] | None = None if self.size <= KEPT else TemporaryFile()  # noqa: SIM115
        if self._file is not None:
            weakref.finalize(self, self._file.close)
        self._number = 0
        for start in range(0, resamples, step):  # blocks continue one stream: the draws do not depend on their size
            drawn = generator.multinomial(count, share, size=min(step, resamples - start))
            counts: NDArray[np.unsignedinteger[Any]] = drawn.astype(np.min_scalar_type(drawn.max()))
            self._number += 1
            if self._file is None:
                self._blocks.append(counts)
            else:
                np.save(self._file, counts)

    def __iter__(self) -> Iterator[Floats]:
        if self._file is None:
            yield from (block.astype(float) for block in self._blocks)
            return
        self._file.seek(0, io.SEEK_SET)
        for _ in range(self._number):
            yield np.load(self._file).astype(float)


_KNOWN: dict[tuple[tuple[str, ...], int], _Draws] = {}  # the last used comes last


def _draws(names: tuple[str, ...], resamples: int) -> _Draws:
    """Returns the draws of these groups, which are kept as long as they and later ones fit into memory."""
    key = names, resamples
    found = _KNOWN[key] = _KNOWN.pop(key) if key in _KNOWN else _Draws(names, resamples)
    while len(_KNOWN) > _FEWEST_KEPT and sum(one.size for one in _KNOWN.values()) > KEPT:
        del _KNOWN[next(iter(_KNOWN))]
    return found


def replicates(names: NDArray[np.str_], resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yields blocks (b,G) of the count of each group in bootstrap samples, in which whole groups are drawn.

    Args:
        names: (G,) of the groups, sorted; they seed the draw, so that all scores of the same images share it.
        resamples: number of samples.
    """
    yield from _draws(tuple(names.tolist()), resamples)


def image_replicates(groups: Names, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yields blocks (b,N) of the count of each image in the samples of ``replicates``, by the group (N,) of each.

    For quantities that no sums over groups give, such as ranks; others are computed from ``group_sums``.
    """
    names, member = names_of(groups)
    for block in replicates(names, resamples):
        yield block[:, member]


def group_sums(values: Floats, member: NDArray[np.intp], count: int) -> tuple[Floats, Floats]:
    """Sums the defined values (N,M) per group, and counts them: both (G,M)."""
    defined = np.isfinite(values)
    images = np.arange(len(member))
    belongs = sparse.csr_array((np.ones(len(member)), (member, images)), shape=(count, len(member)))
    return belongs @ np.where(defined, values, 0), belongs @ defined.astype(float)


def resampled_means(values: Floats, groups: Names, resamples: int = RESAMPLES) -> Floats:
    """Computes the means (B,M) of the defined values (N,M) of images in bootstrap samples of their groups."""
    names, member = names_of(groups)
    return resampled_ratios(*group_sums(values, member, len(names)), names, resamples)


def resampled_ratios(over: Floats, under: Floats, names: NDArray[np.str_], resamples: int = RESAMPLES) -> Floats:
    """Divides the sums of numerators (G,M) by those of denominators (G,M), at least 0, in bootstrap samples: (B,M)."""
    if under.shape[1] > 1 and (under == under[:, :1]).all():
        under = under[:, :1]
    parts = []
    for block in replicates(names, resamples):
        total, weight = block @ over, block @ under
        found = np.full(total.shape, np.nan)
        parts.append(np.divide(total, weight, out=found, where=np.broadcast_to(weight > 0, total.shape)))
    return np.concatenate(parts)
