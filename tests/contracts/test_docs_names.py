"""Every file, module and public name that the documents mention exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.files import ROOT

#: The changelog names modules as they were before they moved.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "changelog.md")]
_FILE = re.compile(r"(?<![\w./-])((?:bench|softcam|baselines|tests|docs|results/reference)/[\w./-]*\w)")
_NAME = re.compile(r"(?<![\w./-])((?:bench|softcam|baselines)(?:\.\w+)+)(?![\w/-])")


def _exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for attribute in parts[cut:]:
                found = getattr(found, attribute)
        except AttributeError:
            return False
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    absent = [name for name in dict.fromkeys(_FILE.findall(text)) if not (ROOT / name).exists()]
    absent += [
        name for name in dict.fromkeys(_NAME.findall(text)) if not name.endswith((".py", ".md")) and not _exists(name)
    ]
    assert not absent, f"{page.name} mentions {absent}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken, f"{page.name} links to {broken}"
