"""Names as users type them: lists with some left out, and suggestions for a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from bench.errors import UserError
from bench.specs import closest, parse_spec


def split_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a list of names into those that are asked for and, without their ``-``, those that are left out."""
    return [one for one in names if one[:1] != "-"], [one[1:] for one in names if one[:1] == "-"]


def base_of(name: str) -> str:
    """Returns a name without its parameters."""
    return parse_spec(name).base


def leave_out(
    names: Sequence[str],
    unwanted: Sequence[str],
    kind: str,
    base: Callable[[str], str] = base_of,
    absent: Container[str] = (),
) -> list[str]:
    """Returns names without the unwanted ones.

    Args:
        names: all names.
        unwanted: names to leave out; one without parameters also leaves out the name with parameters.
        kind: word for a name in error messages.
        base: returns a name without its parameters.
        absent: names that ``all`` has left out already, which may be left out, too.

    Raises:
        UserError: an unwanted name is neither among them nor absent, or no name is left.
    """
    left = list(names)
    for name in unwanted:
        kept = [one for one in left if name not in (one, base(one))]
        if len(kept) == len(left) and name not in absent:
            raise UserError(f"{kind} '-{name}' leaves nothing out: {name!r} is not asked for; {closest(name, left)}")
        left = kept
    if unwanted and not left:
        raise UserError(f"no {kind} is left after {', '.join(f'-{name}' for name in unwanted)}; keep at least one")
    return left
