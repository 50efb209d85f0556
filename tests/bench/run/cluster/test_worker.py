"""Worker's side: which code two processes must have in common."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from bench.registry import EXPLAINERS
from bench.run.cluster.worker import code_of_plan
from bench.run.plan import make_plan
from tests.bench.store.plugin_files import imported
from tests.support.made import forgotten_afterwards, register_squares, tiny_config

PLUGIN = """
from bench import Explainer, register_explainer

@register_explainer
class Mine(Explainer):
    name, family, signed, paper = "mine", "post-hoc", True, "-"

    def explain(self, classifier, images, targets):
        return images.sum(dim=1) * {factor}
"""


def code(folder: Path, factor: int, explainers: list[str]) -> str:
    """The digest of a plan after a plugin was imported that may take part in it."""
    file = folder / "mine.py"
    file.write_text(PLUGIN.format(factor=factor))
    with forgotten_afterwards():
        register_squares()
        module: ModuleType = imported(file)
        assert EXPLAINERS["mine"] is module.Mine
        return code_of_plan(make_plan(tiny_config(explainers=explainers), folder))


@pytest.mark.parametrize(("explainers", "is_same"), [(["mine", "random"], False), (["random"], True)])
def test_only_plugins_that_take_part_must_be_the_same(tmp_path: Path, explainers: list[str], is_same: bool) -> None:
    first = code(tmp_path, 1, explainers)
    assert code(tmp_path, 1, explainers) == first
    assert (code(tmp_path, 2, explainers) == first) == is_same
