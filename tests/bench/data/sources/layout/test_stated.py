"""``dataset.toml`` next to the user's images, and a modality in the name of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.config import parse_config
from bench.contracts import UserError
from bench.data.loading import Request, load_splits
from bench.data.prepare import request_for
from bench.data.sources.folder import folder_dataset
from bench.given.models.sources import named_dataset
from bench.run.plan import Plan, make_plan
from bench.training.augmentation import augmentation
from tests.support.datasets.folder import make_findings

SIDE = 32
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Twelve images of each of two classes, two per patient; a function that writes their ``dataset.toml``."""
    folder = tmp_path / "busi"
    noise = np.random.default_rng(0)
    for name in ("malignant", "benign"):
        for index in range(12):
            file = folder / f"images/{name}/p{name[0]}{index // 2}-{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 255, (SIDE, SIDE), dtype=np.uint8)).save(file)
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            mask[2:30, 3:30] = 3
            mask[8:12, 4:9] = 2
            (folder / f"masks/{name}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / f"masks/{name}/{file.stem}.png")

    def text(content: str) -> Path:
        (folder / "dataset.toml").write_text(content)
        return folder

    return text


def plan(name: str, **data: object) -> Plan:
    values = {"run": {"datasets": [name], "explainers": ["gradcam"], "metrics": ["audc"]}, "data": data}
    return make_plan(parse_config(values, "test"), Path("data"))


def test_every_fact_is_taken_from_the_file(write: Write) -> None:
    folder = write(
        """
        modality = "ultrasound"
        classes = ["malignant", "benign"]
        healthy = "benign"
        groups = '/(p\\w+)-'
        mask_values = [2]
        window = [0, 4095]
        source = "https://example.org/busi"
        licence = "CC0"
        citation = "Al-Dhabyani et al. 2020"
        """
    )
    info = folder_dataset(folder)
    assert (info.modality, info.classes, info.healthy, info.ordered) == (
        "ultrasound",
        ("malignant", "benign"),
        1,
        False,
    )
    assert (info.source, info.licence, info.citation) == ("https://example.org/busi", "CC0", "Al-Dhabyani et al. 2020")
    assert (info.mask_values, info.window) == ((2,), (0, 4095))
    groups = {
        id_: group for name in ("train", "val", "test") for id_, group in info.builder(folder, name).groups.items()
    }
    assert groups == {f"{n}/p{n[0]}{i // 2}-{i}.png": f"p{n[0]}{i // 2}" for n in info.classes for i in range(12)}


def test_masks_are_read_by_the_stated_values_and_a_run_may_state_others(write: Write, tmp_path: Path) -> None:
    folder = write("mask_values = [2]\nhealthy = false\n")
    name = f"folder:{folder}"
    for given, area in (({}, 20), ({"mask_values": [3]}, 28 * 27 - 20)):
        planned = plan(name, size=SIDE, **given)
        ((short, info),) = planned.datasets.items()
        request = request_for(info, planned.configs[short].data, tmp_path, False, None)
        for split in load_splits(info, request, tmp_path / "cache").values():
            assert {int(mask.sum()) for mask in split.masks} == {area}


def test_a_changed_file_is_read_again(write: Write, tmp_path: Path) -> None:
    groups = []
    for pattern in ("/(p.)", "/(p\\\\w+)-"):
        folder = write(f'groups = "{pattern}"\nmask_values = [2]\nhealthy = false\n')
        info = folder_dataset(folder)
        request = Request(tmp_path, SIDE, 0, mask_values=info.mask_values, allow_duplicates=True)
        try:
            splits = load_splits(info, request, tmp_path / "cache")
        except UserError:  # one group per class cannot be split
            groups.append(2)
        else:
            groups.append(len({group for split in splits.values() for group in split.groups}))
    assert groups == [2, 12]


@pytest.mark.parametrize(
    ("text", "healthy"),
    [
        ('positive = "malignant"', 0),
        ('positive = "benign"', 1),
        ("healthy = false", None),
        ('healthy = "malignant"', 1),
    ],
)
def test_the_healthy_or_positive_class_is_named(write: Write, text: str, healthy: int | None) -> None:
    assert folder_dataset(write(text)).healthy == healthy


def test_the_order_of_classes_may_be_that_of_grades(write: Write) -> None:
    info = folder_dataset(write('classes = ["malignant", "benign"]\nordered = true'))
    assert (info.classes, info.ordered) == (("malignant", "benign"), True)
    samples = info.builder(Path(), "train")
    assert {id_.partition("/")[0] for id_ in samples.groups} == set(samples.classes) == set(info.classes)
    assert samples.classes == info.classes
    assert folder_dataset(write(""), ["benign", "malignant"]).classes == ("benign", "malignant")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('modalty = "ct"', "unknown key 'modalty'; did you mean modality"),
        ('modality = "ultrasond"', "modality: unknown modality 'ultrasond'; did you mean ultrasound"),
        ('license = "CC0"', "unknown key 'license'; did you mean licence"),
        ('classes = ["malignant", "bening"]', "classes: no class folder 'bening'; did you mean benign"),
        ('classes = ["malignant"]', "classes: the folder 'benign' is not listed"),
        ('classes = ["benign", "benign"]', "classes: 'benign' appears twice"),
        ("ordered = true", "ordered needs classes"),
        ('healthy = "bening"', "healthy: no class folder 'bening'; did you mean benign"),
        ("healthy = true", "healthy: true is no class"),
        ('positive = "malign"', "positive: no class folder 'malign'; did you mean malignant"),
        ('positive = "benign"\nhealthy = "benign"', "healthy and positive exclude each other"),
        ('groups = "("', r"groups: '\(' is not a regular expression"),
        ('groups = "p"', "groups: 'p' has 0 pairs of parentheses"),
        ("window = [4095, 0]", "window: 4095 is not below 0"),
        ('mask_values = ["red"]', "mask_values: 'red' is not a number"),
        ("modality = ct", "cannot be read as TOML"),
    ],
)
def test_mistakes_are_one_line_with_the_file(write: Write, text: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.toml: .*{reason}") as caught:
        folder_dataset(write(text))
    assert "\n" not in str(caught.value)


def test_positive_needs_two_classes(write: Write) -> None:
    folder = write('positive = "malignant"')
    (folder / "images/unclear").mkdir()
    with pytest.raises(UserError, match="positive needs two classes, there are 3; state healthy instead"):
        folder_dataset(folder)


def test_groups_must_be_found_in_every_name_and_are_stated_once(write: Write) -> None:
    folder = write('groups = "(pm.)"')
    with pytest.raises(UserError, match=r"groups: '\(pm\.\)' finds no patient in 'benign/pb0-0\.png'"):
        folder_dataset(folder).builder(folder, "train")
    write('groups = "/(p..)"')
    (folder / "splits.csv").write_text("file,group\nbenign/pb0-0.png,a\nmalignant/pm0-0.png,b\n")
    with pytest.raises(UserError, match=r"splits\.csv and .*dataset\.toml both state groups"):
        folder_dataset(folder).builder(folder, "train")


def test_a_folder_of_findings_takes_what_its_table_does_not_state(tmp_path: Path) -> None:
    folder = make_findings(tmp_path / "findings")
    (folder / "dataset.toml").write_text('modality = "cxr"\nlicence = "CC0"\n')
    assert (folder_dataset(folder).modality, folder_dataset(folder).licence) == ("cxr", "CC0")
    (folder / "dataset.toml").write_text('healthy = "none"\n')
    with pytest.raises(UserError, match=r"dataset\.toml: healthy does not apply, because labels\.csv states"):
        folder_dataset(folder)


def test_a_modality_in_the_name_is_that_of_the_training(write: Write) -> None:
    spec = f"folder:{write('')}@modality=ultrasound"
    assert [info.modality for info in plan(spec).datasets.values()] == ["ultrasound"]
    write('modality = "ct"')
    ((_, info),) = plan(spec).datasets.items()
    assert info.modality == "ultrasound"
    images = torch.linspace(0, 1, 40)[:, None].expand(64, 3, 40, 40)
    moved = augmentation(info.modality, "light")(images)[:, 0, :, 20]
    assert (moved[:, -1] > moved[:, 0]).all()


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        ("@modality=ultrasond", "unknown modality 'ultrasond'; did you mean ultrasound"),
        ("@modalty=ultrasound", "no parameter 'modalty'; did you mean modality"),
    ],
)
def test_typos_in_the_name_are_answered_with_the_closest_word(write: Write, suffix: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        plan(f"folder:{write('')}{suffix}")


@pytest.mark.parametrize(
    ("suffix", "healthy"),
    [("@healthy=benign", "benign"), ("@positive=benign", "malignant"), ("@healthy=false", None)],
)
def test_the_name_states_the_healthy_or_positive_class(write: Write, suffix: str, healthy: str | None) -> None:
    """It replaces what the file states."""
    folder = write('healthy = "malignant"')
    ((_, info),) = plan(f"folder:{folder}{suffix}@modality=ct").datasets.items()
    assert (None if info.healthy is None else info.classes[info.healthy]) == healthy
    assert info.modality == "ct"


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        ("@healthy=bening", "data set folder:.*busi: healthy: no class folder 'bening'; did you mean benign"),
        ("@healthy=true", "healthy: true is no class"),
        ("@healthy=benign@positive=benign", "healthy and positive exclude each other"),
    ],
)
def test_a_wrong_class_in_the_name_is_one_line(write: Write, suffix: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        plan(f"folder:{write('')}{suffix}")
    with pytest.raises(UserError, match=r"data\.healthy applies to folder:PATH"):
        plan("cxr-phantom@healthy=opacity")


def test_a_class_called_0_can_be_named(write: Write) -> None:
    folder = write("")
    (folder / "images/benign").rename(folder / "images/0")
    (folder / "masks/benign").rename(folder / "masks/0")
    ((_, info),) = plan(f"folder:{folder}@healthy=0").datasets.items()
    assert info.classes[info.healthy or 0] == "0"


def test_masks_of_a_stated_negative_class_are_kept_and_doubted(write: Write, tmp_path: Path) -> None:
    """Benign lesions are lesions: a task against malignant ones still has a positive and a negative class."""
    name = f"folder:{write('mask_values = [2]')}@healthy=benign@size={SIDE}"
    ((short, info),) = plan(name).datasets.items()
    doubts: list[str] = []
    request = request_for(info, plan(name).configs[short].data, tmp_path, False, None)
    splits = load_splits(info, request, tmp_path / "cache", doubt=doubts.append)
    assert all(split.has_mask.all() for split in splits.values())
    assert (
        len([line for line in doubts if "class 'benign' is stated to be healthy, and masks mark lesions" in line]) == 1
    )
    for file in sorted((tmp_path / "busi/masks/benign").iterdir())[:8]:  # a third is left: faults of these masks
        file.unlink()
    ((_, info),) = plan(name).datasets.items()
    with pytest.raises(UserError, match="marks a lesion, but the class 'benign' has none"):
        load_splits(info, request, tmp_path / "cache")


def test_an_evaluation_reads_the_name_alike(write: Write, tmp_path: Path) -> None:
    _, info = named_dataset(f"folder:{write('')}@healthy=benign@modality=ct", tmp_path)
    assert info.classes[info.healthy or 0] == "benign"
    assert info.modality == "ct"


def test_the_modality_of_a_published_data_set_is_not_the_users_to_state() -> None:
    with pytest.raises(UserError, match=r"its modality is cxr; data\.modality applies to folder:PATH"):
        plan("cxr-phantom", modality="ct")
    assert plan("cxr-phantom", modality="cxr").datasets["cxr-phantom"].modality == "cxr"


def test_check_data_reads_by_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write('modality = "ultrasound"\nmask_values = [2]\nhealthy = false\nsource = "here"\n')
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check-data", f"folder:{folder}", "--size", "32"], obj=run_benchmark.register)
    assert done.exit_code == 0, done.output
