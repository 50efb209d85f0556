"""OCT2017: retinal OCT scans of Kermany et al. in four classes, whose file names allow splits by patient.

Scans are 496 or 512 pixels high and 512 to 1,536 wide. Like any image of this project, each is resized to the square
input size (496 in the paper), and its aspect ratio is not kept.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.contracts import SPLITS, Sample
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES, read_image
from bench.data.readers.masks import read_mask_of
from bench.data.readers.places import CLUTTER, first_below, home_of
from bench.data.readers.released import Released, read_released, unlisted
from bench.data.readers.tables import key_of
from bench.data.splitting import require_split, split_off_validation, subsample
from bench.errors import MissingData, UserError
from bench.registry import dataset

CLASSES = ("NORMAL", "DRUSEN", "DME", "CNV")
_NAME = re.compile(r"([A-Z]+)-(\d+)-\d+", re.IGNORECASE)
_NO_SCAN = "no scan, because no scan has this name; rename or remove it"
_GET = "OCT2017 of https://data.mendeley.com/datasets/rscbjbr9sj/3"


@dataclass(frozen=True)
class Scan:
    """Scan with its path ``<train|test>/<CLASS>/<CLASS>-<patient>-<number>`` as id, its patient and its class."""

    file: Path
    id: str
    patient: str
    label: int

    @property
    def part(self) -> str:
        """The publisher's part: "train" or "test"."""
        return self.id.split("/")[0]


def _home(root: Path) -> Path | None:
    """Finds the folder of ``train/DRUSEN`` and ``test``; chest radiographs of the publisher have ``train/NORMAL``."""
    train = first_below(home_of(root, ("oct2017", "OCT2017", "kermany")), "train/DRUSEN/")
    home = train.parents[1] if train else None
    return home if home and (home / "test").is_dir() else None


def missing(root: Path) -> str:
    """Returns an empty text, or which folders are missing."""
    home = home_of(root, ("oct2017", "OCT2017", "kermany"))
    return "" if _home(root) else f"no folders train/DRUSEN and test in {home}; unpack {_GET} there"


def find_scans(home: Path) -> tuple[dict[str, Scan], list[Fault]]:
    """Finds all scans in ``train`` and ``test`` -> image key -> scan, and faults of other files.

    Raises:
        UserError: a scan appears twice, with two suffixes.
    """
    found: dict[str, Scan] = {}
    bad: list[Fault] = []
    for part in ("train", "test"):
        for name in CLASSES:
            for file in sorted((home / part / name).glob("[!.]*")):
                if file.name.lower() in CLUTTER:
                    continue
                match = _NAME.fullmatch(file.stem)
                if file.suffix.lower() not in SUFFIXES or not match or match[1].upper() != name:
                    bad.append(Fault(str(file), f"is not named {name}-<patient>-<number>.jpeg"))
                    continue
                scan = Scan(file, f"{part}/{name}/{file.stem}", match[2], CLASSES.index(name))
                key = scan.id.lower()
                if key in found:
                    raise UserError(f"{scan.id} appears twice, as {found[key].file.name} and {file.name}; keep one")
                found[key] = scan
    return found, bad


def find_masks(home: Path, scans: Mapping[str, Scan]) -> tuple[dict[str, list[Path]], list[Fault]]:
    """Finds the masks in the optional folder ``masks``, named like their scans, in the same folders or in none.

    Returns:
        Image key -> masks, and faults of masks that match no scan, or two because a name is in both train and test.
    """
    by_path: dict[str, list[str]] = defaultdict(list)  # "part/class/name", "class/name" and "name" -> keys
    for key in scans:
        for path in (key, key.split("/", 1)[1], key.rsplit("/", 1)[1]):
            by_path[path].append(key)
    masks: dict[str, list[Path]] = defaultdict(list)
    bad: list[Fault] = []
    for file in sorted((home / "masks").rglob("[!.]*")):
        if file.suffix.lower() in SUFFIXES:
            keys = by_path.get(key_of(file.relative_to(home / "masks").as_posix()), [])
            if len(keys) == 1:
                masks[keys[0]].append(file)
            else:
                whose = f"both {' and '.join(keys)}; put it into the folders of its scan" if keys else _NO_SCAN
                bad.append(Fault(str(file), f"belongs to {whose}", Kind.STRAY_MASK))
    return masks, bad


def tested_too(scans: Mapping[str, Scan]) -> set[str]:
    """Returns the keys of the training scans whose patient has a scan in the test folder."""
    tested = {scan.patient for scan in scans.values() if scan.part == "test"}
    return {key for key, scan in scans.items() if scan.part == "train" and scan.patient in tested}


