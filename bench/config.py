"""Configs: TOML files that are checked against one model, so that a wrong key fails before anything is computed."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench.configs.sections import DataSection, ExplainSection, ReportSection, RunSection, Section, TrainingSection
from bench.configs.tables import BackboneOverrides, Overrides, OwnSection
from bench.errors import UserError
from bench.specs import closest, parse_spec

CONFIG_FOLDER = Path(__file__).parent / "configs"


class Config(Section):
    """A whole config. ``heads``, ``explainers`` and ``studies`` hold constructor arguments by name.

    A file may begin with ``extends = "<shipped name or path>"``: its values then override that config's.

    Attributes:
        description: a sentence for ``list``.
        run: the grid of data sets, backbones, heads and seeds, and what is measured.
        data: images.
        training: recipe of every training.
        explain: explained images.
        report: comparisons and what the page shows.
        own: choices for own images.
        heads: head -> parameters.
        explainers: explainer -> parameters.
        studies: study -> parameters.
        datasets: data set -> settings that differ for it.
    """

    description: str = ""
    run: RunSection = RunSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    explain: ExplainSection = ExplainSection()
    report: ReportSection = ReportSection()
    own: OwnSection | None = None
    heads: dict[str, dict[str, Any]] = {}
    explainers: dict[str, dict[str, Any]] = {}
    studies: dict[str, dict[str, Any]] = {}
    datasets: dict[str, Overrides] = {}

    def for_dataset(self, name: str, backbone: str = "") -> Config:
        """Returns the config that applies to one data set, or to one backbone on it.

        Overrides replace common values: first those of the data set, then those of its variant (``fundus``,
        then ``fundus@grades``), then the backbone's, then what the name itself says (``cxr-phantom@size=96``).
        """
        spec = parse_spec(name)
        values = self.model_dump()
        for key in dict.fromkeys((spec.base.split("@")[0].split(":")[0], spec.base)):
            overrides = self.datasets.get(key, Overrides())
            for section in (overrides, overrides.backbones.get(backbone, BackboneOverrides())):
                lay_over(values, section.model_dump(include={"data", "training", "explain", "heads"}))
        values["data"] |= spec.parameters
        return parse_config(values, f"for {name}")


def lay_over(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Writes nested changes into nested values; a list replaces a list."""
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(key), dict):
            lay_over(values[key], change)
        else:
            values[key] = change


def shipped_configs() -> dict[str, Path]:
    """Returns name -> file of every config that comes with the package."""
    return {path.stem: path for path in sorted(CONFIG_FOLDER.glob("*.toml"))}


def load_config(name_or_path: str) -> Config:
    """Reads a shipped config by name, or a TOML file by path.

    Raises:
        UserError: unknown name, unreadable file, unknown key or a value out of range, in one line.
    """
    return parse_config(_read(name_or_path, Path(), ())[0], name_or_path)


def stated_values(name_or_path: str) -> dict[str, Any]:
    """Returns the values of a config that the choices of ``[own]`` must not replace.

    These are the values of all files of the user, and of shipped files that extend the one with the section ``[own]``.

    Raises:
        UserError: as ``load_config``.
    """
    return _read(name_or_path, Path(), ())[1]


def _read(name: str, folder: Path, above: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the values of a config and of the one that it ``extends``, and which of them are stated.

    Paths are relative to ``folder``; for stated values see ``stated_values``.
    """
    shipped = shipped_configs()
    path = shipped.get(name, folder / name)
    if not path.is_file():
        raise UserError(f"no config {name!r}: {closest(name, list(shipped))}, or give a TOML file")
    if str(path) in above:
        raise UserError(f"config {path} extends itself")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"config {path} cannot be read: {error}") from error
    values = _with_new_names(values, name)
    inherited: dict[str, Any] = {}
    stated: dict[str, Any] = {}
    if "extends" in values:
        inherited, stated = _read(str(values.pop("extends")), path.parent, (*above, str(path)))
    if path not in shipped.values() or "own" not in values:
        lay_over(stated, deepcopy(values))
    lay_over(inherited, values)
    return inherited, stated


def parse_config(values: dict[str, Any], origin: str) -> Config:
    """Checks a nested dictionary against the model.

    Args:
        values: content of a config.
        origin: named in the error.

    Raises:
        UserError: unknown key or a value out of range, in one line.
    """
    values = _with_new_names(values, origin)
    try:
        config = Config.model_validate(values)
        for overrides in config.datasets.values():
            DataSection.model_validate(config.data.model_dump() | overrides.data)
            TrainingSection.model_validate(config.training.model_dump() | overrides.training)
            ExplainSection.model_validate(config.explain.model_dump() | overrides.explain)
            for backbone in overrides.backbones.values():
                TrainingSection.model_validate(config.training.model_dump() | backbone.training)
    except ValidationError as error:
        raise UserError(f"config {origin}: {_describe(error)}") from error
    return config


def _with_new_names(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Replaces ``probes``, the former name of ``studies``, in ``[run]`` and as a table.

    Raises:
        UserError: both names are there.
    """
    run = values.get("run")
    for where, section in (("", values), ("run.", run if isinstance(run, dict) else {})):
        if {"probes", "studies"} <= section.keys():
            raise UserError(f"config {origin}: {where}probes is the old name of {where}studies; keep only the new one")
    renamed = {"studies" if key == "probes" else key: value for key, value in values.items()}
    if isinstance(run, dict):
        renamed["run"] = {"studies" if key == "probes" else key: value for key, value in run.items()}
    return renamed


def _describe(error: ValidationError) -> str:
    """Says what is wrong with the first wrong value; of an unknown key, also where a key of that name belongs."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    name, here = str(first["loc"][-1]), _section_at(first["loc"][:-1] or (error.title,))
    others = {other: title for title, section in _sections().items() for other in section.model_fields}
    if name in others and here is not None and name not in here.model_fields:
        return f"unknown key {key!r}; {name} belongs to [{others[name]}]"
    known = here.model_fields if here and closest(name, list(here.model_fields)).startswith("did") else others
    return f"unknown key {key!r}; {closest(name, list(dict.fromkeys([*known, *Config.model_fields])))}"


def _sections() -> dict[str, type[BaseModel]]:
    """Returns the sections of a config that are one model each, by name."""
    annotations = {name: field.annotation for name, field in Config.model_fields.items()}
    kinds = [(name, kind) for name, one in annotations.items() for kind in (get_args(one) or [one])]
    tables = {name for name, one in annotations.items() if get_origin(one) is dict}
    return {
        name: kind
        for name, kind in kinds
        if name not in tables and isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def _section_at(path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Returns the model of a section by the path to it in a config, or by its own name; None if there is none."""
    models: list[type[BaseModel]] = [Config, Overrides, BackboneOverrides, *_sections().values()]
    named = {kind.__name__: kind for kind in models}
    if path[0] == "datasets":
        return BackboneOverrides if "backbones" in path else Overrides
    return _sections().get(str(path[-1])) or named.get(str(path[-1]))
