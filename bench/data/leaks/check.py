"""Check of all images of a data set together: files that look like masks, and copies that are faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.contracts import DatasetInfo
from bench.data.checks import refuse
from bench.data.leaks.copies import copy_faults
from bench.data.leaks.search import Pairs
from bench.data.leaks.stored import is_generated, stored_look
from bench.data.readers.plausibility import judge
from bench.data.split import Split


def check_images(
    info: DatasetInfo,
    built: Mapping[str, Any],
    splits: Mapping[str, Split],
    folder: Path,
    has_mask_values: bool = False,
    allow_copies: bool = False,
    doubt: Callable[[str], None] | None = None,
) -> Pairs:
    """Finds copies, and refuses those that are faults and files that look like masks.

    Args:
        info: the data set.
        built: split -> the samples that the builder returned.
        splits: split -> these, decoded.
        folder: of earlier results.
        has_mask_values: whether the user states what the values of mask files mean.
        allow_copies: accept one picture in two splits.
        doubt: called with a line per fact that may be a mistake of the user.

    Returns:
        The copies, numbered through all splits.

    Raises:
        UserError: one line with the first five faults.
    """
    generated = all(map(is_generated, built.values()))
    look = stored_look(splits, info.copy_likeness, generated, folder)
    ids = [id_ for split in splits.values() for id_ in split.ids]
    verdict = judge(info, ids, look.two_valued.tolist(), look.shares.tolist(), has_mask_values)
    refuse(info, [*verdict.faults, *copy_faults(info, splits, look.pairs, allow_copies)])
    unused = [one for split in built.values() for one in getattr(split, "unused_faults", ())]
    for line in (*verdict.doubts, *(f"{Path(one.file).name} {one.reason}" for one in dict.fromkeys(unused))):
        if doubt is not None and not generated:
            doubt(line)
    return look.pairs
