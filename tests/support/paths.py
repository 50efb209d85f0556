"""Folders that tests read: the checkout, and real samples where a lab keeps some beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
#: A folder beside the checkout that holds ``samples/`` and ``splits/``; tests that need it are skipped without it.
REAL = next((found.parent for found in sorted(ROOT.parent.glob("*/samples"))), ROOT / "no-real-samples")
