"""The file ``dataset.toml`` next to the user's images: facts about them that names of files and folders do not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.configs.sections import ReadingSection
from bench.data.sources.layout.names import normal
from bench.errors import UserError
from bench.specs import closest

NAME = "dataset.toml"
#: Keys about classes and groups, which a folder with ``labels.csv`` states there.
_BY_TABLE = ("classes", "ordered", "healthy", "positive", "groups")


class Stated(ReadingSection):
    """Content of ``dataset.toml``; every key may be absent.

    Attributes:
        classes: all class folders, in the order of their indices.
        ordered: a later class is a higher grade.
        groups: regular expression with one pair of parentheses, which finds the patient in ``<class>/<file>``.
        source, licence, citation: where the images come from, their terms, and what to cite.
    """

    classes: list[str] = Field([])
    ordered: bool = False
    groups: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""

    @field_validator("groups")
    @classmethod
    def _with_one_group(cls, pattern: str) -> str:
        try:
            count = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
        if pattern and count != 1:
            raise ValueError(f"{pattern!r} has {count} pairs of parentheses; put one around the patient")
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Stated:
        if self.ordered and not self.classes:
            raise ValueError("ordered needs classes, from the lowest to the highest grade")
        return self

    def healthy_index(self, classes: Sequence[str], where: object) -> int | None:
        """Returns the index of the stated healthy class; None if it is stated that there is none.

        Args:
            classes: C names.
            where: the file or section, for errors.

        Raises:
            UserError: there is no such class, or ``positive`` does not leave exactly one class.
        """
        if self.healthy is False:
            return None
        key, name = ("positive", self.positive) if self.positive else ("healthy", str(self.healthy))
        name = normal(name)
        if name not in classes:
            raise UserError(f"{where}: {key}: no class folder {name!r}; {closest(name, classes)}")
        if key == "healthy":
            return classes.index(name)
        if len(classes) != 2:
            raise UserError(f"{where}: positive needs two classes, there are {len(classes)}; state healthy instead")
        return 1 - classes.index(name)

    def group_of(self, id_: str, where: Path) -> str:
        """Returns the patient in the name of an image; empty if ``groups`` is not stated.

        Raises:
            UserError: the expression does not match the name.
        """
        if not self.groups:
            return ""
        found = re.search(self.groups, id_)
        if found is None or not found[1]:
            raise UserError(f"{where}: groups: {self.groups!r} finds no patient in {id_!r}")
        return found[1]


def read_stated(folder: Path) -> Stated:
    """Reads ``dataset.toml`` of a folder; without the file, nothing is stated.

    Raises:
        UserError: it is not TOML, or a key or value is unknown; names the closest one.
    """
    file = folder / NAME
    if not file.is_file():
        return Stated()
    try:
        return Stated.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UserError(f"{file}: unknown key {key!r}; {closest(key, list(Stated.model_fields))}") from error
        text = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{file}: {f'{key}: ' if key else ''}{text}") from error
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as TOML ({error})") from error


def ordered_as_stated(names: Sequence[str], stated: Stated, where: Path) -> tuple[str, ...]:
    """Returns the class folders in the stated order, or as they are if none is stated.

    Raises:
        UserError: ``classes`` are not exactly the class folders.
    """
    if not stated.classes:
        return tuple(names)
    wanted = tuple(map(normal, stated.classes))
    if unknown := [name for name in wanted if name not in names]:
        raise UserError(f"{where}: classes: no class folder {unknown[0]!r}; {closest(unknown[0], names)}")
    if absent := [name for name in names if name not in wanted]:
        raise UserError(f"{where}: classes: the folder {absent[0]!r} is not listed; list every class folder once")
    return wanted


def require_findings_only(stated: Stated, folder: Path) -> None:
    """Raises UserError if the file states classes or groups although ``labels.csv`` does."""
    if key := next((key for key in _BY_TABLE if key in stated.model_fields_set), ""):
        raise UserError(f"{folder / NAME}: {key} does not apply, because labels.csv states findings and patients")
