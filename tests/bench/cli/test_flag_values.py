"""Values of flags and configs that must be refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.cli.plugins import load_plugins
from bench.config import Config, parse_config
from bench.devices import choose_device
from bench.errors import UserError


def refusal(*arguments: str) -> str:
    """The error of a command line, which must fail before it computes."""
    outcome = CliRunner().invoke(app, list(arguments), obj=run_benchmark.register)
    assert isinstance(outcome.exception, UserError), outcome.output
    return str(outcome.exception)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--seeds", "-1"), "seeds"),
        (("--seeds", "0,0,0"), "twice"),
        (("--seeds", "1,01"), "twice"),
        (("--seeds", "9" * 23), "seeds"),
        (("--size", "8"), "data.size"),
        (("--epochs", "0"), "training.epochs"),
        (("--explain", "some"), "--explain some: give a number of diseased images, or all"),
        (("--explain", "0"), "explain.diseased"),
        (("--explainers", "all,-gradkam"), "unknown explainer 'gradkam'; did you mean gradcam"),
        (("--explainers", "gradcam,-layercam"), "leaves nothing out"),
        (("--explainers", "gradcam,-gradcam"), "no explainer is left"),
        (("--metrics", "all,-audk"), "unknown metric 'audk'; did you mean audc"),
        (("--metrics", "all,-audc@blurr"), "did you mean blur"),
        (("--heads", "all,-softkam"), "unknown head 'softkam'"),
        (("--datasets", "all,-cxr-fantom"), "unknown data set 'cxr-fantom'"),
        (("--studies", "none,sanity"), "unknown study 'none'"),
        (("--batch-size", "999999999999"), "batch_size"),
        (("--batch-size", "0"), "batch_size"),
        (("--page-images", "-1"), "--page-images -1"),
        (("--page-images", "some"), "a number of images per data set, or all"),
        (("--page-images", "9" * 12), "page_images"),
        (("--explainers", "all,gradcam,all"), "'all' appears twice"),
        (("--heads", "softcam-sparse@l1=1e-4,softcam-sparse@l1=0.0001"), "the same as"),
        (("--metrics", "audc,audc"), "twice"),
        (("--datasets", "cxr-phantom@size=100000000"), "size"),
        (("--config", ""), "--config"),
        (("--out", ""), "--out"),
        (("--out", " "), "--out"),
        (("--cache=",), "--cache"),
        (("--shortcut", ""), "--shortcut"),
        (("check-data", ""), "check-data"),
        (("check-data", "cxr-phantom", "--seed", "-3"), "seed"),
        (("report", ""), "report"),
    ],
)
def test_values_that_mean_nothing_are_refused(flags: tuple[str, ...], expected: str) -> None:
    assert expected in refusal(*flags)


@pytest.mark.parametrize("command", [(), ("list",), ("check-data", "cxr-phantom")])
def test_data_root_is_a_folder(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    assert refusal(*command, "--data-root", str(file)) == f"--data-root {file}: is a file; give a folder"


@pytest.mark.parametrize("command", [(), ("list",), ("check-data", "cxr-phantom")])
def test_a_mistyped_plugin_stops_every_command(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text("")
    assert "did you mean my_method.py?" in refusal(*command, "--plugins", str(tmp_path / "my_metod.py"))


def test_plugin_files_are_python_files_and_named_once(tmp_path: Path) -> None:
    good, other = tmp_path / "good.py", tmp_path / "other.txt"
    good.write_text("")
    other.write_text("")
    for files, expected in (
        ([tmp_path], "is a folder"),
        ([other], "must end with .py"),
        ([good, tmp_path / "." / "good.py"], "named twice"),
        ([tmp_path / "nowhere" / "good.py"], "no such folder"),
    ):
        with pytest.raises(UserError, match=expected):
            load_plugins(files)
    assert load_plugins([good]) == []


@pytest.mark.parametrize("name", ["cpu:7", "cpu:1", "meta", "", "cuda:-1", "tpu"])
def test_devices_that_cannot_compute_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="not usable here"):
        choose_device(name)
    assert choose_device("cpu:0") == torch.device("cpu:0")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "momentum", 5),
        ("training", "momentum", float("nan")),
        ("training", "lr", float("nan")),
        ("training", "lr", float("inf")),
        ("training", "lr", True),
        ("training", "weight_decay", -1),
        ("training", "epochs", True),
        ("training", "epochs", 10**12),
        ("explain", "steps", 10**9),
        ("data", "seed", -1),
        ("data", "train", 10**15),
        ("run", "seeds", [True]),
        ("run", "sizes", [64, 64]),
        ("run", "sizes", [0]),
        ("run", "datasets", ["folder:a", "folder:./a"]),
    ],
)
def test_numbers_have_a_range_and_lists_distinct_values(section: str, key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"{section}\.{key}"):
        parse_config({section: {key: value}}, "mine")


@pytest.mark.parametrize(
    "values",
    [
        {"heads": {"softcam-sparse": {"l1": float("nan")}}},
        {"explainers": {"random": {"shift": [1.0, float("inf")]}}},
        {"datasets": {"cxr-phantom": {"training": {"lr": float("nan")}}}},
        {"datasets": {"cxr-phantom": {"backbones": {"compact": {"heads": {"tte": {"l1": float("nan")}}}}}}},
    ],
)
def test_numbers_in_tables_are_finite(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is not a finite number"):
        parse_config(values, "mine")


def test_good_values_stay_as_they_are() -> None:
    values = {"run": {"seeds": ["0", 1, 2**32 - 1], "pretrained": True}, "training": {"momentum": 0, "lr": 1}}
    config: Config = parse_config(values, "mine")
    assert config.run.seeds == [0, 1, 2**32 - 1]
    assert (config.run.pretrained, config.training.momentum, config.training.lr) == (True, 0, 1)
