"""Reader of DICOM files with one grey image, which decides how stored values become grey levels.

pydicom (extra ``[dicom]``) is only imported when a file is read.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.readers.images import BadFile, text_of
from bench.errors import MissingData

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


_GREY = ("MONOCHROME1", "MONOCHROME2")
#: Tables that replace rescale or window. They are not applied, and values mean nothing without. RSNA's files have none.
_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_DISPLAY_BITS = 8


def missing_pydicom() -> str:
    """Returns an empty text, or how to install the package."""
    found = importlib.util.find_spec("pydicom") is not None
    return "" if found else "pydicom not found: pip install pydicom (or the extra [dicom])"


def read_dicom(path: Path) -> Tensor:
    """Reads a DICOM file of one grey image -> (3,H,W) uint8 as it is meant to be seen: bone bright, air dark.

    The steps follow the order of the standard: rescale (slope and intercept), window, inversion of MONOCHROME1.

    - The first window is applied if more than 8 bits are stored, because it then selects the range of the image.
      Values of 8 bits are ready for display, and their window is often a left-over of the original file.
    - Without a window, black and white are the ends of the range of the stored bits, never the image's own minimum and
      maximum, which would make the brightness of two images incomparable.

    Raises:
        BadFile: truncated, not DICOM, several frames, colour, a look-up table, or compressed and no decoder.
        MissingData: pydicom is not installed.

    Source: DICOM PS3.3, C.7.6.3.1 (pixels), C.11.1 (rescale), C.11.2 (window).
    """
    if reason := missing_pydicom():
        raise MissingData(f"{path}: {reason}")
    try:
        logging.getLogger("pydicom").setLevel(logging.ERROR)  # whatever makes a file unusable also raises an error
        warnings.filterwarnings("ignore", module="pydicom")  # catch_warnings is not safe with threads
        grey = _decode(path)
    except (BadFile, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # damaged files make pydicom and its decoders raise almost anything
        raise BadFile(path, f"cannot be read as DICOM ({text_of(error)})") from error
    return torch.from_numpy(grey).expand(3, -1, -1).contiguous()


def _decode(path: Path) -> NDArray[np.uint8]:
    """Decodes a DICOM file -> (H,W) uint8."""
    import pydicom

    dataset = pydicom.dcmread(path)
    _require_grey(dataset, path)
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    black, white = _window(dataset, path) or _full_range(dataset, slope, intercept)
    values = _stored_values(dataset, path) * slope + intercept
    share = np.clip((values - black) / (white - black), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    return np.rint(share * 255).astype(np.uint8)


def _require_grey(dataset: Dataset, path: Path) -> None:
    if dataset.PhotometricInterpretation not in _GREY:
        raise BadFile(path, f"is {dataset.PhotometricInterpretation}, {' or '.join(_GREY)} is expected")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise BadFile(path, f"holds {frames} frames, one image per file is expected")
    tables = [name for name in _TABLES if name in dataset]
    if tables:
        raise BadFile(path, f"has a look-up table ({tables[0]}), which is not applied; export it to 8- or 16-bit PNG")


def _window(dataset: Dataset, path: Path) -> tuple[float, float] | None:
    """Returns the rescaled values shown as black and white; None if no window is to be applied."""
    if dataset.BitsStored <= _DISPLAY_BITS or dataset.get("WindowCenter") is None:
        return None
    centre, width = (float(np.ravel(dataset[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    shape = dataset.get("VOILUTFunction", "LINEAR")
    if shape == "LINEAR":  # the standard defines it for whole numbers
        centre, width = centre - 0.5, width - 1
    elif shape != "LINEAR_EXACT":
        raise BadFile(path, f"has a window of shape {shape}, LINEAR or LINEAR_EXACT is expected")
    if width <= 0:
        raise BadFile(path, f"has a window of width {dataset.WindowWidth}, which would show only black and white")
    return centre - width / 2, centre + width / 2


def _full_range(dataset: Dataset, slope: float, intercept: float) -> tuple[float, float]:
    """Returns the lowest and the highest rescaled value that the stored bits can hold."""
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    ends = [value * slope + intercept for value in (lowest, lowest + 2**dataset.BitsStored - 1)]
    return min(ends), max(ends)


def _stored_values(dataset: Dataset, path: Path) -> NDArray[np.float64]:
    """Decompresses the pixels -> (H,W)."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import JPEGBaseline8Bit

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise BadFile(path, f"is compressed as {syntax.name}, which pydicom cannot decode; export it to PNG") from None
    if not available:
        package = "pylibjpeg-openjpeg" if "2000" in syntax.name else "pylibjpeg-libjpeg"
        raise BadFile(
            path, f"is compressed as {syntax.name} and no decoder is installed: pip install pylibjpeg {package}"
        )
    # Decoders of lossy JPEG differ by a grey level, so the challenge's files always go through the same one.
    plugin = "pillow" if syntax == JPEGBaseline8Bit else ""
    return pixel_array(dataset, decoding_plugin=plugin).astype(np.float64)
