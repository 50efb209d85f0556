"""Configs: TOML files that are checked against one model, so that a wrong key fails before anything is computed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import UserError
from bench.registry import closest
from bench.specs import parse_shortcut, parse_spec

CONFIG_FOLDER = Path(__file__).parent / "configs"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSection(_Section):
    """The grid: every combination of data set, backbone, head and seed is a cell.

    Attributes:
        on_inherent: post-hoc explainers and controls that also explain the inherent models; inherent explainers
            always do.
        pretrained: start from ImageNet weights where there are any.
        studies: additional measurements, each on a subset of the images.
        sizes: input sides; every data set is then run at each of them, in place of ``data.size``.
        init: file of weights that every training starts from instead, as far as they fit.
    """

    datasets: list[str] = Field(["all"], min_length=1)
    backbones: list[str] = Field(["compact"], min_length=1)
    heads: list[str] = Field(["blackbox", "softcam-dense", "softcam-sparse"], min_length=1)
    explainers: list[str] = ["all"]
    on_inherent: list[str] = ["all"]
    metrics: list[str] = ["all"]
    seeds: list[int] = Field([0], min_length=1)
    pretrained: bool = False
    studies: list[str] = []
    sizes: list[int] = []
    init: str | None = None


class DataSection(_Section):
    """Input side in pixels and images per split (None = all); ``seed`` draws subsamples and splits.

    ``shortcut`` plants one in a phantom: ``tag:0.9`` is a corner tag on 0.9 of the diseased training images.
    """

    size: int = Field(112, ge=32)
    train: int | None = Field(None, ge=2)
    val: int | None = Field(None, ge=2)
    test: int | None = Field(None, ge=2)
    seed: int = 0
    shortcut: str = ""

    @field_validator("shortcut")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text:
            parse_shortcut(text)
        return text


class TrainingSection(_Section):
    """SGD with Nesterov momentum; the learning rate falls along a cosine to ``final_lr`` (arXiv:2505.17748, sec. 4).

    Attributes:
        penalty_start, penalty_ramp: epochs before the penalty of a head begins, and until it has its full weight; a
            head's own parameters of this name replace them.
        search_epochs, search_steps: epochs for each weight of a penalty that is searched, and the most weights tried.
        search_margin: validation AUC and balanced accuracy that the chosen weight may cost.
    """

    epochs: int = Field(70, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(1e-3, gt=0)
    final_lr: float = Field(1e-4, ge=0)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: Literal["paper", "light", "none"] = "paper"
    class_weights: bool = False
    penalty_start: float = Field(0.0, ge=0)
    penalty_ramp: float = Field(0.0, ge=0)
    search_epochs: int = Field(3, ge=1)
    search_steps: int = Field(7, ge=1)
    search_margin: float = Field(0.02, ge=0)


class ExplainSection(_Section):
    """How many images are explained (None = all) and how they are occluded.

    Attributes:
        diseased, healthy: explained images with and without the disease.
        faithful: how many of the diseased ones go through the occlusion curves.
        steps: occlusion steps K.
        align: where the cells of a feature map are drawn: ``receptive-field``, where they look, or ``grid``, evenly
            over the image (the convention of the paper and of libraries).
        explained_class: class that is explained: that of the ``label`` (for healthy images the likeliest disease), or
            the ``predicted`` one.
        target: what maps explain: ``contrast``, the target's logit minus the mean of the other classes' logits, or
            ``logit``, as published, which a softmax model does not identify: a constant added to all classes changes no
            prediction.
        batch_size: images per forward pass; halved when memory runs out.
        gallery: images whose maps are kept for the figures.
        every_class: with more than two classes also explain the gallery's images for every class (all explained images
            with --save-maps), and score each class on images of its own; with two classes it changes nothing.
    """

    diseased: int | None = Field(None, ge=1)
    healthy: int | None = Field(None, ge=0)
    faithful: int | None = Field(None, ge=0)
    steps: int = Field(30, ge=1)
    align: Literal["receptive-field", "grid"] = "receptive-field"
    explained_class: Literal["label", "predicted"] = "label"
    target: Literal["logit", "contrast"] = "contrast"
    batch_size: int = Field(16, ge=1)
    gallery: int = Field(4, ge=0)
    every_class: bool = True


class ReportSection(_Section):
    """Comparisons that are fixed before any score is seen; they change verdicts and no stored result.

    Attributes:
        reference: post-hoc explainer that every own map is compared with first; empty for none.
        head: head whose own map has the primary comparison of a family; empty for the first trained one.
        primary: metric family -> metric of its primary comparison, such as ``audc@zero``; otherwise, the first metric
            of the family that does not fail on maps of known quality.
    """

    reference: str = "gradcam"
    head: str = ""
    primary: dict[str, str] = {}


class BackboneOverrides(_Section):
    """Settings of one backbone on one data set that differ, any subset of keys."""

    training: dict[str, Any] = {}
    heads: dict[str, dict[str, Any]] = {}


class Overrides(_Section):
    """Settings of one data set that differ: ``[datasets.<name>.data]`` and so on, any subset of keys.

    ``[datasets.<name>.backbones.<backbone>.heads.<head>]`` is the most specific: λ depends on data set and backbone.
    """

    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    explain: dict[str, Any] = {}
    heads: dict[str, dict[str, Any]] = {}
    backbones: dict[str, BackboneOverrides] = {}


class Config(_Section):
    """A whole config. ``heads``, ``explainers`` and ``studies`` hold constructor arguments by name.

    A file may begin with ``extends = "<shipped name or path>"``: its values then override that config's.
    """

    description: str = ""
    run: RunSection = RunSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    explain: ExplainSection = ExplainSection()
    report: ReportSection = ReportSection()
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
                _lay_over(values, section.model_dump(include={"data", "training", "explain", "heads"}))
        values["data"] |= spec.parameters
        return parse_config(values, f"for {name}")


def _lay_over(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Writes nested changes into nested values; a list replaces a list."""
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(key), dict):
            _lay_over(values[key], change)
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
    return parse_config(_read(name_or_path, Path(), ()), name_or_path)


def _read(name: str, folder: Path, above: tuple[str, ...]) -> dict[str, Any]:
    """Reads the values of a config and of the one that it ``extends``; paths are relative to ``folder``."""
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
    if "extends" not in values:
        return values
    inherited = _read(str(values.pop("extends")), path.parent, (*above, str(path)))
    _lay_over(inherited, values)
    return inherited


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
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    sections = (
        Config,
        RunSection,
        DataSection,
        TrainingSection,
        ExplainSection,
        ReportSection,
        Overrides,
        BackboneOverrides,
    )
    known = sorted({name for section in sections for name in section.model_fields})
    return f"unknown key {key!r}; {closest(str(first['loc'][-1]), known)}"
