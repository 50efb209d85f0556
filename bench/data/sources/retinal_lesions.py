"""Retinal-Lesions: outlines of eight lesion types on 1,593 of the Kaggle EyePACS photographs, which have no masks.

The release contains ``images_896x896/<Kaggle name>.jpg``, cropped to the disc by its authors, and one mask per lesion
type, ``lesion_segs_896x896/<Kaggle name>/<type>.png``. The masks fit these images only, because the release does not
state the crop of Kaggle's photographs. An annotated photograph is therefore always read from this release.

Source: Wei et al., arXiv:1912.11619, https://github.com/WeiQijie/retinal-lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES, BadFile, read_image, require_size_of
from bench.data.readers.places import first_below, home_of
from bench.data.readers.tables import key_of

IMAGES, MASKS = "images_896x896", "lesion_segs_896x896"
_HOMES = ("retinal-lesions", "retinal_lesions", "Retinal-Lesions", "retinal-lesions-v20191227")
#: Grey values of a mask: background, a lesion that contradicts the grading guideline and is not counted, a lesion.
_BACKGROUND, _EXCLUDED, _LESION = 0, 127, 255


@dataclass(frozen=True)
class Annotated:
    """Annotated photographs by image key.

    Attributes:
        images: key -> image file.
        masks: key -> mask files, one per lesion type; empty if the annotators found no lesion.
        bad: folders of masks whose image is missing.
    """

    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, list[Path]] = field(default_factory=dict)
    bad: list[Fault] = field(default_factory=list)


def _places(root: Path) -> tuple[Path, Path | None, Path | None]:
    """Returns the folder that was searched, the release's own or ``root``, and the two folders of the release."""
    home = home_of(root, _HOMES)
    return home, first_below(home, f"{IMAGES}/"), first_below(home, f"{MASKS}/")


def missing_part(root: Path) -> str:
    """Returns an empty text, or which part of the release is missing; without any part of it, nothing is missing."""
    home, images, masks = _places(root)
    absent = [name for name, folder in ((IMAGES, images), (MASKS, masks)) if folder is None]
    if not absent or (len(absent) == 2 and home == root):
        return ""
    return f"no folder {' nor '.join(absent)} in {home} or up to two levels below; copy both from Retinal-Lesions there"


def find_annotated(root: Path) -> Annotated:
    """Finds the release in its folder in ``root`` or up to two levels below; empty if it is missing."""
    _, images, masks = _places(root)
    if images is None or masks is None:
        return Annotated()
    files = {key_of(file.name): file for file in sorted(images.iterdir()) if file.suffix.lower() in SUFFIXES}
    outlined = {entry.name.lower(): sorted(entry.glob("*.png")) for entry in sorted(masks.iterdir()) if entry.is_dir()}
    reason = f"contains masks, but no image in {images} has its name"
    bad = [Fault(str(masks / key), reason, Kind.STRAY_MASK) for key in outlined if key not in files]
    return Annotated(files, {key: outlined.get(key, []) for key in files}, bad)


def read_lesions(files: Sequence[Path], image: Tensor) -> tuple[Tensor, Tensor]:
    """Reads the masks of one image (3,H,W) -> its lesions of all types (H,W) bool, and its excluded pixels (H,W) bool.

    It is unknown whether excluded pixels show a lesion. A pixel that is excluded for one lesion type and counted for
    another is a lesion.

    Raises:
        BadFile: unreadable, a size other than that of the image, or a grey value other than 0, 127 and 255.
    """
    lesion, excluded = (torch.zeros(image.shape[1:], dtype=torch.bool) for _ in range(2))
    for file in files:
        grey = read_image(file)[0]
        require_size_of(image, grey, file)
        unknown = set(torch.unique(grey).tolist()) - {_BACKGROUND, _EXCLUDED, _LESION}
        if unknown:
            raise BadFile(file, f"contains the grey value {min(unknown)}; masks have 0, 127 and 255 only")
        lesion |= grey == _LESION
        excluded |= grey == _EXCLUDED
    return lesion, excluded & ~lesion
