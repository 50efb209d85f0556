"""Names with parameters: ``softcam-sparse@l1=1e-4``, ``cxr-phantom@size=96``, ``fundus-phantom@grades@size=96``.

The command line, configs and the names of rows share this syntax, so that a row can be run again by its name.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Characters of names that are paths as they are; ``\\w`` stands for letters, digits and ``_``.
_PLAIN = re.compile(r"[\w.+@=\- ]+")
MOST_BYTES = 100
_PARAMETER = re.compile(r"(\w+)=([^@=]+)")


def is_plain_name(name: str) -> bool:
    """Returns whether a name can be part of a path as it is: letters, digits, ``._+@=-`` and inner spaces.

    It has at most ``MOST_BYTES`` bytes and is neither ``.`` nor ``..``.
    """
    is_written_so = _PLAIN.fullmatch(name) is not None and name == name.strip()
    return is_written_so and name not in (".", "..") and len(name.encode()) <= MOST_BYTES


@dataclass(frozen=True)
class Spec:
    """A parsed name with parameters.

    Attributes:
        text: the name as the user wrote it; cells, rows and files are named by it.
        base: the registered name.
        parameters: the values that follow it.
    """

    text: str
    base: str
    parameters: dict[str, Any]


def parse_spec(text: str) -> Spec:
    """Splits trailing ``@key=value`` parts off a name; an ``@`` without ``=`` belongs to the name itself.

    Values are read as TOML (numbers, true, false); anything else is a string.
    """
    base, parameters = text, {}
    while match := _PARAMETER.fullmatch(base.rpartition("@")[2]):
        if "@" not in base:
            break
        parameters[match[1]] = _value(match[2])
        base = base.rpartition("@")[0]
    return Spec(text, base, dict(reversed(parameters.items())))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def all_parameters(constructor: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns all arguments of a constructor: the given ones and the defaults of the others."""
    arguments = inspect.signature(constructor).bind(**given)
    arguments.apply_defaults()
    return dict(arguments.arguments)


_FORM = re.compile(r"(\w+):([\d.]+)")
_KINDS = ("tag",)
#: The studies of ``bench.studies.shortcut``, which test for a planted shortcut.
STUDIES = ("shortcut_use", "shortcut")


@dataclass(frozen=True)
class Shortcut:
    """A planted shortcut.

    Attributes:
        kind: "tag" is a marker in a corner, like text and laterality tokens of radiographs.
        rate: share of the diseased training and validation images with the tag; the share of healthy ones is 1 - rate.
            In the test images the tag is independent of the class: half of each class have it.

    Source: DeGrave et al. 2021, doi:10.1038/s42256-021-00338-7 (tokens as shortcuts of chest radiographs);
    Adebayo et al. 2022, arXiv:2212.04629 (planted signals to test explanations).
    """

    kind: str
    rate: float


def parse_shortcut(text: str) -> Shortcut:
    """Reads a shortcut such as ``tag:0.9``.

    Raises:
        ValueError: the text is not of that form, with the reason.
    """
    match = _FORM.fullmatch(text)
    if not match or match[1] not in _KINDS:
        raise ValueError(f"shortcut {text!r} is not of the form tag:RATE, such as tag:0.9")
    try:
        rate = float(match[2])
    except ValueError:
        rate = float("nan")
    if not 0.5 <= rate <= 1:
        raise ValueError(f"shortcut {text!r}: the rate must lie between 0.5 (independent of the class) and 1 (always)")
    return Shortcut(match[1], rate)


def plant(text: str, run: dict[str, Any]) -> None:
    """Adds a shortcut to the name of every data set of a ``[run]`` section, and the studies that test for it."""
    planted = f"@shortcut={text}"
    named = (name if "shortcut" in parse_spec(name).parameters else name + planted for name in run["datasets"])
    run["datasets"] = list(dict.fromkeys(named))
    run["studies"] = list(dict.fromkeys([*run["studies"], *STUDIES]))
