"""The command ``config``: its TOML reads back as the same config, and its page describes every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.config.page import config_page, meanings_of
from bench.commands.config.toml import resolved_toml
from bench.config import Config, load_config, shipped_configs
from bench.configs.sections import DataSection, ExplainSection, ReportSection, RunSection, TrainingSection
from bench.configs.tables import BackboneOverrides, Overrides, OwnSection
from bench.errors import UserError
from tests.support.files import ROOT
from tests.support.made import forgotten_afterwards

MODELS = [RunSection, DataSection, TrainingSection, ExplainSection, ReportSection, OwnSection, Overrides]


def called(*words: str) -> str:
    done = CliRunner().invoke(app, ["config", *words], obj=run_benchmark.register)
    assert done.exception is None, done.exception
    return done.output


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_config_reads_back_as_it_was(name: str, tmp_path: Path) -> None:
    (tmp_path / "again.toml").write_text(resolved_toml(name))
    assert load_config(str(tmp_path / "again.toml")) == load_config(name)


def test_unusual_values_read_back(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("""
extends = "smoke"
[data]
mask_values = [2, "#ff0000", "ignore:255"]
window = [-1000.0, 400.0]
healthy = false
[datasets."folder:/a b/c.d".data]
size = 64
[datasets."folder:/a b/c.d".backbones.compact.heads.softcam-sparse]
l1 = 1e-4
[report]
page_images = "all"
[report.primary]
faithfulness = "audc@zero"
""")
    (tmp_path / "again.toml").write_text(resolved_toml(str(tmp_path / "own.toml")))
    config = load_config(str(tmp_path / "again.toml"))
    assert config == load_config(str(tmp_path / "own.toml"))
    assert config.data.window == (-1000.0, 400.0)


def test_the_command_prints_the_config_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "again.toml").write_text(called("paper-quick"))
    assert load_config(str(tmp_path / "again.toml")) == load_config("paper-quick")
    wrong = CliRunner().invoke(app, ["config", "quik"], obj=run_benchmark.register)
    assert isinstance(wrong.exception, UserError)
    assert "did you mean quick" in str(wrong.exception)


def test_the_page_is_current() -> None:
    with forgotten_afterwards():
        page = config_page()
    assert (ROOT / "docs/config.md").read_text(encoding="utf-8") == page, "python run_benchmark.py config --page"


@pytest.mark.parametrize("model", [*MODELS, BackboneOverrides, Config])
def test_every_key_of_the_model_has_a_meaning(model: type[BaseModel]) -> None:
    assert [key for key in model.model_fields if not meanings_of(model).get(key)] == []


def test_every_key_has_a_row_with_its_default() -> None:
    page = config_page()
    for model in MODELS:
        for key in model.model_fields:
            assert f"| `{key}` | " in page
    assert "| `epochs` | whole number ≥ 1 ≤ 1,000,000 | `70` | of every training. |" in page
    assert '| `augmentation` | `"paper"`, `"light"`, `"none"` | `"paper"` |' in page
    assert "| `integrated_gradients` | `n_steps` | `50` | points on the path. |" in page
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []  # an argument without a meaning


def test_meanings_are_read_from_docstrings() -> None:
    class Parent:
        """Parent.

        Args:
            one: first ``x`` and
                more.
        """

    class Child(Parent):
        """Child.

        Attributes:
            two, three: both a|b.

        Source: none: here.
        """

    expected: dict[str, Any] = {"one": "first `x` and more.", "two": r"both a\|b.", "three": r"both a\|b."}
    assert meanings_of(Child) == expected
