"""Files in the layouts of the publishers, shared by the tests of one source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.datasets.fundus import disc, photograph, save, table
from tests.support.datasets.rsna import make_rsna


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rsna(tmp_path_factory.mktemp("data") / "rsna", 18)


@pytest.fixture
def rsna_copy(rsna: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(rsna, tmp_path / "data/rsna")


@pytest.fixture
def eyepacs(tmp_path: Path) -> Path:
    """Thirty patients, both eyes; the grade is the patient's number modulo 5; the colour tells the patient."""
    lines = ["image,level"]
    for patient in range(30):
        for eye in ("left", "right"):
            colour = (120 + 4 * patient, 90, 40)
            save(tmp_path / f"eyepacs/train/{patient}_{eye}.jpeg", photograph(disc(40, 60, 20, 30, 17), colour))
            lines.append(f"{patient}_{eye},{patient % 5}")
    table(tmp_path / "eyepacs/trainLabels.csv", *lines)
    return tmp_path
