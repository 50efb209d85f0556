"""Loading of data sets: calls a builder and decodes its samples into the cache, so that later runs read arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bench.contracts import DatasetInfo, Sample, Samples
from bench.data.cache import identity_of, open_sound, open_split, store
from bench.data.checks import BadFiles, check_leaks, check_splits, checked
from bench.data.leaks.check import check_images
from bench.data.readers.faults import Fault
from bench.data.readers.images import BadFile, resized
from bench.data.split import Split
from bench.data.splitting import subsample
from bench.data.threads import in_order, usable_threads
from bench.data.writer import SplitWriter
from bench.errors import MissingData, UserError
from bench.store.folders import file_name

Tell = Callable[[str], None]
_TELL_EVERY = 20


@dataclass(frozen=True)
class Request:
    """Request to a data set.

    Attributes:
        root: folder in which files are looked for.
        size: input side in pixels.
        seed: seed of generated data sets, subsamples and splits.
        counts: split -> number of images; a split that is not named is taken whole.
        skip_bad: leave bad files out (``Split.excluded``) instead of refusing them.
        splits: folder of the CSV files that assign images to splits; None = the seed assigns them.
        shortcut: the planted shortcut, as ``bench.specs.parse_shortcut`` reads it; empty = none.
        mask_values: meaning of the values of mask files, as ``bench.specs.parse_mask_values`` reads it; empty = the
            common codings.
        window: stored values that become black and white in files of more than 8 bits; None = their full range.
        allow_duplicates: accept one picture in two splits.
    """

    root: Path
    size: int
    seed: int
    counts: Mapping[str, int | None] = field(default_factory=dict)
    skip_bad: bool = False
    splits: Path | None = None
    shortcut: str = ""
    mask_values: tuple[int | str, ...] = ()
    window: tuple[float, float] | None = None
    allow_duplicates: bool = False

    def of(self, split: str) -> dict[str, Any]:
        """Returns the arguments that a builder may ask for by name."""
        return {
            "size": self.size,
            "count": self.counts.get(split),
            "seed": self.seed,
            "skip_bad": self.skip_bad,
            "splits": self.splits,
            "shortcut": self.shortcut,
            "mask_values": self.mask_values,
            "window": self.window,
        }


def load_splits(
    info: DatasetInfo, request: Request, cache: Path, tell: Tell | None = None, doubt: Tell | None = None
) -> dict[str, Split]:
    """Loads and checks the training, validation, test and explained splits; all bad files are in one error.

    Args:
        info: the data set.
        request: which of its images to load, and how.
        cache: folder of decoded splits; may be deleted at any time.
        tell: called from time to time with a line about progress.
        doubt: called with a line per fact that may be a mistake of the user but does not stop the run.

    Returns:
        Split by name.

    Raises:
        UserError: as ``load_split``, ``check_leaks`` and ``check_splits``.
    """
    built = {name: build_samples(info, request, name) for name in dict.fromkeys((*info.splits, info.explain_split))}
    check_leaks(info, {name: samples.groups for name, samples in built.items() if hasattr(samples, "groups")})
    splits = decode_all(info, request, built, cache, tell)
    check_splits(info, splits)
    looks = cache / "looks"
    check_images(info, built, splits, looks, bool(request.mask_values), request.allow_duplicates, doubt)
    return splits


def decode_all(
    info: DatasetInfo,
    request: Request,
    built: Mapping[str, Sequence[Sample] | Samples],
    cache: Path,
    tell: Tell | None = None,
) -> dict[str, Split]:
    """Decodes splits that are built; all bad files are in one error."""
    splits: dict[str, Split] = {}
    bad: list[Fault] = []
    for name, samples in built.items():
        try:
            splits[name] = _load(info, request, name, samples, cache, tell)
        except BadFiles as error:
            bad += error.files
    if bad:
        raise BadFiles(info.name, bad)
    return splits


def load_split(info: DatasetInfo, request: Request, split: str, cache: Path, tell: Tell | None = None) -> Split:
    """Loads one split of square images of the requested size; see ``load_splits`` for the arguments.

    Raises:
        MissingData: the files of the data set are missing.
        BadFiles: there are bad files and ``skip_bad`` is off.
        UserError: the builder breaks the contract, or no image is left.
    """
    return _load(info, request, split, build_samples(info, request, split), cache, tell)


def _load(
    info: DatasetInfo,
    request: Request,
    split: str,
    samples: Sequence[Sample] | Samples,
    cache: Path,
    tell: Tell | None,
) -> Split:
    drawn = (request.counts.get(split), request.seed) if isinstance(samples, _Subsample) else ()
    given = arguments_of(info, request, split).items()
    identity = identity_of(info, samples, (request.root, split, request.size, *drawn, *chain.from_iterable(given)))
    parent = cache / file_name(info.name)
    loaded = open_sound(parent / f"{split}-{identity}", split) if identity else None
    if loaded is None:

        def decode(writer: SplitWriter) -> Iterator[Sample | Fault]:
            return _decoded(info, split, samples, writer, request.size, tell)

        loaded = open_split(store(parent, split, identity, classes_of(info, samples), decode), split)
    loaded = replace(loaded, excluded=(*excluded_of(samples), *loaded.excluded))
    if loaded.excluded and not request.skip_bad:
        raise BadFiles(info.name, loaded.excluded)
    if not len(loaded):
        raise UserError(f"data set {info.name}, split {split}: no usable image")
    return loaded


def _decoded(
    info: DatasetInfo,
    split: str,
    samples: Sequence[Sample] | Samples,
    writer: SplitWriter,
    size: int,
    tell: Tell | None,
) -> Iterator[Sample | Fault]:
    """Yields what the writer does not have yet, in order: valid samples at the wanted size, and faults of bad ones.

    Uses several threads if ``samples`` lists ``files``: a sample then depends on its index alone, and image decoders
    release Python's lock. Drawing in Python does not: two threads took half as long again as one.
    """
    fitted = "size" in inspect.signature(info.builder).parameters

    def decode(index: int) -> Sample:
        sample = read_sample(info, samples, index, f"data set {info.name}, split {split}, sample {index}")
        return sample if fitted else resized(sample, size)

    indices = range(writer.done, len(samples))
    threads = usable_threads() if len(getattr(samples, "files", ())) else 1
    with closing(in_order(decode, indices, threads)) as results:
        for index, result in zip(indices, results, strict=True):
            if tell and index % _TELL_EVERY == 0:
                tell(f"{info.name}: reading {split}, image {index + 1:,} of {len(samples):,}")
            try:
                sample = result()
            except BadFile as error:
                yield Fault(error.file, error.reason, error.kind)
                continue
            where = f"data set {info.name}, split {split}, sample {index}"
            if sample.id in writer.ids:
                raise UserError(f"{where}: the id {sample.id!r} is taken by an earlier sample")
            yield _require_size(sample, where, size, writer.side) if fitted else sample


def classes_of(info: DatasetInfo, samples: Sequence[Sample] | Samples) -> tuple[str, ...]:
    """Returns the C class names."""
    return tuple(getattr(samples, "classes", info.classes))


def excluded_of(samples: Sequence[Sample] | Samples) -> list[Fault]:
    """Returns the files that the builder has left out."""
    return [Fault(str(file), *reason) for file, *reason in getattr(samples, "excluded", ())]


def read_sample(info: DatasetInfo, samples: Sequence[Sample] | Samples, index: int, where: str) -> Sample:
    """Reads a sample from its builder and checks it; ``where`` begins the error line.

    Raises:
        BadFile: one of its files cannot be used.
        UserError: the sample breaks the contract of ``Sample``, or the builder fails.
    """
    try:
        sample = samples[index]
    except UserError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error
    return checked(sample, where, info, classes_of(info, samples))


def _require_size(sample: Sample, where: str, size: int, side: int) -> Sample:
    """Raises UserError unless the image is a square of ``size`` pixels or a whole multiple of it (mosaics).

    ``side`` is the side of the earlier samples, 0 for the first one.
    """
    height, width = sample.image.shape[1:]
    if height != width or height % size or side not in (0, height):
        before = f" after images of {side}×{side}" if side else ""
        raise UserError(f"{where}: size {size} was requested, the image is {height}×{width}{before}")
    return sample


def build_samples(info: DatasetInfo, request: Request, split: str) -> Sequence[Sample] | Samples:
    """Calls the builder with the arguments that its signature asks for; subsamples if it takes no ``count``.

    Raises:
        MissingData: the files of the data set are missing.
        UserError: the builder fails, for example because it has no such split.
    """
    missing = info.missing(request.root)
    if missing:
        raise MissingData(f"data set {info.name}: {missing}")
    given = arguments_of(info, request, split)
    count = request.counts.get(split)
    try:
        samples = info.builder(request.root, split, **given)
        if "count" in given or count is None or count >= len(samples):
            return samples
        return _Subsample(samples, count, request.seed)
    except UserError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise UserError(f"data set {info.name}, split {split}: {type(error).__name__}: {error}") from error


def arguments_of(info: DatasetInfo, request: Request, split: str) -> dict[str, Any]:
    """Returns the arguments that the builder's signature asks for by name."""
    asked = inspect.signature(info.builder).parameters
    return {name: value for name, value in request.of(split).items() if name in asked}


class _Subsample:
    """Subsample of a builder that takes no ``count``; every sample is read once, because its class must be known."""

    def __init__(self, samples: Sequence[Sample] | Samples, count: int, seed: int) -> None:
        self.samples = samples
        self.groups: dict[str, str] = {}
        good: list[tuple[int, Any, str]] = []
        bad: list[int] = []  # kept, so that they are reported like other bad files
        for index in range(len(samples)):
            try:
                sample = samples[index]
                good.append((index, sample.label, sample.id))
                self.groups[sample.id] = sample.group
            except BadFile:
                bad.append(index)
        chosen = subsample([label for _, label, _ in good], [id_ for _, _, id_ in good], count, seed)
        self.indices = sorted([good[place][0] for place in chosen] + bad)
        for name in ("classes", "excluded", "files"):
            if hasattr(samples, name):
                setattr(self, name, getattr(samples, name))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self.indices[index]]
