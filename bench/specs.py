"""Names with parameters: ``softcam-sparse@l1=1e-4``, ``cxr-phantom@size=96``, ``fundus-phantom@grades@size=96``."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PARAMETER = re.compile(r"(\w+)=([^@=]+)")


@dataclass(frozen=True)
class Spec:
    """What a user wrote, taken apart.

    Attributes:
        text: as it was written; it names cells, rows and files.
        base: the registered name.
        parameters: the values behind it.
    """

    text: str
    base: str
    parameters: dict[str, Any]


def parse_spec(text: str) -> Spec:
    """Take trailing ``@key=value`` parts off a name; an ``@`` without ``=`` belongs to the name itself.

    Values are read as TOML (numbers, true, false), anything else is a string.
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
    """The arguments that a constructor will see: those given and the defaults of the others."""
    arguments = inspect.signature(constructor).bind(**given)
    arguments.apply_defaults()
    return dict(arguments.arguments)


_FORM = re.compile(r"(\w+):([\d.]+)")
_KINDS = ("tag",)
#: The studies that test for one, in ``bench.studies.shortcut``.
STUDIES = ("shortcut_use", "shortcut")


@dataclass(frozen=True)
class Shortcut:
    """A planted shortcut.

    Attributes:
        kind: what is planted; "tag" is a marker in a corner, as text and laterality tokens of radiographs are.
        rate: share of the diseased training and validation images that bear it; of the healthy ones 1 - rate do. In the
            test images it goes with nothing: half of each class bear it.

    Source: DeGrave et al. 2021, doi:10.1038/s42256-021-00338-7 (tokens as shortcuts of chest radiographs);
    Adebayo et al. 2022, arXiv:2212.04629 (planted signals to test explanations).
    """

    kind: str
    rate: float


def parse_shortcut(text: str) -> Shortcut:
    """Read ``tag:0.9``.

    Raises:
        ValueError: it is not of that form, with the reason.
    """
    match = _FORM.fullmatch(text)
    if not match or match[1] not in _KINDS:
        raise ValueError(f"shortcut {text!r} is not of the form tag:RATE, such as tag:0.9")
    try:
        rate = float(match[2])
    except ValueError:
        rate = float("nan")
    if not 0.5 <= rate <= 1:
        raise ValueError(f"shortcut {text!r}: the rate must lie between 0.5 (goes with nothing) and 1 (always)")
    return Shortcut(match[1], rate)


def plant(text: str, run: dict[str, Any]) -> None:
    """Give every data set of a ``[run]`` section this shortcut in its name, and add the probes that test for it."""
    planted = f"@shortcut={text}"
    named = (name if "shortcut" in parse_spec(name).parameters else name + planted for name in run["datasets"])
    run["datasets"] = list(dict.fromkeys(named))
    run["studies"] = list(dict.fromkeys([*run["studies"], *STUDIES]))
