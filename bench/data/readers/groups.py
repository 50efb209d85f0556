"""Column of a table of splits that names patients, and the columns that nothing reads: either can hide a leak."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.errors import UserError

_BASES = (
    "group|patient|patienten?|subject|proband|person|participant|volunteer|individual|study|case|donor|animal|mrn|pid"
    "|specimen|slide|series|exam|examination|accession|encounter|volume|sequence|video|cluster"
)
_ENDINGS = "instance|id|ids|uid|no|nr|num|number|key|code|name|index|identifier"
_GROUP = re.compile(rf"(?:{_BASES})s?(?:{_ENDINGS})*")
#: Columns that describe an image or person without identifying the person.
_HARMLESS = re.compile(
    "|label|labels|class|classes|classname|target|diagnosis|finding|findings|dx|grade|level|severity|age|sex|gender|eye"
    "|laterality|side|view|position|width|height|size|fold|mask|note|notes|comment|comments|remark|remarks|index"
    "|unnamed\\d*|md5|sha256|hash|quality|modality|fitzpatrick|ethnicity|race|date|time|url|licence|license|format"
)


def columns_of(table: Path, found: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Finds the columns file, split and group of a table, in any case -> name -> column; and the unused columns.

    A group may be called patient, patient_id, PatientID, subject, study and the like.

    Args:
        table: named in errors.
        found: the column names of the table.

    Raises:
        UserError: a column is absent or there twice, two columns name groups, or no column names groups and an unknown
            column might.
    """
    plain = {name: re.sub(r"[\W_]+", "", name).lower() for name in found if name is not None}
    columns = {key: _only(table, key, [name for name in plain if plain[name] == key]) for key in ("file", "split")}
    groups = [name for name in plain if _GROUP.fullmatch(plain[name])]
    columns["group"] = _only(table, "group", groups)
    known = {key: column for key, column in columns.items() if column is not None}
    if "file" not in known or not {"split", "group"} & known.keys():
        raise UserError(f"{table}: columns file,split,group expected, found {','.join(plain)}")
    unused = [name for name in plain if name not in known.values()]
    unknown = [name for name in unused if not re.fullmatch(_HARMLESS, plain[name])]
    if "group" not in known and unknown:
        raise UserError(
            f"{table}: unknown column {', '.join(map(repr, unknown))}; rename it to 'group' if it names what images "
            "share, such as the patient, otherwise remove it"
        )
    return known, unused


def _only(table: Path, key: str, names: Sequence[str]) -> str | None:
    if len(names) > 1:
        raise UserError(f"{table}: {len(names)} columns name the {key}: {', '.join(names)}; keep one, the coarsest")
    return names[0] if names else None


def unchecked_groups(groups: Mapping[str, str], unused: Iterable[str] = ()) -> str:
    """Returns what cannot be checked about the groups of a folder; empty if every image has a stated group.

    Args:
        groups: id -> group, which is the id itself if none is stated.
        unused: columns of the table that nothing reads.
    """
    alone = sum(id_ == group for id_, group in groups.items())
    if not alone:
        return ""
    which = "" if alone == len(groups) else f" for {alone:,} of {len(groups):,} images"
    columns = f"; unused columns: {', '.join(unused)}" if unused else ""
    return f"which images are of one person{which}: state it in the column group of splits.csv{columns}"
