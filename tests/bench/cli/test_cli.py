"""The command line: one clear line for bad input, and files in the end."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import run_benchmark
from bench.cli.listing import listing
from bench.cli.main import app
from bench.cli.overrides import Flags, merged_values
from bench.commands.check_data import command as check_data
from bench.config import parse_config
from bench.contracts import DatasetInfo, UserError
from bench.data.loading import Request
from tests.support.files import ROOT


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_benchmark.py"), *arguments], capture_output=True, text=True, check=False
    )


def test_help_fits_a_screen_and_shows_examples() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 58
    assert "--datasets all" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--datasets", "fundus-fantom"], "error: unknown data set 'fundus-fantom'; did you mean fundus-phantom"),
        (["--device", "abacus"], "error: device 'abacus' is not usable here"),
        (["--config", "smoke", "--out", "/proc/nowhere"], "error: cannot write to /proc/nowhere"),
        (["report", "/nowhere"], "error: /nowhere holds no run"),
        (["--datasets", ","], "error: empty list of names"),
        (["--init", "/nowhere.pt"], "error: initial weights /nowhere.pt cannot be read"),
        (["check-data", "all@size=64"], "error: check-data takes one data set at a time"),
        (["export", "/nowhere"], "error: /nowhere is not a cell folder"),
        (["speed", "--backbone", "resnet81"], "error: unknown backbone 'resnet81'; did you mean resnet18"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_benchmark.py", *arguments])
    with pytest.raises(SystemExit) as left:
        run_benchmark.main()
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith(said)
    assert err == ""


def test_bad_input_ends_a_process_without_a_traceback() -> None:
    done = command("--datasets", "fundus-fantom")
    assert done.returncode == 2
    assert done.stdout.startswith("error: unknown data set 'fundus-fantom'; did you mean fundus-phantom")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_check_data_reads_what_a_run_of_that_name_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, Request]] = []

    def look(info: DatasetInfo, request: Request, page: Path, console: Console) -> bool:
        seen.append((info.name, request))
        return True

    monkeypatch.setattr(check_data, "check_dataset", look)
    name = "cxr-phantom@size=64@test=5@shortcut=tag:0.9"
    done = CliRunner().invoke(
        app, ["check-data", name, "--seed", "3", "--data-root", str(tmp_path)], obj=run_benchmark.register
    )
    assert done.exit_code == 0
    counts = {"train": None, "val": None, "test": 5}
    assert seen == [("cxr-phantom", Request(tmp_path, 64, 3, counts, skip_bad=True, shortcut="tag:0.9"))]
    wrong = CliRunner().invoke(app, ["check-data", "cxr-phantom@sise=64"], obj=run_benchmark.register)
    assert isinstance(wrong.exception, UserError)
    assert "sise" in str(wrong.exception)


def test_batch_size_beats_every_table(tmp_path: Path) -> None:
    tables = ("training", "datasets.cxr-phantom.training", "datasets.cxr-phantom.backbones.compact.training")
    (tmp_path / "own.toml").write_text("".join(f"[{table}]\nbatch_size = 32\n" for table in tables))
    for flag, expected in ((None, 32), (4, 4)):
        config = parse_config(merged_values(str(tmp_path / "own.toml"), Flags(batch_size=flag)), "own")
        assert config.for_dataset("cxr-phantom", "compact").training.batch_size == expected


def test_console_script_is_the_same_command_line() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, _, function = scripts["softcam"].partition(":")
    assert getattr(import_module(module), function) is run_benchmark.main


def test_align_overrides_every_data_set(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[explain]\nalign = "grid"\n[datasets.cxr-phantom.explain]\nalign = "grid"\n')
    for flag, expected in (("receptive-field", "receptive-field"), (None, "grid")):
        config = parse_config(merged_values(str(tmp_path / "own.toml"), Flags(align=flag)), "own")
        found = {config.for_dataset(name).explain.align for name in ("cxr-phantom", "oct-phantom")}
        assert found == {expected}
    with pytest.raises(UserError, match=r"explain.align: Input should be 'receptive-field' or 'grid'"):
        parse_config(merged_values("smoke", Flags(align="cells")), "smoke")


def test_list_states_the_networks_of_every_explainer(tmp_path: Path) -> None:
    run_benchmark.register()
    ((columns, rows),) = [(columns, rows) for title, columns, rows in listing(tmp_path) if title == "Explainers"]
    networks = {row[0]: row[columns.index("networks")] for row in rows}
    assert {name for name in networks if networks[name] == "transformers"} == {"attention_rollout", "chefer", "legrad"}
    assert {
        name: networks[name] for name in ("saliency", "random", "gradcam", "gradcam@captum", "guided_backprop")
    } == {
        "saliency": "any",
        "random": "any",
        "gradcam": "logits from the feature map",
        "gradcam@captum": "logits from the feature map",
        "guided_backprop": "ReLU networks",
    }


def test_list_states_the_grid_of_every_explainer(tmp_path: Path) -> None:
    run_benchmark.register()
    ((columns, rows),) = [(columns, rows) for title, columns, rows in listing(tmp_path) if title == "Explainers"]
    grids = {row[0]: row[columns.index("grid")] for row in rows}
    on_features = {"softcam", "gradcam", "scorecam", "random", "grid_oracle", "gradcam@captum"}
    assert {name for name in (*on_features, "saliency", "occlusion", "mask_oracle") if grids[name] == "features"} == (
        on_features
    )
