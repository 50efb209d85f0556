"""A config as TOML with all its values, as a start for one's own and to see what a run would do."""

from __future__ import annotations

from typing import Any

import tomli_w

from bench.config import load_config

_HEAD = """\
# All values of the config {name}. Keys that are not set, and empty tables, are left out.
# Every key is explained in docs/config.md. A file needs only the values that differ:
# extends = "{name}"

"""


def resolved_toml(name: str) -> str:
    """Returns a shipped config, or one by its path, as TOML that reads back as the same config.

    Raises:
        UserError: as ``load_config``.
    """
    return _HEAD.format(name=name) + tomli_w.dumps(_stated(load_config(name).model_dump(mode="json")))


def _stated(values: dict[str, Any]) -> dict[str, Any]:
    """Removes what TOML cannot state: None, which is the default of such a key; and empty tables."""
    inner = {key: _stated(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}
