"""Pool of all images of a data set, and the training, validation and test images of each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bench.config import Config
from bench.contracts import DatasetInfo, Sample, Samples
from bench.data.checks import check_splits
from bench.data.folds.rows import Integers, Rows
from bench.data.leaks.check import check_images
from bench.data.leaks.search import Pairs
from bench.data.loading import Request, Tell, build_samples, decode_all
from bench.data.selection import Selection
from bench.data.split import Split
from bench.data.splitting import fold_split, split_off_validation
from bench.errors import UserError
from bench.seeds import seed_of
from bench.store.code_digest import digest


@dataclass(frozen=True)
class Pool:
    """All images of a data set, and the fold that tests each.

    Attributes:
        info: the registered facts.
        split: the images in the order of the data set's own splits; its groups join those that share a copy.
        samples: the samples that the builder returned for them.
        fold: (N,) from 1.
        seed: of folds and validation images.
    """

    info: DatasetInfo
    split: Split
    samples: PooledSamples
    fold: Integers
    seed: int

    def places(self, fold: int) -> dict[str, Integers]:
        """Returns split -> places (n,) of its images; the validation images are some of the training folds'."""
        test, rest = np.flatnonzero(self.fold == fold), np.flatnonzero(self.fold != fold)
        groups = [self.split.groups[at] for at in rest]
        parts = np.array(split_off_validation(self.split.labels[rest].tolist(), groups, seed_of(self.seed, fold)))
        return {"train": rest[parts == "train"], "val": rest[parts == "val"], "test": test}

    def splits(self, fold: int) -> dict[str, Split]:
        """Returns the training, validation and test images of a fold.

        Raises:
            UserError: one of them has no image, or images of one class only.
        """
        found = {name: taken(self.split, at, name) for name, at in self.places(fold).items()}
        try:
            check_splits(self.info, found)
        except UserError as error:
            raise UserError(f"fold {fold}: {error}; use fewer folds") from error
        return found

    def joined(self, selections: Sequence[Selection]) -> tuple[Selection, list[tuple[int, ...]]]:
        """Joins the explained images of all folds.

        Args:
            selections: those of each fold.

        Returns:
            The explained images of the pool, and the positions of those of each fold among them.
        """
        kinds = [(one.diseased, np.arange(len(one.indices)) < one.faithful) for one in selections]
        order = np.concatenate([2 * ~diseased + ~occluded for diseased, occluded in kinds]).argsort(kind="stable")
        indices = [self.places(fold)["test"][one.indices] for fold, one in enumerate(selections, start=1)]
        diseased = np.concatenate([one.diseased for one in selections])[order]
        faithful = sum(one.faithful for one in selections)
        places = np.split(order.argsort(), np.cumsum([len(one.indices) for one in selections])[:-1])
        return Selection(np.concatenate(indices)[order], diseased, faithful), [tuple(one.tolist()) for one in places]


def fold_numbers(folds: int | None) -> list[int | None]:
    """Returns the number of each fold; None as the only one without cross-validation."""
    return [None] if folds is None else list(range(1, folds + 1))


def require_folds(name: str, info: DatasetInfo, config: Config) -> None:
    """Refuses a cross-validation that a data set or the settings leave no room for.

    Raises:
        UserError: what stands against it.
    """
    if not (folds := config.data.folds):
        return
    config.explain.part(1, folds)
    why = ""
    if info.explain_split not in info.splits:
        why = f"its explained images are in a split of their own ({info.explain_split!r})"
    elif config.data.shortcut:
        why = "a planted shortcut needs test images of its own"
    if why:
        raise UserError(f"data set {name!r}: data.folds does not apply, because {why}; remove it for this data set")


def load_pool(
    info: DatasetInfo, request: Request, folds: int, cache: Path, tell: Tell | None = None, doubt: Tell | None = None
) -> Pool:
    """Decodes, checks and pools the splits of a data set; arguments as of ``load_splits``.

    Raises:
        UserError: missing or bad files, an image in two splits, or a class with fewer groups than folds.
    """
    built = {name: build_samples(info, request, name) for name in info.splits}
    splits = decode_all(info, request, built, cache, tell)
    _require_distinct(info, splits)
    pairs = check_images(info, built, splits, cache / "looks", bool(request.mask_values), True, doubt)
    split = pooled(splits, pairs)
    _require_groups(info, split, folds)
    fold = np.array(fold_split(split.labels.tolist(), split.groups, folds, request.seed))
    return Pool(info, split, PooledSamples.all_of(list(built.values())), fold, request.seed)


def _require_distinct(info: DatasetInfo, splits: Mapping[str, Split]) -> None:
    """Refuses one name for two images."""
    seen: dict[str, str] = {}
    for name, split in splits.items():
        for id_ in split.ids:
            if id_ in seen:
                raise UserError(f"data set {info.name}: {id_} is in both {seen[id_]!r} and {name!r}; keep it in one")
            seen[id_] = name


