"""Digests of settings and code, so that stored results are reused only where nothing they depend on has changed."""

from __future__ import annotations

import hashlib
import json


def digest(*values: object) -> str:
    """Returns a short hash of anything JSON can write; equal values give equal digests in every process."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
