"""DICOM files made with pydicom: grey values by the standard's formulas, and everything that makes a file unusable."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import MissingData
from bench.data.readers import dicom
from bench.data.readers.dicom import read_dicom
from bench.data.readers.images import BadFile
from tests.support.datasets.rsna import write_dicom, write_jpeg_dicom

pydicom = pytest.importorskip("pydicom")
SIDE = 32


def noise(top: int, dtype: str = "uint16", bottom: int = 0) -> np.ndarray:
    return np.random.default_rng(0).integers(bottom, top, (SIDE, SIDE + 8), endpoint=True).astype(dtype)


def grey(path: Path) -> np.ndarray:
    """The one grey plane of an image whose three are equal."""
    image = read_dicom(path).numpy()
    assert image.dtype == np.uint8
    assert image.shape[0] == 3
    assert (image == image[0]).all()
    return image[0]


def test_eight_bits_are_as_stored(tmp_path: Path) -> None:
    pixels = noise(200, "uint8")
    assert np.array_equal(grey(write_dicom(tmp_path / "a.dcm", pixels)), pixels)
    assert np.array_equal(
        grey(write_dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="MONOCHROME1")), 255 - pixels
    )


def test_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    pixels = noise(255, "uint8")
    path = write_jpeg_dicom(tmp_path / "a.dcm", pixels)
    frame = io.BytesIO()
    Image.fromarray(pixels).save(frame, "JPEG", quality=95)
    assert np.array_equal(grey(path), np.asarray(Image.open(frame)))


@pytest.mark.parametrize("bits", [9, 10, 12, 15, 16])
def test_range_is_that_of_the_stored_bits_and_not_of_the_image(tmp_path: Path, bits: int) -> None:
    pixels = noise(2**bits // 3)
    expected = np.rint(255 * pixels.astype(float) / (2**bits - 1))
    assert np.array_equal(grey(write_dicom(tmp_path / "a.dcm", pixels, bits)), expected)
    inverted = write_dicom(tmp_path / "b.dcm", pixels, bits, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(grey(inverted), np.rint(255 * (1 - pixels.astype(float) / (2**bits - 1))))


def test_unused_bits_are_not_read(tmp_path: Path) -> None:
    pixels = noise(4095)
    clean = grey(write_dicom(tmp_path / "a.dcm", pixels, 12))
    assert np.array_equal(grey(write_dicom(tmp_path / "b.dcm", pixels | 0xA000, 12)), clean)


def test_signed_values_begin_at_their_lowest(tmp_path: Path) -> None:
    pixels = noise(2047, "int16", -2048)
    expected = np.rint(255 * (pixels.astype(float) + 2048) / 4095)
    assert np.array_equal(grey(write_dicom(tmp_path / "a.dcm", pixels, 12)), expected)


def test_rescale_with_a_negative_slope_inverts(tmp_path: Path) -> None:
    pixels = noise(4095)
    plain = 255 * pixels.astype(float) / 4095
    shifted = write_dicom(tmp_path / "a.dcm", pixels, 12, RescaleSlope="2.5", RescaleIntercept="-1024")
    assert np.array_equal(grey(shifted), np.rint(plain))
    negative = write_dicom(tmp_path / "b.dcm", pixels, 12, RescaleSlope="-1", RescaleIntercept="4095")
    assert np.array_equal(grey(negative), np.rint(255 - plain))


def windowed(value: float, centre: float, width: float) -> float:
    """The standard's pseudo-code for LINEAR (PS3.3 C.11.2.1.2.1), output 0…255."""
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if value > centre - 0.5 + (width - 1) / 2:
        return 255.0
    return ((value - (centre - 0.5)) / (width - 1) + 0.5) * 255


@pytest.mark.parametrize("slope", [1.0, 2.0, -2.0])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_is_on_rescaled_values_and_before_the_inversion(tmp_path: Path, slope: float, photometric: str) -> None:
    pixels, intercept, centre, width = noise(4095), 100, slope * 2000 + 100, 801
    path = write_dicom(
        tmp_path / "a.dcm", pixels, 12, PhotometricInterpretation=photometric,
        RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=[centre, 1], WindowWidth=[width, 2],
    )  # fmt: skip
    expected = np.array([[windowed(slope * int(v) + intercept, centre, width) for v in row] for row in pixels])
    assert 0 < (expected == 0).mean() < 1
    assert np.abs(grey(path) - (255 - expected if photometric == "MONOCHROME1" else expected)).max() <= 0.5 + 1e-9


