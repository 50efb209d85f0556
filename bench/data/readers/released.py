"""Splits as lists of images with classes: as the authors of a paper released them, or as drawn by the seed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.readers.faults import Fault, Kind
from bench.data.readers.tables import read_labels
from bench.errors import MissingData


@dataclass(frozen=True)
class Released:
    """Images of one split with their classes.

    Attributes:
        file: the CSV file that names the images; belongs into ``Samples.files``.
        labels: image key (``tables.key_of``) -> class, in the order of the file.
    """

    file: Path
    labels: dict[str, int]

    def present(self, found: Container[str]) -> list[str]:
        """Returns the keys of the images that were found on disk, in the order of the file."""
        return [key for key in self.labels if key in found]

    def absent(self, found: Container[str]) -> list[Fault]:
        """Returns a fault for each image that was not found; they belong into ``Samples.excluded``."""
        reason = f"is in {self.file.name}, but its image is missing"
        return [Fault(key, reason, Kind.ABSENT) for key in self.labels if key not in found]


def unlisted(found: Iterable[str], listed: Mapping[str, Released]) -> list[str]:
    """Returns the keys of the images on disk that are in no split."""
    return [key for key in found if not any(key in split.labels for split in listed.values())]


def read_released(
    splits: Path, folders: Sequence[str], names: Mapping[str, Sequence[str]], label: str, classes: int
) -> dict[str, Released]:
    """Reads the released splits of a data set, each from the first of its ``names`` that exists.

    Args:
        splits: the folder given as ``--splits``: the one that contains ``folders``, or one of these.
        folders: path of the data set's files below it, outermost folder first, e.g. ("Retinal_OCT", "multiclass").
        names: split -> file names, the preferred one first.
        label: the column with the class, e.g. "bin_target". The column ``filename`` names the image.
        classes: C; a class is 0 to C - 1.

    Returns:
        Split -> its images.

    Raises:
        MissingData: no file with one of the names of a split exists.
        UserError: as ``tables.read_labels``.
    """
    released = {}
    for split, wanted in names.items():
        file = _file_of(splits, folders, wanted, label)
        released[split] = Released(file, read_labels(file, "filename", label, classes))
    return released


def _file_of(splits: Path, folders: Sequence[str], names: Sequence[str], label: str) -> Path:
    places = [splits.joinpath(*folders[start:]) for start in range(len(folders) + 1)]
    for name in names:
        for place in places:
            if (place / name).is_file():
                return place / name
    wanted = f"a CSV file with the columns filename,{label} is expected"
    raise MissingData(f"--splits: no {' or '.join(names)} in {places[0]} or {splits}; {wanted}")
