"""Where the project is; small files that tests write, and the contents of a folder."""

from __future__ import annotations

from pathlib import Path

from bench.store.manifest import Manifest

ROOT = Path(__file__).parents[2]
#: A folder beside the checkout that holds ``samples/`` and ``splits/``; tests that need it are skipped without it.
REAL = next((found.parent for found in sorted(ROOT.parent.glob("*/samples"))), ROOT / "no-real-samples")


def write(files: Manifest, name: str, text: str = "ours") -> None:
    with files.replacing(name) as temporary:
        temporary.write_text(text)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
