"""The examples in the documents run as they stand."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli.plugins import load_plugins
from bench.errors import UserError
from bench.registry import ALL_REGISTRIES, EXPLAINERS
from bench.report.contents import TOPICS
from bench.report.frames.load import load_frames
from bench.report.tables.captions import FAMILIES
from bench.report.tables.main import all_tables
from tests.bench.given.user_model import trained_net, user_images
from tests.support.files import ROOT
from tests.support.made import run_tiny, tiny_config
from tests.support.tiny import tiny_classifiers

DOCS = ROOT / "docs"


def code_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)


pytestmark = pytest.mark.usefixtures("clean_registries")


def test_plugin_examples_reach_every_table(tmp_path: Path) -> None:
    files = []
    for number, block in enumerate(code_blocks((DOCS / "plugins.md").read_text(encoding="utf-8"))):
        files.append(tmp_path / f"plugin_{number}.py")
        files[-1].write_text(block, encoding="utf-8")
    assert load_plugins(files) == []
    images, classifier = torch.rand(2, 3, 32, 32), tiny_classifiers()["black box"]
    maps = EXPLAINERS["negative_mean"]().explain(classifier, images, torch.tensor([0, 1]))
    assert torch.equal(maps, -classifier.features(images).mean(dim=1))
    config = tiny_config(datasets=["two-tone"], explainers=["softcam", "negative_mean", "random"], metrics=["all"])
    assert run_tiny(tmp_path / "run", config).problems == []
    tables = all_tables(load_frames(tmp_path / "run"))
    for name, table in tables.items():
        if "explainer" in table.keys and not name.startswith("exactness"):
            assert "negative_mean" in {row["explainer"] for row in table.rows}, name
    assert any(column.name == "peak_distance" for column in tables["localisation"].columns)


def test_readme_examples_run(tmp_path: Path) -> None:
    """The plugin, and SoftCAM without the harness (on a smaller network, without its download)."""
    plugin, _, alone = code_blocks((DOCS.parent / "README.md").read_text(encoding="utf-8"))
    assert len(plugin.splitlines()) <= 15
    file = tmp_path / "my_method.py"
    file.write_text(plugin, encoding="utf-8")
    assert load_plugins([file]) == []
    assert "feature_norm" in EXPLAINERS
    alone = alone.replace("resnet50", "resnet18").replace('"IMAGENET1K_V2"', "None")
    assert "IMAGENET" not in alone
    names: dict[str, Any] = {"images": torch.rand(2, 3, 64, 64), "labels": torch.tensor([0, 1])}
    exec(alone, names)
    torch.testing.assert_close(names["exact"](names["images"]), names["trained"](names["images"]))
    assert names["loss"].requires_grad


def test_readme_evaluates_a_model_in_a_few_lines(
    tmp_path: Path, unsaved: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, snippet, _ = code_blocks((DOCS.parent / "README.md").read_text(encoding="utf-8"))
    assert len([line for line in snippet.splitlines() if line]) <= 8
    images, masks, labels = user_images(8)
    names: dict[str, Any] = {"model": trained_net(), "images": images, "masks": masks, "labels": labels}
    names["patients"] = [f"patient {place // 2}" for place in range(len(images))]
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the predictions are at chance")  # it was trained on other values
        exec(snippet, names)
    assert set(names["result"].frames.record.heads) == {"given", "tte"}
    assert (tmp_path / "results/mine/report.html").is_file()


EXAMPLES = [file for file in sorted((DOCS / "examples").glob("*.py")) if file.stem != "multi_label"]  # has its own test


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_examples_run(example: Path) -> None:
    """Each of them trains a model that is better than chance, and its scores say so."""
    names: dict[str, Any] = {}
    exec(example.read_text(encoding="utf-8"), names)
    result = names["result"]
    assert result.warnings == []
    assert result.classification["auc"] > 0.8
    assert result.verdict("gradcam", "random", metric="topk_precision").verdict == "better"


def test_example_of_several_findings_runs() -> None:
    names: dict[str, Any] = {}
    exec((DOCS / "examples/multi_label.py").read_text(encoding="utf-8"), names)
    result = names["result"]
    assert result.warnings == []
    assert result.classification["auc"] > 0.75
    assert set(result.scores["finding"]) == {*names["FINDINGS"], "no finding"}
    assert result.verdict("gradcam", "random", metric="pixel_auroc").verdict == "better"


HALF_TAKEN = """
from bench import Explainer, register_explainer

@register_explainer
class Fine(Explainer):
    name, family, signed, paper = "fine", "post-hoc", True, ""

@register_explainer
class Taken(Explainer):
    name, family, signed, paper = "gradcam", "post-hoc", True, ""
"""
MUTE = """
from bench import Explainer, register_explainer

@register_explainer
class Mute(Explainer):
    name = "mute"
"""
WRONG_NEED = """
from bench import metric

@metric("m", "localisation", ("masc",), True, (0, 1), "")
def m(x):
    return x
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        (HALF_TAKEN, "explainer name 'gradcam' is taken"),
        (MUTE, "Mute does not state its family, signed, paper"),
        (WRONG_NEED, "did you mean maps or masks"),
    ],
)
def test_wrong_plugin_is_one_line_and_leaves_nothing(tmp_path: Path, code: str, said: str) -> None:
    before = [set(registry) for registry in ALL_REGISTRIES]
    file = tmp_path / "wrong.py"
    file.write_text(code, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_plugins([file])
    assert said in str(caught.value)
    assert "wrong.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before == [set(registry) for registry in ALL_REGISTRIES]


def test_every_topic_of_the_report_is_explained() -> None:
    """A section of docs/reading.md for each topic with a table, and for each family of scores."""
    sections = set(re.findall(r"^### (\w+)", (DOCS / "reading.md").read_text(encoding="utf-8"), flags=re.MULTILINE))
    figures_only = {"maps", "classifiers"}  # they are in the table of figures
    topics = {topic.name for topic in TOPICS} - figures_only - {"scores"}
    assert topics | set(FAMILIES) <= sections
