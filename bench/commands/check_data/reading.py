"""Reading of a whole data set: reads every file once and collects all faults, so that they are mended in one go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from bench.contracts import DatasetInfo, Sample, Samples
from bench.data.checks import split_faults
from bench.data.leaks.copies import copy_faults, copy_groups
from bench.data.leaks.looks import Thumbs, looks_of_thumbs, thumbnail
from bench.data.leaks.search import equal_images, find_copies
from bench.data.leaks.stored import is_generated
from bench.data.loading import Request, build_samples, classes_of, excluded_of, read_sample
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile, resized
from bench.data.readers.plausibility import has_two_values, judge
from bench.errors import MissingData, UserError
from bench.seeds import seed_of

SHOWN = 6  # samples per class and split that are kept for the page
PAIRS = 24


@dataclass
class ReadSplit:
    """Facts about the N usable images of a split; the images themselves are not kept.

    Attributes:
        classes: C names.
        ids, groups: N names each.
        has_mask: N values, True if the image was annotated.
        label_list: N indices into ``classes``, or N tuples of labels.
        thumbs: N thumbnails, by which copies are found.
        shares: lesion's share of each image, nan if it is not annotated.
        shown: class -> up to ``SHOWN`` samples for the page, images with lesions first, otherwise at random.
    """

    classes: tuple[str, ...]
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    has_mask: list[bool] = field(default_factory=list)
    label_list: list[int | tuple[int, ...]] = field(default_factory=list)
    thumbs: list[Thumbs] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    shown: dict[int, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) indices into ``classes``, or (N,C) with several labels per image."""
        return np.asarray(self.label_list, dtype=np.int64)

    def has(self, label: int) -> NDArray[np.bool_]:
        """Tells which of the N images have a label."""
        labels = self.labels
        return np.asarray(labels == label if labels.ndim == 1 else labels[:, label] == 1)

    def add(self, sample: Sample, size: int) -> None:
        """Keeps the facts of a sample and, if it is to be shown, its image at ``size`` pixels."""
        self.ids.append(sample.id)
        self.groups.append(sample.group)
        self.has_mask.append(sample.mask is not None)
        self.label_list.append(sample.label)
        self.shares.append(float("nan") if sample.mask is None else sample.mask.float().mean().item())
        self.thumbs.append(thumbnail(sample.image.numpy()))
        label = sample.label
        for one in [label] if isinstance(label, int) else [at for at, value in enumerate(label) if value == 1]:
            shown = sorted([*self.shown[one], sample], key=_turn)[:SHOWN]
            self.shown[one] = [resized(kept, size) if kept is sample else kept for kept in shown]


def _turn(sample: Sample) -> tuple[bool, int]:
    has_lesion = sample.mask is not None and bool(sample.mask.any())
    return not has_lesion, seed_of("check-data", sample.id)