def test_exact_window_is_half_a_value_wider_on_either_side(tmp_path: Path) -> None:
    pixels = noise(4095)
    path = write_dicom(tmp_path / "a.dcm", pixels, 12, WindowCenter=2000, WindowWidth=16, VOILUTFunction="LINEAR_EXACT")
    pixels[0, :3] = 1991, 1996, 2008
    path = write_dicom(path, pixels, 12, WindowCenter=2000, WindowWidth=16, VOILUTFunction="LINEAR_EXACT")
    assert grey(path)[0, :3].tolist() == [0, round(255 * 4 / 16), 255]


def test_window_of_eight_bits_is_not_applied_again(tmp_path: Path) -> None:
    pixels = noise(255, "uint8")
    path = write_dicom(tmp_path / "a.dcm", pixels, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(grey(path), pixels)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is PALETTE COLOR, MONOCHROME1 or MONOCHROME2 is expected"),
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"VOILUTSequence": [1]}, "look-up table (VOILUTSequence)"),
        ({"ModalityLUTSequence": [1]}, "look-up table (ModalityLUTSequence)"),
        ({"WindowCenter": 3, "WindowWidth": 1}, "a window of width 1"),
        ({"WindowCenter": 3, "WindowWidth": 9, "VOILUTFunction": "SIGMOID"}, "shape SIGMOID"),
        ({"Rows": 400}, "cannot be read as DICOM"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    tags = {key: [pydicom.Dataset()] if value == [1] else value for key, value in tags.items()}
    path = write_dicom(tmp_path / "a.dcm", noise(4095), 12, **tags)
    with pytest.raises(BadFile) as error:
        read_dicom(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("jpeg", [True, False])
def test_no_part_of_a_truncated_file_is_read(tmp_path: Path, jpeg: bool) -> None:
    path = (write_jpeg_dicom if jpeg else write_dicom)(tmp_path / "a.dcm", noise(255, "uint8"))
    whole = path.read_bytes()
    end = len(whole) - (8 if jpeg else 0)  # what ends a sequence of fragments holds no pixel
    cuts = sorted({0, 50, 131, 132, 140, 300, end - 1, *range(400, end, 97)})
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(BadFile, match="cannot be read as DICOM"):
            read_dicom(path)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_truncated_jpeg_in_a_whole_file(tmp_path: Path, keep: float) -> None:
    with pytest.raises(BadFile, match="truncated"):
        read_dicom(write_jpeg_dicom(tmp_path / "a.dcm", noise(255, "uint8"), keep))


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        ("1.2.840.10008.1.2.4.57", "pip install pylibjpeg pylibjpeg-libjpeg"),  # JPEG lossless
        ("1.2.840.10008.1.2.4.80", "pip install pylibjpeg pylibjpeg-libjpeg"),  # JPEG-LS
        ("1.2.840.10008.1.2.4.90", "pip install pylibjpeg pylibjpeg-openjpeg"),  # JPEG 2000
        ("1.2.840.10008.1.2.4.201", "pip install pylibjpeg pylibjpeg-openjpeg"),  # high-throughput JPEG 2000
    ],
)
def test_compression_without_its_decoder_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, said: str
) -> None:
    decoder = pydicom.pixels.get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(BadFile) as error:
        read_dicom(write_dicom(tmp_path / "a.dcm", noise(255, "uint8"), syntax=syntax, frame=b"\0" * 8))
    assert str(error.value).endswith(f"is compressed as {decoder.UID.name} and no decoder is installed: {said}")


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_lossless_compression_changes_nothing(name: str) -> None:
    pytest.importorskip("libjpeg")
    files = [pydicom.data.get_testdata_file(file, download=False) for file in (name, "MR_small.dcm")]
    if None in files:
        pytest.skip("pydicom without its test files")
    compressed, plain = (grey(Path(file)) for file in files)
    assert plain.std() > 10
    assert np.array_equal(compressed, plain)


def test_video_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", noise(255, "uint8"), syntax="1.2.840.10008.1.2.4.100", frame=b"\0" * 8)
    with pytest.raises(BadFile, match=r"MPEG2 .* which pydicom cannot decode; export it to PNG"):
        read_dicom(path)


def test_without_pydicom_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingData, match=r"pip install pydicom \(or the extra \[dicom\]\)"):
        read_dicom(tmp_path / "a.dcm")


def test_importing_bench_does_not_import_pydicom() -> None:
    code = "import sys, bench, bench.data, bench.data.readers.dicom; print('pydicom' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
