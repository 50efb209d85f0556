"""Numbers in the documents are those of the reference run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.files import ROOT

SPEC = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "measurements" / "reference.py")
assert SPEC
assert SPEC.loader
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


@pytest.mark.parametrize("page", reference.pages(), ids=lambda page: page.name)
def test_filling_in_changes_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert reference.filled(text) == text, "python docs/measurements/reference.py"


def test_every_block_is_used_once_and_holds_numbers() -> None:
    texts = [page.read_text(encoding="utf-8") for page in reference.pages()]
    used = [name for text in texts for _, name, _ in reference._BLOCK.findall(text)]
    assert sorted(used) == sorted(reference.BLOCKS)
    for name, write in reference.BLOCKS.items():
        assert sum(letter.isdigit() for letter in write()) > 20, name


def test_a_wrong_number_is_replaced() -> None:
    (page,) = (one for one in reference.pages() if one.name == "results.md")
    text = page.read_text(encoding="utf-8")
    start = text.index("<!-- numbers: scores -->")
    wrong = text[:start] + text[start:].replace("0.", "9.", 1)
    assert wrong != text
    assert reference.filled(wrong) == text
