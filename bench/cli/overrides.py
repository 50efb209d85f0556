"""Flags that override values of a config; apart from the command line because it needs the heavy packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.cli.flags import names_of
from bench.config import lay_over, load_config, stated_values
from bench.errors import UserError
from bench.specs import parse_spec, plant

#: Options that take several names; the config's section ``run`` has the same keys.
LISTS = ("datasets", "backbones", "heads", "explainers", "metrics", "seeds", "studies")


@dataclass(frozen=True)
class Flags:
    """Flags of a run that override values of its config, as typed; None = not given.

    Attributes:
        datasets, backbones, heads, explainers, metrics, seeds, studies: names, comma separated.
        probes: former name of ``studies``.
        shortcut: planted in every data set.
        size: input side in pixels.
        folds: parts of a cross-validation.
        epochs: epochs of every training.
        pretrained: start from ImageNet weights where there are any.
        explain: diseased images to explain and occlude, and the most healthy ones; a number or ``all``.
        batch_size: of training and explaining.
        init: file of weights that every training starts from.
        align: where the cells of feature maps are drawn.
        page_images: images per data set in the page; a number or ``all``.
        allow_duplicates: accept one picture in two splits.
    """

    datasets: str | None = None
    backbones: str | None = None
    heads: str | None = None
    explainers: str | None = None
    metrics: str | None = None
    seeds: str | None = None
    studies: str | None = None
    probes: str | None = None
    shortcut: str | None = None
    size: int | None = None
    folds: int | None = None
    epochs: int | None = None
    pretrained: bool | None = None
    explain: str | None = None
    batch_size: int | None = None
    init: Path | None = None
    align: str | None = None
    page_images: str | None = None
    allow_duplicates: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Flags:
        """Picks the flags out of all parameters of a command; those that it does not have are not given."""
        return cls(**{one.name: parameters[one.name] for one in fields(cls) if one.name in parameters})

    def lists(self) -> dict[str, list[str]]:
        """Returns key of ``[run]`` -> names, for the lists that are given.

        Raises:
            UserError: a list is empty, or ``probes`` and ``studies`` are both given.
        """
        if self.probes is not None and self.studies is not None:
            raise UserError("--probes is the old name of --studies; give --studies alone")
        given = {key: names_of(getattr(self, key)) for key in LISTS} | (
            {"studies": names_of(self.probes)} if self.probes is not None else {}
        )
        return {key: names for key, names in given.items() if names is not None}

    def sections(self) -> dict[str, dict[str, Any]]:
        """Returns section -> values that replace those of the config, of its data sets and of their backbones.

        Raises:
            UserError: ``explain`` is neither a number nor ``all``.
        """
        count = _count("--explain", self.explain, "diseased images")
        explained = {} if self.explain is None else dict.fromkeys(("diseased", "healthy", "faithful"), count)
        values: dict[str, dict[str, Any]] = {
            "data": {"size": self.size, "folds": self.folds, "allow_duplicates": self.allow_duplicates or None},
            "training": {"epochs": self.epochs, "batch_size": self.batch_size},
            "explain": {"batch_size": self.batch_size, "align": self.align},
        }
        given = {name: {k: v for k, v in some.items() if v is not None} for name, some in values.items()}
        given["explain"] |= explained
        return given

    def stated(self) -> dict[str, Any]:
        """Returns the values that the flags state, nested as a config, without those of lists that only omit names."""
        lists = {key: names for key, names in self.lists().items() if not all(one.startswith("-") for one in names)}
        run = {"init": self.init and str(self.init), "pretrained": self.pretrained}
        return {"run": {key: value for key, value in (run | lists).items() if value is not None}} | self.sections()


def merged_values(config: str, flags: Flags) -> dict[str, Any]:
    """Returns the values of a config, overridden by flags; a flag also overrides those of data sets and backbones.

    Raises:
        UserError: There is no such config, or the value of a flag is malformed.
    """
    values = load_config(config).model_dump()
    run = values["run"]
    run |= {key: _among(names, key, run[key]) for key, names in flags.lists().items()}
    if flags.shortcut is not None:
        plant(flags.shortcut, run)
    if flags.init is not None:
        run["init"] = str(flags.init)
    if flags.pretrained is not None:
        run["pretrained"] = flags.pretrained
    if flags.size is not None:
        run["sizes"] = []
    for section, changes in flags.sections().items():
        for overridden in (values, *values["datasets"].values()):
            overridden[section] |= changes
    for backbone in (one for overridden in values["datasets"].values() for one in overridden["backbones"].values()):
        backbone["training"] |= flags.sections()["training"]
    if flags.page_images is not None:
        count = _count("--page-images", flags.page_images, "images per data set")
        values["report"]["page_images"] = "all" if count is None else count
    return values


def stated_by(config: str, flags: Flags) -> dict[str, Any]:
    """Returns the values that the user states in files and flags, nested as a config; the others may be chosen."""
    stated = stated_values(config)
    lay_over(stated, flags.stated())
    return stated


def _among(names: list[str], key: str, before: list[str]) -> list[str]:
    """Returns the names of a flag; if all of them are left out (``-name``), they are left out of those before."""
    if key == "studies" and names == ["none"]:
        return []
    if key != "seeds" and all(name.startswith("-") for name in names):
        return [*before, *names]
    return names


def _count(flag: str, text: str | None, what: str) -> int | None:
    """Reads a number or ``all``, which is None as in a config.

    Raises:
        UserError: it is neither.
    """
    if text in (None, "all"):
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UserError(f"{flag} {text}: give a number of {what}, or all")
    return int(text)


def data_values(config: str | None, name: str, size: int, seed: int, allow_duplicates: bool) -> dict[str, Any]:
    """Returns the values by which ``check-data`` reads a data set: what a config says about data, and its own flags.

    The whole data set is read, so the numbers of images of the config do not count.

    Raises:
        UserError: there is no such config.
    """
    values = load_config(config).model_dump() if config is not None else {"data": {}, "datasets": {}}
    for section in (values, *values["datasets"].values()):
        section["data"] |= {"size": size, "seed": seed, "train": None, "val": None, "test": None}
        if allow_duplicates:
            section["data"]["allow_duplicates"] = True
    datasets = {
        key: {"data": overrides["data"]}
        for key, overrides in values["datasets"].items()
        if not key.startswith("folder:") or key == parse_spec(name).base
    }
    return {"run": {"datasets": [name]}, "data": values["data"], "datasets": datasets}