def assign(scans: Mapping[str, Scan], split: str, seed: int) -> list[str]:
    """Returns the keys of one split: "test" is the publisher's test folder, "train" and "val" are its training folder.

    The latter is divided by patient and seed. Patients of the test folder are left out of training and validation.
    """
    if split == "test":
        return [key for key, scan in scans.items() if scan.part == "test"]
    both = tested_too(scans)
    usable = [key for key, scan in scans.items() if scan.part == "train" and key not in both]
    parts = split_off_validation([scans[key].label for key in usable], [scans[key].patient for key in usable], seed)
    return [key for key, part in zip(usable, parts, strict=True) if part == split]


@dataclass(frozen=True)
class Task:
    """Number of ``CLASSES`` to distinguish, and the folders and column of the released splits that state the class."""

    classes: int
    folders: tuple[str, ...]
    column: str


DRUSEN = Task(2, ("Retinal_OCT",), "drusen")
FOUR_CLASSES = Task(4, ("Retinal_OCT", "multiclass"), "level")


class Scans:
    """Sequence of scans in their original sizes, with masks from the optional folder ``masks``."""

    def __init__(self, root: Path, task: Task, split: str, count: int | None, seed: int, splits: Path | None) -> None:
        require_split("oct", split)
        home = _home(root)
        if home is None:
            raise MissingData(missing(root))
        scans, bad = find_scans(home)
        self._masks, stray = find_masks(home, scans)
        self.excluded = bad + stray if split == "train" else []  # files outside of the splits are counted once
        self.files: list[Path] = []
        if splits is None:
            keys = [key for key in assign(scans, split, seed) if scans[key].label < task.classes]
            aside, reason = sorted(tested_too(scans)), "training scans of patients of the test folder"
        else:
            names = {name: (f"{name}.csv",) for name in SPLITS}
            every_split = read_released(splits, task.folders, names, task.column, task.classes)
            aside, reason = unlisted(scans, every_split), "scans that are in none of the released splits"
            released = every_split[split]
            keys = released.present(scans)
            self.excluded = [*self.excluded, *released.absent(scans), *_contradictions(released, scans, keys)]
            keys = [key for key in keys if scans[key].label == released.labels[key]]
            self.files.append(released.file)
        self.left_out = _others(home, scans, task) | {reason: sum(scans[key].label < task.classes for key in aside)}
        self.groups = {scans[key].id: scans[key].patient for key in keys}
        kept = subsample([scans[key].label for key in keys], [scans[key].id for key in keys], count, seed)
        self._keys = [keys[index] for index in kept]
        self._scans = scans
        self.files += [file for key in self._keys for file in (scans[key].file, *self._masks.get(key, ()))]

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        scan = self._scans[self._keys[index]]
        image = read_image(scan.file)
        masks = [read_mask_of(image, file) for file in self._masks.get(self._keys[index], ())]
        return Sample(image, scan.label, torch.stack(masks).any(dim=0) if masks else None, scan.id, scan.patient)


def _others(home: Path, scans: Mapping[str, Scan], task: Task) -> dict[str, int]:
    """Counts the scans that no split of a task can use: other classes, and the folder ``val``."""
    classes = CLASSES[task.classes :]
    others = {f"scans of {name}": sum(CLASSES[scan.label] == name for scan in scans.values()) for name in classes}
    aside = sum(file.suffix.lower() in SUFFIXES for file in (home / "val").rglob("[!.]*"))
    return others | {"scans in the folder val, which is not used": aside}


def _contradictions(released: Released, scans: Mapping[str, Scan], keys: Sequence[str]) -> list[Fault]:
    reason = f"is in the folder of another class than {released.file.name} states; correct one of them"
    return [Fault(scans[key].id, reason) for key in keys if scans[key].label != released.labels[key]]


def _register(name: str, task: Task, published: Mapping[str, tuple[int, ...]]) -> None:
    @dataset(
        name,
        modality="oct",
        classes=CLASSES[: task.classes],
        masks="pixel",
        source=_GET,
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172(5):1122-1131, 2018, doi:10.1016/j.cell.2018.02.010",
        missing=missing,
        mean=(0.1908, 0.1908, 0.1908),
        std=(0.2217, 0.2217, 0.2217),
        in_all=name == "oct",
        published=published,
    )
    def build(root: Path, split: str, count: int | None = None, seed: int = 0, splits: Path | None = None) -> Scans:
        return Scans(root, task, split, count, seed, splits)


_register("oct", DRUSEN, {"train": (20794, 6636), "val": (5552, 1980), "test": (250, 248)})
_register(
    "oct@classes", FOUR_CLASSES,
    {"train": (6800, 1228, 1618, 5248), "val": (1200, 172, 182, 752), "test": (250, 248, 250, 250)},
)  # fmt: skip
