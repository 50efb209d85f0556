"""Flags that override values of a config; apart from the command line because it needs the heavy packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import load_config
from bench.errors import UserError
from bench.specs import parse_spec, plant


def merged_values(
    config: str,
    lists: dict[str, list[str] | None],
    batch_size: int | None,
    init: Path | None,
    shortcut: str | None,
    align: str | None = None,
    allow_duplicates: bool = False,
) -> dict[str, Any]:
    """Returns the values of a config, overridden by flags; None keeps the value of the config.

    Raises:
        UserError: There is no such config, or ``shortcut`` is malformed.
    """
    values = load_config(config).model_dump()
    values["run"] |= {key: names for key, names in lists.items() if names is not None}
    if shortcut is not None:
        plant(shortcut, values["run"])
    if init is not None:
        values["run"]["init"] = str(init)
    overrides = values["datasets"].values()
    if allow_duplicates:
        for section in (values, *overrides):
            section["data"]["allow_duplicates"] = True
    if align is not None:
        for section in (values, *overrides):
            section["explain"]["align"] = align
    if batch_size is not None:
        for section in (values, *overrides):  # a flag overrides the settings of data sets and backbones
            section["training"]["batch_size"] = section["explain"]["batch_size"] = batch_size
        for backbone in (backbone for section in overrides for backbone in section["backbones"].values()):
            backbone["training"]["batch_size"] = batch_size
    return values


def with_page_images(values: dict[str, Any], count: str | None) -> dict[str, Any]:
    """Returns the values of a config with ``--page-images``; None keeps the number of the config.

    Raises:
        UserError: it is neither a number nor ``all``.
    """
    if count is None:
        return values
    if count != "all" and not (count.isascii() and count.isdecimal()):
        raise UserError(f"--page-images {count}: give a number of images per data set, or all")
    number = count if count == "all" else int(count)
    return values | {"report": values["report"] | {"page_images": number}}


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
