"""Small files as the RSNA challenge ships them: DICOM made with pydicom, labels and classes as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.loading import Request, load_splits
from bench.data.split import Split
from bench.registry import DATASETS

NORMAL, OPACITY, OTHER = "Normal", "Lung Opacity", "No Lung Opacity / Not Normal"
#: Boxes of the opacities of the images 1, 4, 7, …, in turn: one, two that overlap, three with one at the border.
BOXES = (
    ((100, 200, 300, 401),),
    ((10, 20, 300, 400), (200, 301, 333, 222)),
    ((1, 1, 99, 99), (700, 0, 324, 500), (500, 700, 101, 324)),
)


def write_dicom(
    path: Path, pixels: np.ndarray, bits: int = 0, syntax: str = "", frame: bytes = b"", **tags: Any
) -> Path:
    """A chest radiograph of these stored values; ``frame`` is the compressed image of a compressed ``syntax``."""
    pydicom, uid = pytest.importorskip("pydicom"), pytest.importorskip("pydicom.uid")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.ComputedRadiographyImageStorage, uid.generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    dataset.PixelData = pydicom.encaps.encapsulate([frame]) if frame else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if frame else "OW"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_jpeg_dicom(path: Path, pixels: np.ndarray, keep: float = 1.0, **tags: Any) -> Path:
    """As the challenge's: JPEG inside of DICOM; ``keep`` cuts the JPEG and leaves the DICOM around it whole."""
    uid, frame = pytest.importorskip("pydicom.uid"), io.BytesIO()
    Image.fromarray(pixels).save(frame, "JPEG", quality=95)
    jpeg = frame.getvalue()[: int(keep * frame.tell())]
    return write_dicom(path, pixels, syntax=uid.JPEGBaseline8Bit, frame=jpeg, **tags)


def patient(index: int) -> str:
    return f"{index:08x}-aaaa-4bbb-8ccc-dddddddddddd"


def class_of(index: int) -> str:
    return (NORMAL, OPACITY, OTHER)[index % 3]


def boxes_of(index: int) -> tuple[tuple[int, ...], ...]:
    return BOXES[index // 3 % 3] if class_of(index) == OPACITY else ()


def pixels_of(index: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (side, side), dtype=np.uint8)


def make_rsna(folder: Path, count: int) -> Path:
    """``count`` images in three classes by turns, with all that the challenge's archive has for them."""
    for index in range(count):
        write_jpeg_dicom(folder / f"stage_2_train_images/{patient(index)}.dcm", pixels_of(index))
    rows = {index: [[*box, 1] for box in boxes_of(index)] or [["", "", "", "", 0]] for index in range(count)}
    labels = [[patient(index), *row] for index, own in rows.items() for row in own]
    classes = [[patient(index), class_of(index)] for index, own in rows.items() for _ in own]
    write_table(folder / "stage_2_train_labels.csv", ["patientId", "x", "y", "width", "height", "Target"], labels)
    write_table(folder / "stage_2_detailed_class_info.csv", ["patientId", "class"], classes)
    return folder


def release_splits(folder: Path, parts: dict[str, Sequence[int]]) -> Path:
    """The authors' split files of these images: PNG names, and no more than the first box of each."""
    columns = ["filename", "x", "y", "width", "height", "type", "bin_target", "target"]
    for split, indices in parts.items():
        rows = []
        for index in indices:
            boxes = boxes_of(index)
            box = [float(value) for value in boxes[0]] if boxes else [""] * 4
            rows.append([f"{patient(index)}.png", *box, split.title(), int(bool(boxes)), 2 * bool(boxes)])
        write_table(folder / f"{split}.csv", columns, rows)
    return folder


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def load(folder: Path, size: int = 32, splits: Path | None = None, skip_bad: bool = False) -> dict[str, Split]:
    request = Request(folder.parent, size, 0, {}, skip_bad, splits)
    return load_splits(DATASETS["cxr"], request, folder.parent.parent / "cache")


def painted(boxes: tuple[tuple[float, ...], ...], side: int = 1024) -> np.ndarray:
    """Union of boxes with whole-numbered corners, row by row."""
    mask = np.zeros((side, side), dtype=bool)
    for x, y, width, height in boxes:
        for row in range(int(y), int(y + height)):
            mask[row, int(x) : int(x + width)] = True
    return mask


def halved(mask: np.ndarray) -> np.ndarray:
    """(2n,2n) bool -> (n,n) bool: the triangle filter of antialiased bilinear resizing, in integers, at least half.

    An output pixel sees four input pixels along each axis with weights 1, 3, 3, 1; at the border three, of 7.
    """

    def along_rows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((1, 1), (0, 0)))
        first, second, third, fourth = (padded[step : step + len(values) : 2] for step in range(4))
        return first + 3 * second + 3 * third + fourth

    covered, total = (along_rows(along_rows(values).T).T for values in (mask.astype(int), np.ones(mask.shape, int)))
    return 2 * covered >= total
