"""Choices for the user's own images by these images, because the shipped settings are made for synthetic ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.config import Config, lay_over, parse_config
from bench.configs.sections import ExplainSection, TrainingSection
from bench.configs.tables import OwnSection
from bench.contracts import DatasetInfo
from bench.data.loading import build_samples
from bench.data.prepare import request_for
from bench.data.readers.images import BadFile
from bench.data.sources.folder import FolderImages
from bench.data.splitting import FRACTIONS
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


@dataclass(frozen=True)
class _Images:
    """Facts of a folder that choices follow.

    Attributes:
        side: median shorter side of some training images, in pixels.
        train: number of training images.
        total: number of all images, of which the seed draws the splits; 0 if the user's files state the splits.
        rarest: class with the fewest images.
        rare: number of its images.
        fewest_groups: fewest groups of a class.
    """

    side: float
    train: int
    total: int = 0
    rarest: str = ""
    rare: int = 0
    fewest_groups: int = 0

    def need_folds(self, own: OwnSection) -> bool:
        """Returns whether too few images of a class would be tested by one split, and folds can be made."""
        return bool(self.total) and self.rare < own.few and self.fewest_groups >= own.folds


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
        read = read_as(name, info, config.for_dataset(name).data)
        chosen = _by_images(own, config, stated, name, read, root, bool(values["run"]["pretrained"]))
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
    own: OwnSection,
    config: Config,
    stated: Mapping[str, Any],
    name: str,
    info: DatasetInfo,
    root: Path,
    pretrained: bool,
) -> _Choices:
    """Chooses the settings of one folder; a pretrained backbone may need fewer epochs than the config states."""
    chosen, settings = _Choices(), config.for_dataset(name)
    fixed = _stated_for(stated, name)
    try:
        images = _look(info, settings, root)
    except UserError:  # the run says what is wrong with the data
        return chosen
    if "size" not in fixed["data"] and not config.run.sizes:
        size = min(max(round(images.side / _STEP) * _STEP, own.smallest), own.largest)
        chosen.add("data", {"size": size}, f"{size} px (the shorter side of its images is {images.side:.0f}; --size)")
    if "diseased" not in fixed["explain"]:
        said = f"all diseased test images explained, at most {own.explained} (--explain N|all)"
        chosen.add("explain", {"diseased": own.explained}, said)
    explain = settings.explain.model_copy(update=chosen.values.get("explain", {}))
    seen = images.train
    if "folds" not in fixed["data"] and images.need_folds(own) and _can_divide(explain, own.folds):
        said = f"{own.folds} folds, as class {images.rarest!r} has {images.rare} images (--folds, 1 for none)"
        chosen.add("data", {"folds": own.folds}, said)
        seen = round(images.total * (1 - 1 / own.folds) * (1 - FRACTIONS["val"]))
    _choose_epochs(chosen, own, settings.training, fixed["training"], seen, pretrained)
    return chosen


def _choose_epochs(
    chosen: _Choices, own: OwnSection, now: TrainingSection, fixed: Mapping[str, Any], seen: int, pretrained: bool
) -> None:
    """Chooses the epochs of a training with ``seen`` images, and those of the search of a penalty."""
    epochs = min(max(-(-own.passes // seen), own.least_epochs), own.most_epochs)
    if "epochs" not in fixed and epochs != now.epochs and (pretrained or epochs > now.epochs):
        chosen.add("training", {"epochs": epochs}, f"{epochs} epochs for {seen:,} training images (--epochs)")
    if "search_epochs" not in fixed and pretrained and now.search_epochs > own.search_epochs:
        said = f"epochs per λ that is tried: {own.search_epochs} ([training] search_epochs)"
        chosen.add("training", {"search_epochs": own.search_epochs}, said)


def _can_divide(explain: ExplainSection, folds: int) -> bool:
    """Returns whether every fold has images to explain."""
    try:
        explain.part(1, folds)
    except UserError:
        return False
    return True


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


def _look(info: DatasetInfo, settings: Config, root: Path) -> _Images:
    """Looks at the classes of all images, and at the sides of some training images.

    Raises:
        UserError: there are none, or the data set cannot be read.
    """
    request = request_for(info, settings.data, root, skip_bad=True, splits=None)
    samples = build_samples(info, request, "train")
    sides = []
    for index in range(0, len(samples), -(-len(samples) // _SAMPLED) or 1):
        try:
            sides.append(min(samples[index].image.shape[1:]))
        except BadFile:
            continue
    if not sides:
        raise UserError(f"data set {info.name}: no training image can be read")
    images = _Images(median(sides), len(samples))
    if not isinstance(samples, FolderImages) or not samples.drawn:
        return images
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for split in info.splits:
        part: Any = build_samples(info, request, split)
        for row in part.rows:
            groups[info.classes[part.label(row)]][row.group] += 1
    rarest = min(groups, key=lambda one: groups[one].total())
    return replace(
        images,
        total=sum(one.total() for one in groups.values()),
        rarest=rarest,
        rare=groups[rarest].total(),
        fewest_groups=min(map(len, groups.values())),
    )
