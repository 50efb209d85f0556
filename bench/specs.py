"""Names with parameters: ``softcam-sparse@l1=1e-4``, ``cxr-phantom@size=96``, ``fundus-phantom@grades@size=96``.

The command line, configs and the names of rows share this syntax, so that a row can be run again by its name.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Characters of names that are paths as they are; ``\\w`` stands for letters, digits and ``_``.
_PLAIN = re.compile(r"[\w.+@=\- ]+")
MOST_BYTES = 100
#: Parameters of a folder of images that say how its files are read.
READING = {"modality", "healthy", "positive", "mask_values", "window", "grades", "allow_duplicates"}
#: Similarity from which a name is suggested before those that contain the wrong one; most names that are suggested;
#: fewest letters of a wrong name that are looked for inside of others.
_ALIKE, _MOST, _SHORTEST = 0.8, 3, 3
_PARAMETER = re.compile(r"(\w+)=([^@=]+)")


def is_plain_name(name: str) -> bool:
    """Returns whether a name can be part of a path as it is: letters, digits, ``._+@=-`` and inner spaces.

    It has at most ``MOST_BYTES`` bytes and is neither ``.`` nor ``..``.
    """
    is_written_so = _PLAIN.fullmatch(name) is not None and name == name.strip()
    return is_written_so and name not in (".", "..") and len(name.encode()) <= MOST_BYTES


def closest(name: str, known: Sequence[str]) -> str:
    """Returns the end of an error line: the known names closest to a wrong one, or all of them if none is close.

    A very similar name comes first, then names that contain it (``iou`` -> ``iou_at_area``), then similar ones.
    """
    part = _letters(name)
    inside = [one for one in known if len(part) >= _SHORTEST and part in _letters(one)]
    similar, alike = (difflib.get_close_matches(name, known, n=_MOST, cutoff=cutoff) for cutoff in (_ALIKE, 0.5))
    near = list(dict.fromkeys([*similar, *inside, *alike]))[:_MOST]
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"


def _letters(name: str) -> str:
    """Returns the letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name.lower()))


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

    So does an ``@key=value`` of ``folder:PATH`` if there is a folder of that name. Values are read as TOML (numbers,
    true, false); anything else is a string.
    """
    base, parameters = text, {}
    while match := _PARAMETER.fullmatch(base.rpartition("@")[2]):
        if "@" not in base or _is_folder(base):
            break
        parameters[match[1]] = _value(match[2])
        base = base.rpartition("@")[0]
    return Spec(text, base, dict(reversed(parameters.items())))


def short_names(specs: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Returns name -> spec: ``folder:/data/busi@size=96`` becomes ``busi@size=96``, other specs keep their text.

    A name has as many further folders of the path before it as it takes to differ from all others, and parameters that
    only say how files are read (``busi@modality=ultrasound``) if it takes them. A folder whose own name reads as a spec
    keeps the whole path.

    Args:
        specs: data sets as the user named them, all different.
        taken: registered names, which no folder may have.
    """
    specs = list(specs)
    folders = {spec: _folders(spec) for spec in specs}
    depth = dict.fromkeys(specs, 1)
    whole = {spec for spec in specs if not READING & parse_spec(spec).parameters.keys()}
    while True:
        names = {spec: _named(spec, folders[spec], depth[spec], spec in whole) for spec in specs}
        counts = Counter(names.values())
        clashing = [one for one in specs if counts[names[one]] > 1 or (folders[one] and names[one] in taken)]
        alike = [one for one in clashing if one not in whole and _paths(clashing, folders)[folders[one]] > 1]
        deeper = [one for one in clashing if depth[one] < len(folders[one])]
        if alike:
            whole |= set(alike)
        elif deeper:
            depth |= {one: depth[one] + 1 for one in deeper}
        else:
            return {names[one] if counts[names[one]] == 1 else one: one for one in specs}


