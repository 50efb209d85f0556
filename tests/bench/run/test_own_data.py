"""Choices for own images: they follow the images, and a value that the user states always wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.overrides import Flags, merged_values, stated_by
from bench.config import Config, load_config, parse_config
from bench.registry import BACKBONES
from bench.run.own_data import adapt
from bench.run.plan import make_plan
from tests.support.datasets.folder import write


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Backbones whose weights count as being on this machine."""
    names = ["efficientnet_lite0"]
    for name in BACKBONES:
        found = replace(BACKBONES[name], at_hand=lambda name=name: name in names)
        monkeypatch.setitem(BACKBONES._entries, name, found)
    return names


@pytest.fixture
def own(tmp_path: Path) -> str:
    return folder_of(tmp_path / "busi", 150, 170)


def folder_of(folder: Path, height: int, width: int, count: int = 20) -> str:
    """Images of two classes, of which 70 % are for training."""
    pixels = np.random.default_rng(0)
    for index in range(count):
        name = ("healthy", "sick")[index % 2]
        write(folder / f"images/{name}/{index}.png", pixels.integers(0, 256, (height, width), dtype=np.uint8))
    return f"folder:{folder}"


def chosen(config: str = "quick", **flags: Any) -> tuple[Config, list[str]]:
    given = Flags(**flags)
    return adapt(parse_config(merged_values(config, given), config), stated_by(config, given), Path("nowhere"))


def settings(config: Config, name: str) -> tuple[Any, ...]:
    one = config.for_dataset(name)
    return one.data.size, one.training.epochs, one.explain.diseased, one.run.backbones, one.run.pretrained


def test_settings_follow_the_images_and_one_line_says_how_to_change_them(own: str, at_hand: list[str]) -> None:
    config, (line,) = chosen(datasets=own)
    assert settings(config, own) == (160, 25, 100, ["efficientnet_lite0"], True)
    assert config.own is None
    plan = make_plan(config, Path("nowhere"))
    assert "scorecam" not in plan.explainers
    assert {key.backbone for key in plan.cells} == {"efficientnet_lite0"}
    assert line.startswith("chosen for busi: efficientnet_lite0 with ImageNet weights (--backbones; compact is faster)")
    for flag in ("--size", "--epochs", "--explain N|all", "--explainers", "--metrics", "--studies"):
        assert flag in line


@pytest.mark.parametrize(("height", "width", "size"), [(40, 50, 96), (150, 400, 160), (200, 190, 192), (900, 700, 224)])
def test_the_size_is_that_of_the_shorter_sides_within_bounds(
    tmp_path: Path, at_hand: list[str], height: int, width: int, size: int
) -> None:
    name = folder_of(tmp_path / "own", height, width)
    assert chosen(datasets=name)[0].for_dataset(name).data.size == size


def test_without_weights_on_this_machine_the_backbone_stays(own: str, at_hand: list[str]) -> None:
    at_hand.clear()
    config, (line,) = chosen(datasets=own)
    assert settings(config, own) == (160, 25, 100, ["compact"], False)
    assert config.run.explainers == ["all"]
    assert "ImageNet" not in line


def test_flags_win(own: str, at_hand: list[str]) -> None:
    config, lines = chosen(datasets=own, size=64, epochs=3, explain="7", folds=1, pretrained=False)
    assert settings(config, own) == (64, 3, 7, ["compact"], False)
    assert lines == []
    named, (line,) = chosen(datasets=own, backbones="efficientnet_lite0", explainers="gradcam", studies="none")
    assert (named.run.backbones, named.run.pretrained) == (["efficientnet_lite0"], True)
    assert (named.run.explainers, named.run.studies) == (["gradcam"], [])
    assert "--no-pretrained" in line
    downloaded, _ = chosen(datasets=own, backbones="resnet50")  # its weights are not here
    assert (downloaded.run.backbones, downloaded.run.pretrained) == (["resnet50"], False)


def test_the_name_wins(own: str, at_hand: list[str]) -> None:
    name = f"{own}@size=80"
    assert chosen(datasets=name)[0].for_dataset(name).data.size == 80


@pytest.mark.parametrize("table", ["", "datasets.folder.", 'datasets."{own}".'])
def test_files_of_the_user_win(own: str, at_hand: list[str], tmp_path: Path, table: str) -> None:
    file, table = tmp_path / "mine.toml", table.format(own=own)
    text = f'extends = "quick"\n[run]\nbackbones = ["compact"]\n[{table}data]\nsize = 72\n[{table}explain]\n'
    file.write_text(f"{text}diseased = 5\n[{table}training]\nepochs = 4\n")
    assert settings(chosen(str(file), datasets=own)[0], own) == (72, 4, 5, ["compact"], False)
    file.write_text('extends = "quick"\n[run]\nheads = ["blackbox"]\n')
    assert settings(chosen(str(file), datasets=own)[0], own) == (160, 25, 100, ["efficientnet_lite0"], True)


