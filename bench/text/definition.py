"""Definition of a function in one line, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def definition(function: Callable[..., Any]) -> str:
    """Returns what a function computes: the first paragraph of its docstring without markup; empty without one."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].replace("``", "").split())
    text = text.removeprefix("Computes ").removeprefix("Returns ")
    return text[:1].upper() + text[1:]
