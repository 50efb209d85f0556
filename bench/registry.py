"""The one place where explainers, metrics, data sets, heads and backbones are known by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from torch import Tensor, nn

from bench.contracts import (
    METRIC_INPUTS,
    BackboneInfo,
    Channels,
    DatasetInfo,
    Explainer,
    Family,
    Head,
    MetricInfo,
    Sample,
    Samples,
    UserError,
)

Entry = TypeVar("Entry")
ExplainerClass = TypeVar("ExplainerClass", bound=type[Explainer])
HeadClass = TypeVar("HeadClass", bound=type[Head])
MetricFunction = TypeVar("MetricFunction", bound=Callable[..., Tensor])
Builder = TypeVar("Builder", bound=Callable[..., Sequence[Sample] | Samples])
BackboneBuilder = TypeVar("BackboneBuilder", bound=Callable[[bool], tuple[nn.Module, str]])


def closest(name: str, known: Sequence[str]) -> str:
    """End of an error line: the known names closest to a wrong one, or all of them where none is close."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"


class Registry(Generic[Entry]):
    """Entries of one kind by unique name, in order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._families: dict[str, Callable[[str], Entry]] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Raises UserError where the name is taken or unfit for a file name."""
        if not name or name != name.strip() or any(sign in name for sign in "/\\ ,"):
            raise UserError(f"{self.kind} name {name!r} is not usable: it needs characters other than / \\ , and space")
        if name in self._entries:
            raise UserError(f"{self.kind} name {name!r} is taken; choose another")
        self._entries[name] = entry

    def add_family(self, prefix: str, find: Callable[[str], Entry]) -> None:
        """Look up names ``prefix:rest`` with ``find(rest)``, which raises UserError where there is no such entry."""
        self._families[prefix] = find

    def remove(self, name: str) -> None:
        """Forget an entry (a plugin file that failed half-way, a test)."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self._families:
            return self._families[prefix](rest)
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} {name!r}; {closest(name, list(self._entries))}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._entries))


EXPLAINERS: Registry[type[Explainer]] = Registry("explainer")
METRICS: Registry[MetricInfo] = Registry("metric")
DATASETS: Registry[DatasetInfo] = Registry("data set")
HEADS: Registry[type[Head]] = Registry("head")
BACKBONES: Registry[BackboneInfo] = Registry("backbone")
STUDIES: Registry[Any] = Registry("probe")  # of bench.probes.Probe classes
ALL_REGISTRIES: tuple[Registry[Any], ...] = (EXPLAINERS, METRICS, DATASETS, HEADS, BACKBONES, STUDIES)


def _require(cls: type, names: Sequence[str]) -> None:
    absent = [name for name in names if not hasattr(cls, name)]
    if absent:
        raise UserError(f"{cls.__name__} does not state its {', '.join(absent)} (class attributes)")


def register_explainer(cls: ExplainerClass) -> ExplainerClass:
    """Class decorator: make an ``Explainer`` known under its ``name``."""
    _require(cls, ("name", "family", "signed", "paper"))
    if cls.family not in get_args(Family):
        raise UserError(f"explainer {cls.name!r}: family {cls.family!r} is none of {', '.join(get_args(Family))}")
    EXPLAINERS.add(cls.name, cls)
    return cls


def register_head(cls: HeadClass) -> HeadClass:
    """Class decorator: make a ``Head`` known under its ``name``."""
    _require(cls, ("name", "family", "paper"))
    HEADS.add(cls.name, cls)
    return cls


def backbone(
    name: str,
    description: str,
    mean: Channels | None = None,
    std: Channels | None = None,
    always: bool = False,
) -> Callable[[BackboneBuilder], BackboneBuilder]:
    """Decorator for ``build(pretrained) -> (classifier, origin of its weights)``; see ``BackboneInfo``."""

    def register(build: BackboneBuilder) -> BackboneBuilder:
        BACKBONES.add(name, BackboneInfo(name, build, description, mean, std, always))
        return build

    return register


def metric(
    name: str,
    family: str,
    needs: Sequence[str],
    higher_is_better: bool | None,
    value_range: tuple[float, float],
    paper: str,
    images: Literal["diseased", "healthy", "all"] = "diseased",
    variants: Sequence[str] = (),
    of_network: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Decorator for a pure function that returns one value per image; see ``MetricInfo`` for the arguments."""

    def register(function: MetricFunction) -> MetricFunction:
        for need in needs:
            if need not in METRIC_INPUTS:
                raise UserError(f"metric {name!r} needs {need!r}: {closest(need, list(METRIC_INPUTS))}")
        info = MetricInfo(
            name, family, tuple(needs), higher_is_better, value_range, paper,
            function, images, tuple(variants), of_network,
        )  # fmt: skip
        METRICS.add(name, info)
        return function

    return register


def dataset(
    name: str,
    modality: str,
    classes: Sequence[str],
    masks: Literal["pixel", "box", "none"],
    source: str,
    licence: str,
    citation: str,
    healthy: int | None = 0,
    explain_split: str = "test",
    missing: Callable[[Path], str] = lambda root: "",
    mean: Channels | None = None,
    std: Channels | None = None,
    in_all: bool = True,
    published: Mapping[str, tuple[int, ...]] | None = None,
    totals: Sequence[tuple[int, ...]] = (),
    preprocessing: str = "",
    mask_is: str = "",
) -> Callable[[Builder], Builder]:
    """Decorator for ``builder(root, split) -> Samples``; see ``DatasetInfo`` for the arguments."""

    def register(builder: Builder) -> Builder:
        info = DatasetInfo(
            name, builder, modality, tuple(classes), masks, source, licence, citation,
            healthy, explain_split, missing, mean, std, in_all, published or {}, tuple(totals), preprocessing,
            mask_is,
        )  # fmt: skip
        DATASETS.add(name, info)
        return builder

    return register
