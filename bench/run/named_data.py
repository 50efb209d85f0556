"""Data sets of a run by name: which of them are there, and what a config states about a folder of the user."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.configs.sections import DataSection
from bench.contracts import DatasetInfo
from bench.data.sources.folder import folder_dataset
from bench.errors import MissingData, UserError
from bench.registration.names import leave_out, split_names
from bench.registry import DATASETS
from bench.specs import closest, parse_spec


def resolve_datasets(
    names: Sequence[str], root: Path, sizes: Sequence[int] = (), absent_too: bool = False
) -> tuple[dict[str, DatasetInfo], dict[str, str]]:
    """Returns data sets by name, and why others are left out.

    ``all`` stands for every one whose files are there; ``-name`` leaves one out, there or not. With ``absent_too``,
    files of named ones need not be there.

    Raises:
        UserError: unknown name, a named data set whose files are absent, or nothing left. Data sets without room for a
            shortcut are left out of ``all@shortcut=…``.
    """
    chosen: dict[str, DatasetInfo] = {}
    absent: dict[str, str] = {}
    wanted, unwanted = split_names(names)
    for name in wanted:
        spec = parse_spec(name)
        if spec.base == "all":
            candidates = [DATASETS[known] for known in DATASETS if DATASETS[known].in_all]
            absent |= {info.name: reason for info in candidates if (reason := info.missing(root))}
            if "shortcut" in spec.parameters:
                absent |= {info.name: reason for info in candidates if (reason := why_no_shortcut(info))}
            parameters = name.removeprefix("all")
            chosen |= {info.name + parameters: info for info in candidates if info.name not in absent}
            continue
        is_folder = spec.base.startswith("folder:")
        if is_folder and (unknown := spec.parameters.keys() - DataSection.model_fields.keys()):
            hint = closest(min(unknown), list(DataSection.model_fields))
            raise UserError(
                f"data set {name!r}: there is no folder of this name, and no parameter {min(unknown)!r}; {hint}"
            )
        info = _known_dataset(spec.base)
        if (reason := info.missing(root)) and not absent_too:
            raise UserError(f"data set {info.name!r} is not there: {reason}")
        chosen[name] = info
    if not chosen:
        raise UserError("no data set to work on: " + "; ".join(f"{name}: {why}" for name, why in absent.items()))
    for name in unwanted:
        _known_dataset(parse_spec(name).base)
    chosen = {name: chosen[name] for name in leave_out(list(chosen), unwanted, DATASETS.kind, absent=absent)}
    absent = {name: reason for name, reason in absent.items() if name not in unwanted}
    if sizes:
        chosen = {f"{name}@size={size}": info for name, info in chosen.items() for size in sizes}
    return chosen, absent


def require_known(name: str) -> None:
    """Raises UserError if a data set is neither registered nor an existing folder ``folder:PATH``, nor ``all``."""
    base = parse_spec(name).base
    if base == "all":
        return
    kind, colon, path = base.partition(":")
    is_own = bool(colon) and kind == "folder"
    if base in DATASETS or (is_own and _is_folder(path)):
        return
    if not is_own and _is_folder(base):
        raise UserError(f"unknown data set {base!r}; it is a folder, so write folder:{base}")
    near = _similar_folder(path if is_own else base)
    if is_own and near:
        raise MissingData(f"no class folder in {path}: there is no such folder; did you mean folder:{near}?")
    if near and not closest(base, list(DATASETS)).startswith("did"):
        raise UserError(f"unknown data set {base!r}; did you mean folder:{near}?")


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name that is too long, or with a null character
        return False


def _similar_folder(path: str) -> str:
    """Returns the path of a folder next to this one with a similar name; empty if there is none."""
    parent, name = os.path.split(path)
    try:
        names = [one.name for one in os.scandir(parent or ".") if one.is_dir()]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(name, names, n=1)
    return os.path.join(parent, near[0]) if near else ""


def _known_dataset(base: str) -> DatasetInfo:
    """Returns a registered data set, or that of a folder ``folder:PATH``."""
    require_known(base)
    return folder_dataset(Path(base.removeprefix("folder:"))) if base.startswith("folder:") else DATASETS[base]


def why_no_shortcut(info: DatasetInfo) -> str:
    """Returns why no shortcut can be planted in this data set; empty if one can."""
    if "shortcut" in inspect.signature(info.builder).parameters:
        return ""
    return "no shortcut can be planted in it; name phantoms, such as cxr-phantom"


def read_as(name: str, info: DatasetInfo, data: DataSection) -> DatasetInfo:
    """Returns the data set with modality, order of classes and healthy class as the config states them.

    Raises:
        UserError: they are stated for a data set that is not a folder of the user, and differ from its own.
    """
    if data.modality:
        info = _of_modality(name, info, data.modality)
    stated = {"grades": data.grades, "healthy": data.healthy, "positive": data.positive}
    if not any(value not in ([], None, "") for value in stated.values()):
        return info
    path = parse_spec(name).base
    if path.startswith("folder:"):
        read = folder_dataset(Path(path.removeprefix("folder:")), data.grades, data.healthy, data.positive)
        return replace(read, modality=info.modality)
    healthy = None if info.healthy is None else info.classes[info.healthy]
    known = {"grades": list(info.classes), "healthy": healthy or False, "positive": ""}
    for key in [key for key, value in stated.items() if value not in ([], None, "", known[key])]:
        raise UserError(f"data set {name!r}: data.{key} applies to folder:PATH; remove it, or set it for folder only")
    return info


def _of_modality(name: str, info: DatasetInfo, modality: str) -> DatasetInfo:
    """Returns the data set with another modality, which is the user's to state for a folder only."""
    if not parse_spec(name).base.startswith("folder:") and modality != info.modality:
        raise UserError(
            f"data set {name!r}: its modality is {info.modality}; data.modality applies to folder:PATH, so remove it"
        )
    return replace(info, modality=modality)
