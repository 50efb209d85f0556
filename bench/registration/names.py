"""Names as users type them: lists with some left out, and suggestions for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from bench.errors import UserError
from bench.specs import parse_spec

#: Similarity from which a name is suggested before those that contain the wrong one; most names that are suggested;
#: fewest letters of a wrong name that are looked for inside of others.
_ALIKE, _MOST, _SHORTEST = 0.8, 3, 3


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


def split_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a list of names into those that are asked for and, without their ``-``, those that are left out."""
    return [one for one in names if one[:1] != "-"], [one[1:] for one in names if one[:1] == "-"]


def base_of(name: str) -> str:
    """Returns a name without its parameters."""
    return parse_spec(name).base


def leave_out(
    names: Sequence[str], unwanted: Sequence[str], kind: str, base: Callable[[str], str] = base_of
) -> list[str]:
    """Returns names without the unwanted ones.

    Args:
        names: all names.
        unwanted: names to leave out; one without parameters also leaves out the name with parameters.
        kind: word for a name in error messages.
        base: returns a name without its parameters.

    Raises:
        UserError: an unwanted name is not among them, or no name is left.
    """
    left = list(names)
    for name in unwanted:
        kept = [one for one in left if name not in (one, base(one))]
        if len(kept) == len(left):
            raise UserError(f"{kind} '-{name}' leaves nothing out: {name!r} is not asked for; {closest(name, left)}")
        left = kept
    if unwanted and not left:
        raise UserError(f"no {kind} is left after {', '.join(f'-{name}' for name in unwanted)}; keep at least one")
    return left
