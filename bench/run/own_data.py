"""Choices for the user's own images by these images, because the shipped settings are made for synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.config import Config, lay_over, parse_config
from bench.configs.tables import OwnSection
from bench.contracts import DatasetInfo
from bench.data.loading import build_samples
from bench.data.prepare import request_for
from bench.data.readers.images import BadFile
from bench.errors import UserError
from bench.registry import BACKBONES, DATASETS
from bench.run.named_data import read_as, resolve_datasets
from bench.specs import parse_spec, short_names

_SAMPLED = 15
_STEP = 32


@dataclass
class _Choices:
    """Values chosen for a run, and what is said about them.

    Attributes:
        values: nested values of a config.
        said: parts of the line about them, with the flag that changes each.
    """

    values: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def add(self, section: str, values: Mapping[str, Any], said: str) -> None:
        """Chooses values of a section."""
        self.values.setdefault(section, {}).update(values)
        self.said.append(said)


def adapt(config: Config, stated: Mapping[str, Any], root: Path) -> tuple[Config, list[str]]:
    """Replaces settings of ``folder:`` data sets by choices that fit their images.

    Args:
        config: of the run; without a section ``[own]``, nothing is chosen.
        stated: values that the user states, nested as a config, which are kept.
        root: folder of the downloaded data sets.

    Returns:
        The config without ``[own]``, and a line per choice, which says what is chosen and how to change it.

    Raises:
        UserError: a name of a data set is unknown.
    """
    own = config.own
    values = config.model_dump() | {"own": None}
    if own is None:
        return config, []
    found, _ = resolve_datasets(config.run.datasets, root, absent_too=True)
    folders = {name: info for name, info in found.items() if info.name.startswith("folder:")}
    said: dict[str, list[str]] = {}
    if folders and len(folders) == len(found):
        chosen = _backbone(own, config, stated.get("run", {}))
        values["run"] |= chosen.values.get("run", {})
        said["own images" if len(folders) > 1 else min(folders)] = chosen.said
    for name, info in folders.items():
        chosen = _by_images(own, config, stated, name, read_as(name, info, config.for_dataset(name).data), root)
        lay_over(values["datasets"].setdefault(parse_spec(name).base, {}), chosen.values)
        said[name] = said.get(name, []) + chosen.said
    short = {spec: name for name, spec in short_names(found, list(DATASETS)).items()}
    lines = [f"chosen for {short.get(name, name)}: {', '.join(parts)}" for name, parts in said.items() if parts]
    return parse_config(values, "with the choices for own images"), lines


def _backbone(own: OwnSection, config: Config, stated: Mapping[str, Any]) -> _Choices:
    """Chooses a pretrained backbone whose weights are here, and what a run computes with it."""
    chosen = _Choices()
    if stated.get("init") or stated.get("pretrained") is False:
        return chosen
    named = stated.get("backbones")
    there = [name for name in named or own.backbones if BACKBONES[parse_spec(name).base].at_hand()]
    if not there or (named and there != named):
        return chosen
    backbones = list(named or there[:1])
    if named is None:
        hint = f"(--backbones; {config.run.backbones[0]} is faster)"
        chosen.add("run", {"backbones": backbones, "pretrained": True}, f"{backbones[0]} with ImageNet weights {hint}")
    elif "pretrained" not in stated:
        chosen.add("run", {"pretrained": True}, "ImageNet weights (--no-pretrained)")
    for key in ("explainers", "metrics", "studies"):
        names = getattr(own, key)
        if names and key not in stated:
            short = f"{key} {','.join(names)}" if len(names) <= 2 else f"{len(names)} {key}"
            chosen.add("run", {key: names}, f"{short} (--{key})")
    return chosen


def _by_images(
    own: OwnSection, config: Config, stated: Mapping[str, Any], name: str, info: DatasetInfo, root: Path
) -> _Choices:
    """Chooses the settings of one folder; cross-validation of small data sets belongs here, too."""
    chosen, settings = _Choices(), config.for_dataset(name)
    fixed = _stated_for(stated, name)
    try:
        side, images = _look(info, settings, root)
    except UserError:  # the run says what is wrong with the data
        return chosen
    if "size" not in fixed["data"] and not config.run.sizes:
        size = min(max(round(side / _STEP) * _STEP, own.smallest), own.largest)
        chosen.add("data", {"size": size}, f"{size} px (the shorter side of its images is {side:.0f}; --size)")
    epochs = min(-(-own.passes // images), own.most_epochs)
    if "epochs" not in fixed["training"] and epochs > settings.training.epochs:
        chosen.add("training", {"epochs": epochs}, f"{epochs} epochs for {images:,} training images (--epochs)")
    if "diseased" not in fixed["explain"]:
        said = f"all diseased test images explained, at most {own.explained} (--explain N|all)"
        chosen.add("explain", {"diseased": own.explained}, said)
    return chosen


def _stated_for(stated: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Returns section -> values that the user states for a folder: for all data sets, for folders, for it, in its name.

    Args:
        stated: as in ``adapt``.
        name: the data set as the user named it.
    """
    spec = parse_spec(name)
    tables = [stated, *(stated.get("datasets", {}).get(key, {}) for key in ("folder", spec.base))]
    found: dict[str, dict[str, Any]] = {section: {} for section in ("data", "training", "explain")}
    for section, values in found.items():
        for table in tables:
            values |= table.get(section, {})
    found["data"] |= spec.parameters
    return found


def _look(info: DatasetInfo, settings: Config, root: Path) -> tuple[float, int]:
    """Returns the median shorter side of some training images, and the number of training images that are used.

    Raises:
        UserError: there are none, or the data set cannot be read.
    """
    samples = build_samples(info, request_for(info, settings.data, root, skip_bad=True, splits=None), "train")
    sides = []
    for index in range(0, len(samples), -(-len(samples) // _SAMPLED) or 1):
        try:
            sides.append(min(samples[index].image.shape[1:]))
        except BadFile:
            continue
    if not sides:
        raise UserError(f"data set {info.name}: no training image can be read")
    return median(sides), len(samples)