def test_a_file_with_all_keys_of_quick_states_all_of_them(own: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text((Path("bench/configs") / "quick.toml").resolve().read_text())
    config, _ = chosen(str(tmp_path / "mine.toml"), datasets=own)
    assert settings(config, own)[:3] == (96, 11, 32)


def test_phantoms_and_other_configs_are_left_alone(own: str, at_hand: list[str]) -> None:
    quick = load_config("quick")
    alone, lines = chosen(datasets="cxr-phantom")
    assert alone == parse_config(quick.model_dump() | {"own": None, "run": alone.run.model_dump()}, "quick")
    assert lines == []
    mixed, (line,) = chosen(datasets=f"cxr-phantom,{own}")
    assert settings(mixed, "cxr-phantom") == settings(quick, "cxr-phantom")
    assert settings(mixed, own) == (160, 25, 100, ["compact"], False)
    assert line.startswith("chosen for busi: 160 px")
    for name in ("smoke", "paper-quick"):
        assert chosen(name, datasets=own) == (chosen(name, datasets=own)[0], [])
        assert settings(chosen(name, datasets=own)[0], own) == settings(load_config(name), own)


def test_a_sweep_over_sizes_keeps_them(own: str, at_hand: list[str]) -> None:
    config, _ = chosen("resolution-quick", datasets=own)
    plan = make_plan(config, Path("nowhere"))
    assert sorted(one.data.size for one in plan.configs.values()) == [64, 96, 128, 192]
    assert set(plan.explainers) == {"softcam", "gradcam", "random", "mask_oracle", "grid_oracle"}


def test_few_images_of_a_class_are_divided_into_folds(own: str, at_hand: list[str]) -> None:
    config, (line,) = chosen(datasets=own)
    assert config.for_dataset(own).data.folds == 3
    assert "3 folds, as class 'healthy' has 10 images (--folds, 1 for none)" in line
    assert "25 epochs for 11 training images" in line  # two thirds of 20, less those for validation
    assert {key.fold for key in make_plan(config, Path("nowhere")).cells} == {1, 2, 3}


def test_pretrained_weights_need_fewer_epochs_for_many_images(tmp_path: Path, at_hand: list[str]) -> None:
    name = folder_of(tmp_path / "own", 8, 8, 800)
    assert chosen(datasets=name)[0].for_dataset(name).training.epochs == 4  # of 560 images
    assert "epochs per λ that is tried: 1" in chosen(datasets=name)[1][0]
    assert chosen(datasets=name, pretrained=False)[0].for_dataset(name).training.epochs == 11
    assert chosen(datasets=name, epochs=11)[0].for_dataset(name).training.epochs == 11


def test_enough_images_of_every_class_are_not_divided(tmp_path: Path, at_hand: list[str]) -> None:
    name = folder_of(tmp_path / "own", 8, 8, 400)
    assert chosen(datasets=name)[0].for_dataset(name).data.folds is None
    Path(name.removeprefix("folder:"), "images/sick/1.png").unlink()
    assert chosen(datasets=name)[0].for_dataset(name).data.folds == 3


@pytest.mark.parametrize(("flags", "folds"), [({"folds": 1}, None), ({"folds": 4}, 4), ({"explain": "2"}, None)])
def test_folds_that_the_user_states_or_excludes(
    own: str, at_hand: list[str], flags: dict[str, Any], folds: int | None
) -> None:
    config, lines = chosen(datasets=own, **flags)
    assert config.for_dataset(own).data.folds == folds
    assert not any("folds," in line for line in lines)


def test_splits_of_a_table_are_kept(own: str, at_hand: list[str]) -> None:
    folder = Path(own.removeprefix("folder:"))
    files = sorted(file.relative_to(folder / "images").as_posix() for file in folder.rglob("*.png"))
    splits = [("train", "val", "test", "train")[place % 4] for place in range(len(files))]
    table = folder / "splits.csv"
    table.write_text("file,split\n" + "".join(f"{file},{split}\n" for file, split in zip(files, splits, strict=True)))
    assert chosen(datasets=own)[0].for_dataset(own).data.folds is None
    table.write_text("file,group\n" + "".join(f"{file},{file}\n" for file in files))
    assert chosen(datasets=own)[0].for_dataset(own).data.folds == 3


def test_splits_of_folders_are_kept(tmp_path: Path, at_hand: list[str]) -> None:
    for split in ("train", "test"):
        folder_of(tmp_path / "drawn", 40, 40)
        (tmp_path / "drawn/images").rename(tmp_path / split)
        (tmp_path / "own/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / split).rename(tmp_path / "own/images" / split)
    name = f"folder:{tmp_path / 'own'}"
    assert chosen(datasets=name)[0].for_dataset(name).data.folds is None


def test_two_patients_of_a_class_make_no_three_folds(own: str, at_hand: list[str]) -> None:
    folder = Path(own.removeprefix("folder:"))
    files = sorted(folder.rglob("*.png"))
    rows = [f"{file.relative_to(folder / 'images').as_posix()},p{place % 2}" for place, file in enumerate(files)]
    (folder / "splits.csv").write_text("file,group\n" + "\n".join(rows) + "\n")
    assert chosen(datasets=own)[0].for_dataset(own).data.folds is None


def test_images_that_cannot_be_read_are_left_to_the_run(own: str, at_hand: list[str]) -> None:
    for file in Path(own.removeprefix("folder:")).rglob("*.png"):
        file.write_bytes(b"nothing")
    config, _ = chosen(datasets=own)
    assert config.for_dataset(own).data.size == 96