def _paths(specs: Iterable[str], folders: Mapping[str, tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """Counts the paths of specs."""
    return Counter(folders[spec] for spec in specs)


def _folders(spec: str) -> tuple[str, ...]:
    """Returns the folders of the path of a ``folder:`` spec; empty for other specs."""
    kind, colon, path = parse_spec(spec).base.partition(":")
    parts = tuple(part for part in os.path.abspath(path).split(os.sep) if part) if colon and kind == "folder" else ()
    return () if parts and "@" in parts[-1] else parts


def _named(spec: str, folders: tuple[str, ...], depth: int, whole: bool) -> str:
    """Returns the name of a data set with some folders of its path; not ``whole``: without parameters of reading."""
    if not folders:
        return spec
    parameters = spec.removeprefix(parse_spec(spec).base)
    if not whole:
        parts = [part for part in parameters.split("@") if part and part.partition("=")[0] not in READING]
        parameters = "".join(f"@{part}" for part in parts)
    return "/".join(folders[-depth:]) + parameters


def _is_folder(text: str) -> bool:
    kind, _, path = text.partition(":")
    try:
        return kind == "folder" and os.path.isdir(path)
    except ValueError:  # a null character
        return False


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


def require_numbers(value: Any, booleans: bool = True) -> None:
    """Raises ValueError for a number that is not finite, at any depth; without ``booleans``, also for true and false.

    Python counts true as 1, so ``seeds = [true]`` would otherwise run as seed 1.
    """
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            require_numbers(inner, booleans)
    elif isinstance(value, bool) and not booleans:
        raise ValueError(f"{str(value).lower()} is not a number; write a number")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")


def require_distinct(values: Sequence[Any]) -> None:
    """Raises ValueError if two entries mean the same: equal numbers, names with equal parameters, or one folder.

    An entry that appears twice would be counted twice, for example as a second seed.
    """
    seen: dict[str, Any] = {}
    for value in values:
        meaning = _meaning(value)
        if meaning in seen:
            again = repr(value) if value == seen[meaning] else f"{value!r}, the same as {seen[meaning]!r},"
            raise ValueError(f"{again} appears twice; name each value once")
        seen[meaning] = value


def _meaning(value: Any) -> str:
    """Returns a text that is equal for entries of a list that mean the same."""
    text = str(value).strip()
    try:
        return repr(int(text))
    except ValueError:
        spec = parse_spec(text)
    kind, colon, path = spec.base.partition(":")
    base = f"folder:{os.path.realpath(path)}" if colon and kind == "folder" else spec.base
    return repr((base, sorted((key, repr(one)) for key, one in spec.parameters.items())))


_FORM = re.compile(r"(\w+):([\d.]+)")
_KINDS = ("tag",)
_MASK_VALUE = re.compile(r"(ignore:)?(?:(?:index:)?(\d{1,9})|#([0-9a-fA-F]{6}))")
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


@dataclass(frozen=True)
class MaskValues:
    """Stated meaning of the values of mask files; a value is a number (grey value or palette index) or a colour.

    Attributes:
        lesion: values that mean lesion.
        ignored: values that mean "undecided": such pixels count neither as lesion nor as background.
    """

    lesion: tuple[int | tuple[int, int, int], ...] = ()
    ignored: tuple[int | tuple[int, int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lesion)


def parse_mask_values(entries: Sequence[int | str]) -> MaskValues:
    """Reads mask values such as ``[1, 2]``, ``["index:1"]``, ``["#ff0000", "ignore:255"]``; empty = not stated.

    Raises:
        ValueError: an entry is of none of these forms, appears twice, or no lesion is stated.
    """
    lesion: list[int | tuple[int, int, int]] = []
    ignored: list[int | tuple[int, int, int]] = []
    for entry in entries:
        match = _MASK_VALUE.fullmatch(str(entry))
        if match is None or isinstance(entry, bool):
            forms = "a number, index:NUMBER, #RRGGBB, or one of these after ignore:"
            raise ValueError(f"mask_values: {entry!r} is not {forms}")
        colour = match[3]
        value = (int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:], 16)) if colour else int(match[2])
        if value in lesion or value in ignored:
            raise ValueError(f"mask_values: {entry!r} appears twice")
        (ignored if match[1] else lesion).append(value)
    if ignored and not lesion:
        raise ValueError("mask_values: no value of lesions is stated, only ignored ones")
    return MaskValues(tuple(lesion), tuple(ignored))