def _require_groups(info: DatasetInfo, split: Split, folds: int) -> None:
    """Refuses a class that could not be in every fold."""
    for label, name in enumerate(split.classes):
        count = len({split.groups[at] for at in np.flatnonzero(split.labels == label)})
        if count < folds:
            raise UserError(
                f"data set {info.name}: class {name!r} has {count} groups of images, too few for {folds} folds; use "
                f"data.folds = {max(count, 2)} or less"
            )


def pooled(splits: Mapping[str, Split], pairs: Pairs) -> Split:
    """Joins splits.

    Args:
        splits: split by name.
        pairs: copies among their images, numbered through the splits in their order; each joins two groups.
    """
    parts = list(splits.values())
    side, groups = parts[0].images.shape[2:], [group for part in parts for group in part.groups]
    joined = joined_groups(groups, pairs)
    regions: dict[str, Any] = {
        name: Rows.all_of([_region(part, name, side, blank) for part in parts])
        for name, blank in (("masks", False), ("fov", True), ("ignored", False))
        if any(getattr(part, name) is not None for part in parts)
    }
    images: Any = Rows.all_of([part.images for part in parts])
    return Split(
        name="test",
        images=images,
        labels=np.concatenate([part.labels for part in parts]),
        masks=regions.get("masks"),
        has_mask=np.concatenate([part.has_mask for part in parts]),
        fov=regions.get("fov"),
        ignored=regions.get("ignored"),
        ids=tuple(id_ for part in parts for id_ in part.ids),
        groups=joined,
        classes=parts[0].classes,
        excluded=tuple(one for part in parts for one in part.excluded),
        digest=digest("pool", [part.digest for part in parts], joined),
    )


def _region(split: Split, name: str, side: tuple[int, ...], blank: bool) -> Any:
    """Returns (N,H,W), also of a split that has no such region."""
    region = getattr(split, name)
    return np.broadcast_to(np.array(blank), (len(split), *side)) if region is None else region


def joined_groups(groups: Sequence[str], pairs: Pairs) -> tuple[str, ...]:
    """Joins groups that share a copy: each then has the first of their names."""
    names, member = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    ends = member[pairs.first], member[pairs.second]
    edges = coo_matrix((np.ones(len(pairs.first)), ends), shape=(len(names), len(names)))
    part = connected_components(edges, directed=False)[1]
    first = np.unique(part, return_index=True)[1]
    return tuple(names[first[part[member]]].tolist())


def taken(split: Split, at: Integers, name: str) -> Split:
    """Returns the images of a pool at these places (n,), of which nothing is read."""

    def rows(array: Any) -> Any:
        return None if array is None else array.take(at)

    return Split(
        name=name,
        images=rows(split.images),
        labels=split.labels[at],
        masks=rows(split.masks),
        has_mask=split.has_mask[at],
        fov=rows(split.fov),
        ignored=rows(split.ignored),
        ids=tuple(split.ids[one] for one in at),
        groups=tuple(split.groups[one] for one in at),
        classes=split.classes,
        excluded=(),
        digest=digest(split.digest, at.tolist()),
    )


@dataclass(frozen=True)
class PooledSamples:
    """Samples of several splits as one sequence.

    What all of them offer on a sample by its index (``bench.contracts.Samples``), such as ``counterfactual``, this one
    offers too.

    Attributes:
        parts: the samples of each split.
        places: part and index in it, by index.
    """

    parts: tuple[Sequence[Sample] | Samples, ...]
    places: tuple[tuple[int, int], ...]

    @classmethod
    def all_of(cls, parts: Sequence[Sequence[Sample] | Samples]) -> PooledSamples:
        """Returns all samples, in their order."""
        places = [(number, index) for number, part in enumerate(parts) for index in range(len(part))]
        return cls(tuple(parts), tuple(places))

    def take(self, at: NDArray[np.int64]) -> PooledSamples:
        """Returns the samples at these places (n,)."""
        return PooledSamples(self.parts, tuple(self.places[one] for one in at))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        part, place = self.places[index]
        return self.parts[part][place]

    @property
    def targets(self) -> dict[str, int]:
        """Image -> class that its map explains in the place of the usual one."""
        return {id_: one for part in self.parts for id_, one in getattr(part, "targets", {}).items()}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Returns a method of all parts that takes the index of a sample first."""
        if name.startswith("_") or not all(callable(getattr(part, name, None)) for part in self.parts):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, index: int, *arguments: Any, **named: Any) -> Any:
        part, place = self.places[index]
        return getattr(self.parts[part], name)(place, *arguments, **named)
