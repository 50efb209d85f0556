"""RSNA: chest radiographs of the Pneumonia Detection Challenge 2018, stage 2, normal or with opacities in boxes.

Maps are scored against the boxes, which radiologists drew around the opacities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.contracts import SPLITS, Sample
from bench.data.readers.dicom import missing_pydicom, read_dicom
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES, BadFile, read_image, resize_image, resize_mask
from bench.data.readers.places import first_below, home_of
from bench.data.readers.released import Released, read_released, unlisted
from bench.data.readers.tables import key_of
from bench.data.sources.rsna_tables import (
    CLASSES,
    FRAME,
    LABELS,
    MAPPING,
    NEITHER,
    Annotation,
    Box,
    read_annotations,
    read_classes,
    read_patients,
)
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData
from bench.registry import dataset

_IMAGES = "stage_2_train_images"
_IMAGE_FOLDERS = (_IMAGES, f"{_IMAGES}/{_IMAGES}", f"{_IMAGES}_png", "images", "")
#: Lowest maximum of an image in 0…255: in a 16-bit file, 8-bit values reach 1 and 12-bit values 16.
_DARKEST = 32
_HOW_TO_GET = "download it from https://www.kaggle.com/c/rsna-pneumonia-detection-challenge (docs/data.md)"


def draw_boxes(boxes: Iterable[Box]) -> Tensor:
    """Draws the union of filled boxes -> (1024,1024) bool: True if the centre of the pixel is in a box."""
    mask = torch.zeros(FRAME, FRAME, dtype=torch.bool)
    centre = torch.arange(FRAME) + 0.5
    for x, y, width, height in boxes:
        rows, columns = ((low <= centre) & (centre < low + length) for low, length in ((y, height), (x, width)))
        mask |= rows[:, None] & columns
    return mask


class Radiographs:
    """Sequence of images (3,size,size) with masks (size,size) of their boxes; radiologists read normal images too.

    The boxes are drawn at 1024 px and resized once, so that a mask does not depend on the size of the exported image.
    An image's group is its patient if RSNA's mapping file is there, otherwise the image itself.
    """

    def __init__(self, root: Path, split: str, size: int, count: int | None, seed: int, splits: Path | None) -> None:
        require_split("cxr", split)
        labels_file = _labels_file(root)
        if labels_file is None:
            raise MissingData(_missing(root))
        home, self._size = labels_file.parent, size
        mapping = [file for file in (home / MAPPING,) if file.is_file()]
        self._patients = read_patients(mapping[0]) if mapping else {}
        self.unchecked = "" if mapping else f"whether splits share a patient: {home / MAPPING} not found"
        self._annotations, images = read_annotations(labels_file), _find_images(home)
        every_split, self.left_out = _listed(home, images, self._patients, seed, splits)
        listed = every_split[split]
        self._labels = listed.labels
        faults = {key: self._fault(key, images.get(key, []), listed.file.name) for key in self._labels}
        self.excluded = [fault for fault in faults.values() if fault]
        self.unused_faults = _unused_faults(self._annotations, unlisted(self._annotations, every_split), images, home)
        usable = [key for key, fault in faults.items() if fault is None]
        self.groups = {key: self._patients.get(key, key) for key in usable}
        kept = subsample([self._labels[key] for key in usable], usable, count, seed)
        self.keys = [usable[place] for place in kept]
        self._images = {key: images[key][0] for key in self.keys}
        self.files = [*self._images.values(), labels_file, listed.file, *mapping]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        key = self.keys[index]
        image = resize_image(_read(self._images[key]), self._size)
        mask = resize_mask(draw_boxes(self._annotations[key].boxes), self._size)
        return Sample(image, self._labels[key], mask, id=key, group=self._patients.get(key, key))

    def _fault(self, key: str, files: Sequence[Path], table: str) -> Fault | None:
        """Returns why an image that ``table`` lists cannot be used, or None."""
        annotation, label = self._annotations.get(key), self._labels[key]
        if not files:
            return Fault(key, f"is in {table}, but its image is missing", Kind.ABSENT)
        if len(files) > 1:
            return Fault(key, f"has two images, {files[0].name} and {files[1].name}; keep one", Kind.DUPLICATE)
        if annotation is None:
            return Fault(key, f"is in {table}, but not in {LABELS}")
        if annotation.fault:
            return annotation.fault
        if label != bool(annotation.boxes):
            return Fault(key, f"has class {label} in {table}, but {len(annotation.boxes)} boxes in {LABELS}")
        if self._patients and key not in self._patients:
            return Fault(key, f"is in {table}, but not in {MAPPING}, which links images to patients")
        return None


def _read(file: Path) -> Tensor:
    """Reads a DICOM file, or an image file exported from one -> (3,H,H) uint8."""
    image = read_dicom(file) if file.suffix.lower() == ".dcm" else read_image(file, dark=True)
    height, width = image.shape[1:]
    if height != width:
        raise BadFile(file, f"is {width}×{height} pixels; the challenge's images are square, and exports must be too")
    if image.max() < _DARKEST:
        reason = f"is nearly black: its brightest value is {int(image.max())} of 255"
        raise BadFile(file, f"{reason}; stretch 16-bit exports to the full range (multiply 8-bit values by 257)")
    return image


def _labels_file(root: Path) -> Path | None:
    return first_below(home_of(root, ("rsna",)), LABELS)


def _find_images(folder: Path) -> dict[str, list[Path]]:
    """Finds the images in the first folder that has any: image key -> its files."""
    for name in _IMAGE_FOLDERS:
        found: dict[str, list[Path]] = defaultdict(list)
        for file in sorted((folder / name).glob("*")):
            if file.suffix.lower() in (".dcm", *SUFFIXES) and not file.name.startswith("."):
                found[key_of(file.name)].append(file)
        if found:
            return found
    return {}


def _missing(root: Path) -> str:
    """Returns an empty text, or which files or package are missing and how to get them."""
    labels = _labels_file(root)
    if labels is None:
        return f"no {LABELS} in {home_of(root, ('rsna',))}; {_HOW_TO_GET}"
    images = _find_images(labels.parent)
    if not images:
        return f"no <patientId>.dcm or <patientId>.png in {labels.parent / _IMAGES}; {_HOW_TO_GET}"
    has_dicom = any(file.suffix.lower() == ".dcm" for files in images.values() for file in files)
    return missing_pydicom() if has_dicom else ""


def _listed(
    home: Path, images: Collection[str], patients: Mapping[str, str], seed: int, splits: Path | None
) -> tuple[dict[str, Released], dict[str, int]]:
    """Returns the images of each split with their classes, and the number of unused images by reason."""
    if splits is not None:
        names = {split: (f"{split}.csv",) for split in SPLITS}
        released = read_released(splits, ("RSNA",), names, "bin_target", 2)
        return released, {"images that are in none of the released splits": len(unlisted(images, released))}
    table = home / CLASSES
    if not table.is_file():
        raise MissingData(f"{table} not found, which states the class of each image; {_HOW_TO_GET}")
    classes = read_classes(table)
    labels = {key: label for key, label in classes.items() if label is not None}
    parts = grouped_split(list(labels.values()), [patients.get(key, key) for key in labels], seed)
    chosen: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for (key, label), split in zip(labels.items(), parts, strict=True):
        chosen[split][key] = label
    left_out = {
        f"images of the class {NEITHER!r}": sum(key in classes and key not in labels for key in images),
        f"images that {CLASSES} does not name": sum(key not in classes for key in images),
    }
    return {split: Released(table, own) for split, own in chosen.items()}, left_out


def _unused_faults(
    annotations: Mapping[str, Annotation], unused: Iterable[str], images: Collection[str], home: Path
) -> list[Fault]:
    """Returns the faults of the rows of the labels that no split uses."""
    known = read_classes(home / CLASSES) if (home / CLASSES).is_file() else {}
    faults = []
    for key in unused:
        if fault := annotations[key].fault:
            faults.append(fault)
        if key not in images and key not in known:
            faults.append(Fault(key, f"is in {LABELS}, but has neither an image nor a class", Kind.ABSENT))
    return faults


@dataset(
    "cxr",
    modality="cxr",
    classes=("normal", "opacity"),
    masks="box",
    mask_is="boxes around the opacities, with healthy lung in their corners",
    source="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge (stage 2)",
    licence="RSNA's terms of use: any purpose, with attribution (docs/data.md)",
    citation="Shih et al., Radiology: Artificial Intelligence 1(1):e180041, 2019, doi:10.1148/ryai.2019180041; "
    "Wang et al., CVPR 2017, arXiv:1705.02315",
    missing=_missing,
    mean=(0.4890, 0.4890, 0.4890),
    std=(0.2458, 0.2458, 0.2458),
    preprocessing="DICOM as it is meant to be seen (rescale, window above 8 bits, MONOCHROME1 inverted)",
    published={"train": (6770, 4599), "val": (753, 511), "test": (1328, 902)},
    totals=((8851, 6012),),
)
def cxr(
    root: Path, split: str, size: int = 512, count: int | None = None, seed: int = 0, splits: Path | None = None
) -> Radiographs:
    """Returns a split of normal images and of images with opacities, with **all** boxes of each.

    Raises:
        MissingData: a file of the challenge is missing.
        UserError: unknown split, or a CSV file cannot be used.

    Source: arXiv:2505.17748, data sets. Deviation: the authors' split files have one box per image; we use all boxes.
    """
    return Radiographs(root, split, size, count, seed, splits)
