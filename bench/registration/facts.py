"""Types of the facts that a plugin states.

A wrong one would otherwise fail in the report, after hours, in a line that does not name the plugin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from bench import contracts
from bench.errors import UserError
from bench.text.media import is_printable

#: Annotation -> words of an error message; others are shown as they are written.
_WORDS = {
    "str": "text",
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "bool | None": "True, False or None",
    "int | None": "a whole number or None",
    "tuple[str, ...]": "a list of texts",
    "tuple[float, float]": "two numbers (lowest, highest)",
    "Channels | None": "three numbers or None",
}


def check_fact(who: str, fact: str, annotation: str, value: Any) -> None:
    """Raises UserError if a fact has another type than its annotation; functions need only be callable.

    Args:
        who: kind and name of the plugin, the start of the error line.
        fact: name of the fact.
        annotation: type as ``bench.contracts`` writes it.
        value: what the plugin states.
    """
    if annotation.startswith("Callable"):
        if not callable(value):
            raise UserError(f"{who}: {fact} is {value!r}, a function is expected")
        return
    hint = eval(annotation, vars(contracts))  # an annotation of ours
    if _fits(value, hint):
        return
    names = [repr(one) for one in get_args(hint)] if get_origin(hint) is Literal else []
    expected = f"one of {', '.join(names)}" if names else _WORDS.get(annotation, annotation)
    raise UserError(f"{who}: {fact} is {value!r}, {expected} is expected")


def check_class(who: str, cls: type, base: type) -> None:
    """Raises UserError for a class attribute of another type than ``base`` declares for it."""
    for fact, annotation in base.__annotations__.items():
        if str(annotation).startswith("ClassVar[") and hasattr(cls, fact):
            check_fact(who, fact, str(annotation)[len("ClassVar[") : -1], getattr(cls, fact))


def check_metric(info: contracts.MetricInfo) -> None:
    """Raises UserError for facts of a metric that contradict each other."""
    low, high = info.value_range
    if math.isnan(low) or math.isnan(high) or not low < high:
        raise UserError(
            f"metric {info.name!r}: value_range is {info.value_range}; state the lowest value, then the highest"
        )


def check_dataset(info: contracts.DatasetInfo) -> None:
    """Raises UserError for facts of a data set that contradict each other; classes may come from its files."""
    who, count = f"data set {info.name!r}", len(info.classes)
    if (count == 1 and not (info.multilabel or info.regression)) or len(set(info.classes)) < count:
        raise UserError(f"{who}: classes are {info.classes!r}; state at least two different ones")
    if hidden := next((name for name in info.classes if not is_printable(name)), None):
        raise UserError(f"{who}: the class {hidden!r} has hidden characters in its name; rename it")
    if info.regression and (count != 1 or info.multilabel or info.healthy is not None or "train" in info.splits):
        raise UserError(f"{who}: regression has one class, none is healthy, and no split is for training")
    if info.multilabel and info.healthy is not None:
        raise UserError(f"{who}: healthy is {info.healthy}; with multilabel no class is healthy, so state None")
    if info.healthy is not None and count and not 0 <= info.healthy < count:
        raise UserError(f"{who}: healthy is {info.healthy}, an index of a class (0 to {count - 1}) or None is expected")


def annotations_of(info: type) -> dict[str, str]:
    """Returns fact -> annotation of the fields of an info."""
    return {field.name: str(field.type) for field in fields(info)}


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return any(value is one or (type(value) is type(one) and value == one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = (inner[0],) * len(value) if inner[-1] is ... else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(key, inner[0]) for key in value)
    if hint in (None, NoneType):
        return value is None
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)
