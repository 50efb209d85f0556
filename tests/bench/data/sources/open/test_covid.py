"""COVID-19 radiographs: outlines at their places, licences, findings by patient, and faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.contracts import UserError
from bench.data.checks import BadFiles
from bench.data.findings.pairs import SPLIT
from bench.data.loading import Request, build_samples
from bench.data.sources.open.covid_tables import read_tables
from bench.registry import DATASETS
from tests.support.datasets.fundus import load
from tests.support.datasets.repositories import CONSOLIDATION, GROUND_GLASS, make_covid, outline

NAME, BOTH = "cxr-covid", "cxr-covid@findings"


@pytest.fixture
def covid(tmp_path: Path) -> Path:
    make_covid(tmp_path / "covid-cxr")
    return tmp_path


def glass() -> np.ndarray:
    mask = np.zeros((50, 60), dtype=bool)
    mask[21:26, 10:22] = True
    return mask


def consolidated() -> np.ndarray:
    mask = np.zeros((50, 60), dtype=bool)
    mask[6:15, 40:48] = True
    return mask


def test_a_mask_file_is_drawn_where_its_row_says(covid: Path) -> None:
    samples = build_samples(DATASETS[NAME], Request(covid, 50, 0), "test")
    for index in range(len(samples)):
        sample = samples[index]
        number = int(sample.id[1:-4])
        truth = (glass() & bool(number % 5)) | (consolidated() & (number % 2 == 0))
        assert sample.mask is not None
        assert np.array_equal(sample.mask.numpy(), truth)
        assert (sample.label, sample.group) == (1, str(number // 2))


def test_only_images_with_a_stated_licence_and_an_opacity_are_used(covid: Path) -> None:
    samples = DATASETS[NAME].builder(covid, "test")
    assert {int(id_[1:-4]) for id_ in samples.groups} == {n for n in range(40) if n % 4 and (n % 5 or n % 2 == 0)}
    assert list(samples.left_out.values()) == [4, 10]  # 5, 15, 25, 35; and every fourth
    with pytest.raises(UserError, match="has no split 'train'; it has test"):
        DATASETS[NAME].builder(covid, "train")


def test_findings_are_split_by_patient_and_explained_with_their_own_mask(covid: Path) -> None:
    splits = load(covid, BOTH, size=50)
    assert sum(len(splits[name]) for name in ("train", "val", "test")) == 40
    groups = [set(splits[name].groups) for name in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    for name in ("train", "val", "test"):
        for id_, labels in zip(splits[name].ids, splits[name].labels, strict=True):
            number = int(id_[1:-4])
            assert labels.tolist() == [int(number % 5 > 0), int(number % 2 == 0)]
    pairs = build_samples(DATASETS[BOTH], Request(covid, 50, 0), SPLIT)
    for index in range(len(pairs)):
        sample = pairs[index]
        if sample.mask is not None:
            expected = glass() if sample.label == 0 else consolidated()
            assert np.array_equal(sample.mask.numpy(), expected)


def test_a_speck_is_no_outline_and_leaves_its_finding_unknown(covid: Path) -> None:
    home = covid / "covid-cxr"
    speck = outline(home, 1, GROUND_GLASS, (58, 0, 1, 2)).replace("60x50", "60x50")
    lines = (home / "structure.csv").read_text().splitlines()
    kept = [line for line in lines if not (line.startswith("1,") and GROUND_GLASS in line)]
    (home / "structure.csv").write_text("\n".join([*kept, speck]) + "\n")
    (one,) = [found for found in read_tables(home) if found.file.name == "x1.png"]
    assert (one.labels, one.of(0, 1)) == ((-1, 0), [])
    assert "x1.png" not in DATASETS[NAME].builder(covid, "test").groups


def test_faults_are_named(covid: Path) -> None:
    home = covid / "covid-cxr"
    (home / "images/x1.png").unlink()
    Image.fromarray(np.zeros((5, 12), dtype=np.uint8)).save(home / "masks/2_Gro.png")
    Image.fromarray(np.zeros((60, 50), dtype=np.uint8)).save(home / "images/x3.png")
    with pytest.raises(BadFiles) as caught:
        load(covid, NAME, size=50)
    for part in (
        "3 bad files",
        "x1.png (is in structure.csv, but its image is missing)",
        "2_Gro.png (is 12×5 pixels, 12×6 in structure.csv)",
        "3_Gro.png (its image is 50×60 pixels, 60×50 in structure.csv)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            f"99,{CONSOLIDATION},x1.png,masks/1_Con.png,60x50,45,0,8,10",
            "the box of masks/1_Con.png is beyond its image",
        ),
        (f"99,{CONSOLIDATION},x1.png,,60x50,0,0,8,10", "a mask and a resolution such as 943x751 are expected"),
        (f"99,{CONSOLIDATION},x1.png,masks/1_Con.png,60,0,0,8,10", "a mask and a resolution"),
        (f"99,{CONSOLIDATION},x1.png,masks/1_Con.png,60x50,a,0,8,10", "Top is 'a', not a whole number"),
        ("99,Left Lung,other.png,masks/1_Lef.png,60x50,0,0,8,10", "other.png of structure.csv has no patientid"),
    ],
)
def test_wrong_rows_are_named(covid: Path, row: str, reason: str) -> None:
    table = covid / "covid-cxr/structure.csv"
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(UserError, match=reason):
        read_tables(covid / "covid-cxr")


def test_a_run_that_would_train_on_test_images_alone_is_refused(covid: Path) -> None:
    done = CliRunner().invoke(app, ["--datasets", NAME, "--data-root", str(covid)], obj=run_benchmark.register)
    assert isinstance(done.exception, UserError)
    assert "'cxr-covid' has no training images; give a trained model: run_benchmark.py evaluate" in str(done.exception)
