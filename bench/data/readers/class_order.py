"""Order of the classes of a folder, because quadratic kappa needs grades and not an alphabetical order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.errors import UserError
from bench.specs import closest

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def ordered_classes(names: Iterable[str], grades: Sequence[str] = ()) -> tuple[tuple[str, ...], bool]:
    """Puts class names in order -> the names, and whether a later one is a higher grade.

    Args:
        names: names of the class folders.
        grades: all of them from the lowest to the highest grade; empty = not stated. Numbers in the names then give
            the order, if each name begins with its number, or if the names differ in nothing else.

    Raises:
        UserError: ``grades`` are not exactly the names.
    """
    known = sorted(names)
    if grades:
        if unknown := [grade for grade in grades if grade not in known]:
            raise UserError(f"data.grades: no class folder {unknown[0]!r}; {closest(unknown[0], known)}")
        if absent := [name for name in known if name not in grades]:
            raise UserError(f"data.grades: the class {absent[0]!r} has no grade; list every class folder once")
        return tuple(grades), True
    numbers = [_number_of(name) for name in known]
    frames = {_NUMBER.sub("#", name, count=1).casefold() for name in known}
    leading = all(_NUMBER.match(name) for name in known)
    if None in numbers or len(set(numbers)) < len(known) or not (leading or len(frames) == 1):
        return tuple(known), False
    return tuple(sorted(known, key=lambda name: _number_of(name) or 0.0)), True


def _number_of(name: str) -> float | None:
    """Returns the only number in a name, or the one at its start; None without such a number."""
    found = _NUMBER.findall(name)
    if len(found) == 1 or (found and _NUMBER.match(name)):
        return float(found[0])
    return None
