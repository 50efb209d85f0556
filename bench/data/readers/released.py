"""Which images are in a split, with their classes: as the authors of a paper have released it, or drawn by the seed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import MissingData
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.tables import read_labels


@dataclass(frozen=True)
class Released:
    """One split.

    Attributes:
        file: the CSV file that names its images; belongs into ``Samples.files``.
        labels: image key (``tables.key_of``) -> class, in the order of the file.
    """

    file: Path
    labels: dict[str, int]

    def present(self, found: Container[str]) -> list[str]:
        """Keys of the images that are among those on disk, in the order of the file."""
        return [key for key in self.labels if key in found]

    def absent(self, found: Container[str]) -> list[Fault]:
        """Those that are not: belongs into ``Samples.excluded``."""
        reason = f"is in {self.file.name}, but its image is not there"
        return [Fault(key, reason, Kind.ABSENT) for key in self.labels if key not in found]


def unlisted(found: Iterable[str], listed: Mapping[str, Released]) -> list[str]:
    """Keys of the images on disk that are in no split."""
    return [key for key in found if not any(key in split.labels for split in listed.values())]


def read_released(
    splits: Path, folders: Sequence[str], names: Mapping[str, Sequence[str]], label: str, classes: int
) -> dict[str, Released]:
    """Split -> what its file says: the first of its ``names`` that is in the data set's folder.

    Args:
        splits: the folder given as ``--splits``: the one that holds ``folders``, or one of these.
        folders: where the data set's files are below it, outermost first, e.g. ("Retinal_OCT", "multiclass").
        names: split -> file names, the preferred one first.
        label: the column with the class, e.g. "bin_target". The column ``filename`` names the image.
        classes: C; a class is 0 to C - 1.

    Raises:
        MissingData: none of a split's names is there.
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
    raise MissingData(f"--splits: no {' or '.join(names)} in {places[0]} or {splits}; columns filename,{label}")