@dataclass
class Reading:
    """Result of reading a data set.

    Attributes:
        splits: split by name.
        faults: all faults, without repetitions.
        left_out: reason -> number of images that no split uses.
        unchecked: checks that were impossible, and why.
        copies: (file, group) of every image that has a copy; a table of this kind can be used as splits.csv.
        pairs: names and thumbnails of the first ``PAIRS`` pairs of copies, for a picture.
        doubts: what may be wrong, but may also be right.
        generated: the images are drawn by a program, and not read from files.
    """

    splits: dict[str, ReadSplit]
    faults: list[Fault]
    left_out: dict[str, int]
    unchecked: list[str]
    copies: list[tuple[str, str]] = field(default_factory=list)
    pairs: list[tuple[tuple[str, Thumbs], tuple[str, Thumbs]]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    generated: bool = False


def read_dataset(info: DatasetInfo, request: Request, console: Console) -> Reading:
    """Reads every split of a data set, with a progress bar on a terminal.

    Args:
        info: the data set.
        request: how to read it.
        console: console of the progress bar.

    Raises:
        MissingData: files without which nothing can be read are missing, such as the released splits.
    """
    splits: dict[str, ReadSplit] = {}
    faults: list[Fault] = []
    left_out: dict[str, int] = {}
    unchecked: list[str] = []
    generated = True
    for name in dict.fromkeys((*info.splits, info.explain_split)):
        try:
            samples = build_samples(info, request, name)
        except MissingData:
            raise
        except UserError as error:  # often the same for each split: a CSV file that cannot be used
            faults.append(Fault(info.name, str(error), Kind.SPLIT))
            continue
        generated &= is_generated(samples)
        splits[name], found = _read_split(info, samples, name, request.size, console)
        faults += [*found, *getattr(samples, "unused_faults", ())]
        left_out |= getattr(samples, "left_out", {})  # about the whole data set, and thus the same for each split
        unchecked.append(getattr(samples, "unchecked", ""))
    faults += split_faults(info, splits)
    result = Reading(splits, faults, left_out, list(dict.fromkeys(filter(None, unchecked))), generated=generated)
    _find_copies(info, request, result)
    if not generated:
        _judge(info, request, result)
        result.unchecked += _never_checked(info, result)
    result.faults = list(dict.fromkeys(faults))
    return result


def _never_checked(info: DatasetInfo, reading: Reading) -> list[str]:
    """Lists what no program can see in the images, or what this one does not look for."""
    has_mask = sum(map(sum, (split.has_mask for split in reading.splits.values())))
    count = sum(len(split.ids) for split in reading.splits.values())
    found = ["whether each image shows what its class says: look at samples.png"]
    if has_mask:
        found.append("whether the masks outline all lesions and nothing else: look at samples.png")
    if not has_mask and info.masks == "none":
        found.append("localisation: there are no masks, and a run leaves its metrics out")
    elif has_mask < count:
        without = f"{count - has_mask:,} of {count:,} images have no mask"
        found.append(f"lesions on images without a mask: {without}, and a run scores no localisation on them")
    found.append("copies that are cropped, turned by other than right angles, or drawn on, and series of one scanner")
    return found


def _judge(info: DatasetInfo, request: Request, reading: Reading) -> None:
    """Adds what the images of the data set show together to ``reading``."""
    splits = reading.splits.values()
    two_valued = [has_two_values(thumb) for split in splits for thumb in split.thumbs]
    ids = [id_ for split in splits for id_ in split.ids]
    shares = [share for split in splits for share in split.shares]
    verdict = judge(info, ids, two_valued, shares, bool(request.mask_values))
    reading.faults += verdict.faults
    reading.doubts += verdict.doubts


def _find_copies(info: DatasetInfo, request: Request, reading: Reading) -> None:
    """Adds the copies among all images, and the faults that follow from them, to ``reading``."""
    ids = [id_ for split in reading.splits.values() for id_ in split.ids]
    looks = looks_of_thumbs([thumb for split in reading.splits.values() for thumb in split.thumbs])
    pairs = equal_images([looks.thumbs]) if reading.generated else find_copies(looks, info.copy_likeness)
    reading.faults += copy_faults(info, reading.splits, pairs, request.allow_duplicates)
    reading.copies = copy_groups(pairs, ids)
    for both in zip(pairs.first[:PAIRS].tolist(), pairs.second[:PAIRS].tolist(), strict=True):
        first, second = ((ids[index], looks.thumbs[index]) for index in both)
        reading.pairs.append((first, second))


def _read_split(
    info: DatasetInfo, samples: Sequence[Sample] | Samples, name: str, size: int, console: Console
) -> tuple[ReadSplit, list[Fault]]:
    split, faults = ReadSplit(classes_of(info, samples)), excluded_of(samples)
    indices = range(len(samples))
    for index in track(indices, f"reading {name}", console=console, transient=True, disable=not console.is_terminal):
        where = f"sample {index} of split {name!r}"
        try:
            split.add(read_sample(info, samples, index, where), size)
        except BadFile as error:
            faults.append(Fault(error.file, error.reason, error.kind))
        except UserError as error:
            faults.append(Fault(where, str(error).removeprefix(where).lstrip(": "), Kind.CONTRACT))
    for id_, times in Counter(split.ids).items():
        if times > 1:
            faults.append(Fault(id_, f"is in split {name!r} {times} times; ids must be unique", Kind.DUPLICATE))
    return split, faults
