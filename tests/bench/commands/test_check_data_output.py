"""``check-data``: counts, page, files and exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import bench.data  # noqa: F401 (registers the data sets)
from bench.cli.main import app
from bench.commands.check_data.command import check_dataset
from bench.commands.check_data.reading import SHOWN
from bench.contracts import SPLITS, Sample, UserError
from bench.data.loading import Request, load_split
from bench.data.sources.folder import folder_dataset
from bench.registry import DATASETS
from tests.bench.commands.checking import SIDE, check, cut, generated, info_of, lesion, read
from tests.support.datasets.fundus import save
from tests.support.files import ROOT


def test_long_lists_are_cut_on_the_screen_and_whole_in_the_file(own_folder: Path) -> None:
    for index in range(30):
        save(own_folder / f"masks/x{index:02}.png", lesion())
    _, said, faults = check(folder_dataset(own_folder), own_folder)
    assert len(faults) == 30
    assert "x09.png" in said
    assert "x10.png" not in said
    assert "and 20 more: see" in said


def test_page_shows_lesions_first_and_the_same_images_each_time(tmp_path: Path) -> None:
    def builder(root: Path, split: str) -> list[Sample]:
        return [replace(one, id=f"{copy}{one.id}") for copy in "abcd" for one in generated(split)]

    one, other = (read(info_of(builder), tmp_path).splits["train"].shown for _ in range(2))
    assert [sample.id for sample in one[1]] == [sample.id for sample in other[1]]
    assert len(one[1]) == len(one[0]) == SHOWN
    assert all(sample.mask is not None for sample in one[1])


def test_counts_stand_beside_the_published_ones(tmp_path: Path) -> None:
    def builder(root: Path, split: str, splits: Path | None = None) -> list[Sample]:
        return generated(split)

    info = info_of(builder, published={"train": (4, 4), "val": (4, 1003), "test": (3, 4)})
    clean, said, _ = check(info, tmp_path, splits=tmp_path)
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert clean
    assert ("train", "healthy", "4", "4", "0", "4", "4") in rows  # images, published, difference, with mask, groups
    assert ("val", "sick", "4", "1,003", "-999", "3", "4") in rows
    assert ("val", "all", "8", "1,007", "-999", "7", "4") in rows
    assert ("test", "healthy", "4", "3", "+1", "4", "4") in rows
    assert "Number of images differs from the published one: val, test" in said
    _, said, _ = check(info, tmp_path)
    assert "1,003" not in said
    assert "give their folder with --splits" in said


def test_without_released_splits_all_images_stand_beside_the_publishers_totals(tmp_path: Path) -> None:
    info = info_of(lambda root, split: generated(split), totals=((12, 13), (1000,)))  # 24 images, 12 of each class
    clean, said, _ = check(info, tmp_path)
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert clean
    assert ("all", "splits", "healthy", "12", "12", "0", "12", "12") in rows
    assert ("all", "splits", "sick", "12", "13", "-1", "9", "12") in rows
    assert ("all", "splits", "all", "24", "25", "-1", "21", "12") in rows
    assert ("train", "sick", "4", "3", "4") in rows
    assert "Number of images differs from the published one: all splits" in said
    _, said, _ = check(replace(info, totals=((12, 13), (24,))), tmp_path)  # the nearest form, classes not published
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert ("all", "splits", "sick", "12", "9", "12") in rows
    assert ("all", "splits", "all", "24", "24", "0", "21", "12") in rows
    assert "differs from the published" not in said


def test_totals_of_the_publishers() -> None:
    """Those of the radiographs are the sums of the authors' splits; Kaggle's are by grade, and their sum is known."""
    published = DATASETS["cxr"].published
    assert DATASETS["cxr"].totals == (tuple(map(sum, zip(*published.values(), strict=True))),) == ((8851, 6012),)
    grades, with_test_set = DATASETS["fundus@grades"].totals
    assert (sum(grades), *with_test_set) == (35126, 88702)
    assert DATASETS["fundus"].totals[0] == (grades[0], sum(grades[1:]))
    assert DATASETS["fundus@onset2"].totals[0] == (sum(grades[:2]), sum(grades[2:]))
    assert DATASETS["fundus-idrid"].totals == ((597,),)


def test_files_of_others_are_never_overwritten(own_folder: Path) -> None:
    folder = own_folder / "check"
    folder.mkdir()
    (folder / "splits.csv").write_text("mine")
    screen = Console(file=io.StringIO())
    request = Request(own_folder, SIDE, 0, skip_bad=True)
    with pytest.raises(UserError, match=r"splits\.csv"):
        check_dataset(folder_dataset(own_folder), request, folder, screen)
    assert (folder / "splits.csv").read_text() == "mine"
    assert sorted(file.name for file in folder.iterdir()) == ["splits.csv"]


def test_splits_are_those_of_a_run_and_can_be_used_elsewhere(own_folder: Path, tmp_path: Path) -> None:
    check(folder_dataset(own_folder), own_folder)
    written = own_folder / "out/splits.csv"
    before = {name: rows_of(own_folder, name) for name in SPLITS}
    assert before["test"]
    written.replace(own_folder / "splits.csv")
    assert {name: rows_of(own_folder, name) for name in SPLITS} == before


@pytest.mark.parametrize("stated", ["", "groups = '/(.)'\n"])
@pytest.mark.parametrize("layout", ["images", "images/train"])
def test_drawn_splits_can_be_stated(tmp_path: Path, layout: str, stated: str) -> None:
    """Also next to groups in dataset.toml, and to folders that assign the splits but for validation."""
    folder, noise = tmp_path / "own", np.random.default_rng(0)
    for place in (layout, "images/test") if layout != "images" else (layout,):
        for index in range(24):
            name = ("healthy", "sick")[index % 2]
            save(
                folder / place / name / f"{index}-{place[-4:]}.png",
                noise.integers(0, 255, (SIDE, SIDE), dtype=np.uint8),
            )
    (folder / "dataset.toml").write_text(stated)
    check(folder_dataset(folder), tmp_path)
    before = {name: rows_of(folder, name) for name in SPLITS}
    assert all(before.values())
    (tmp_path / "out/splits.csv").rename(folder / "splits.csv")
    assert {name: rows_of(folder, name) for name in SPLITS} == before
    text = (folder / "splits.csv").read_text()
    if layout == "images":
        (folder / "splits.csv").write_text(text.replace(",test,", ",train,", 1))
        assert {name: rows_of(folder, name) for name in SPLITS} != before
    else:
        (folder / "splits.csv").write_text(text.replace(",test,", ",train,", 1))
        with pytest.raises(UserError, match="folders assign other splits"):
            rows_of(folder, "train")


def rows_of(folder: Path, split: str) -> list[tuple[str, str]]:
    samples = folder_dataset(folder).builder(folder, split)
    return [(row.id, row.group) for row in samples.rows]


def test_what_no_program_sees_is_said(own_folder: Path) -> None:
    _, said, _ = check(folder_dataset(own_folder), own_folder)
    assert "Not checked: whether each image shows what its class says" in said
    assert "Not checked: whether the masks outline all lesions" in said
    assert "12 of 24 images have no mask, and a run scores no localisation on them" in said


def test_nothing_is_written_where_one_stands(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = CliRunner().invoke(app, ["check-data", f"folder:{own_folder}@modality=ct"], obj=lambda: None)
    assert done.exit_code == 0, done.output
    assert [file.name for file in Path().iterdir()] == ["results"]
    name = own_folder.name
    assert {file.name for file in Path(f"results/check/{name}").iterdir()} >= {
        "samples.png",
        "faults.csv",
        "splits.csv",
    }


def test_reading_says_how_far_it_is(own_folder: Path) -> None:
    said: list[str] = []
    info = folder_dataset(own_folder)
    load_split(info, Request(own_folder, SIDE, 0), "train", own_folder / "cache", said.append)
    assert said == [f"{info.name}: reading train, image 1 of 8"]
    load_split(info, Request(own_folder, SIDE, 0), "train", own_folder / "cache", said.append)
    assert len(said) == 1  # the second time it comes from the cache


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{own}"], 0, "No faults found."),
        (["{bad}"], 1, "cannot be read as an image"),
        (["cxr", "--data-root", "{own}"], 2, "error: data set 'cxr' is not there"),
        (["{own}", "--splits", "/nowhere"], 2, "error: --splits /nowhere: no such folder"),
        (["{own}", "--size", "0"], 2, "Invalid value"),
    ],
)
def test_exit_codes(own_folder: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    if code == 1:
        cut(own_folder / "images/sick/3.png")
    filled = [
        word.replace("{own}", f"folder:{own_folder}").replace("{bad}", f"folder:{own_folder}") for word in arguments
    ]
    words = [sys.executable, str(ROOT / "run_benchmark.py"), "check-data", *filled, "--out", str(tmp_path / "check")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "check/samples.png").exists() == (code < 2)


def _checked(folder: Path, *options: str) -> tuple[int, str]:
    words = ["check-data", f"folder:{folder}", "--out", str(folder.parent / "check"), *options]
    done = CliRunner().invoke(app, words, obj=lambda: None)
    return done.exit_code, " ".join(done.output.split()) + str(done.exception)


def test_config_says_how_to_read(own_folder: Path, tmp_path: Path) -> None:
    """Its section ``[data]``, and the one of the data set alone, but not its sizes and numbers of images."""
    for file in own_folder.glob("masks/sick/*.png"):
        save(file, 255 - lesion())
    code, said = _checked(own_folder)
    assert code == 1
    assert "as if lesion and background were swapped" in said
    meaning = "mask_values = [0]\n"
    for section in ("[data]\nsize = 64\ntrain = 2\n", f'[datasets."folder:{own_folder}".data]\n'):
        config = tmp_path / "own.toml"
        config.write_text(f"{section}{meaning}")
        code, said = _checked(own_folder, "--config", str(config))
        assert (code, "No faults found." in said) == (0, True), said
        assert said.count(" all 8 4 4 ") == 3  # every image of every split


@pytest.mark.parametrize("config", ["", "absent.toml"])
def test_config_that_is_not_there(own_folder: Path, config: str) -> None:
    code, said = _checked(own_folder, "--config", config)
    assert code != 0
    assert "config" in said
