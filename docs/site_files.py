"""Files of the documentation site (a mkdocs hook): pages keep their path in the repository, so links work in both."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, every page of ``docs`` and every file of the repository that one of them links to."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in dict.fromkeys([*pages, *(target for page in pages for target in _targets(page))]):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def _targets(page: Path) -> list[Path]:
    """Files of the repository that a page links to; mkdocs itself reports links to anything that does not exist."""
    targets = [(page.parent / link).resolve() for link in _LINK.findall(page.read_text(encoding="utf-8"))]
    return [target for target in targets if target.is_file() and target.is_relative_to(ROOT)]
