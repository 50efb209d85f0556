"""Registries of explainers, metrics, data sets, heads, backbones and studies.

They are the one place where the harness finds an entry by its name, so that it never imports a method by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from bench.contracts import (
    METRIC_INPUTS,
    BackboneInfo,
    DatasetInfo,
    Explainer,
    Head,
    MetricInfo,
    Sample,
    Samples,
)
from bench.errors import UserError
from bench.registration.facts import annotations_of, check_class, check_dataset, check_fact, check_metric
from bench.registration.names import leave_out, split_names
from bench.specs import MOST_BYTES, is_plain_name, parse_spec
from bench.specs import closest as closest  # for all who look names up

#: A line per plugin that failed to load, with the reason.
SKIPPED_PLUGINS: list[str] = []

Entry = TypeVar("Entry")
Info = TypeVar("Info", MetricInfo, DatasetInfo, BackboneInfo)
ExplainerClass = TypeVar("ExplainerClass", bound=type[Explainer])
HeadClass = TypeVar("HeadClass", bound=type[Head])
MetricFunction = TypeVar("MetricFunction", bound=Callable[..., Tensor])
Builder = TypeVar("Builder", bound=Callable[..., Sequence[Sample] | Samples])
BackboneBuilder = TypeVar("BackboneBuilder", bound=Callable[[bool], tuple[nn.Module, str]])


def require_plain(what: str, name: object) -> None:
    """Raises ``UserError`` if a name cannot be part of a path; files and folders are named by it."""
    if not isinstance(name, str) or not is_plain_name(name):
        raise UserError(
            f"{what} {name!r} is not usable: take letters, digits, . _ + @ = - and inner spaces, at most {MOST_BYTES} "
            "bytes, and not . or .."
        )


class Registry(Generic[Entry]):
    """Entries of one kind by unique name, in order of registration.

    Args:
        kind: word for an entry in error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._families: dict[str, Callable[[str], Entry]] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Adds an entry.

        Raises:
            UserError: the name is taken or not usable as a file name.
        """
        require_plain(f"{self.kind} name", name)
        if name in self._entries:
            raise UserError(f"{self.kind} name {name!r} is taken; choose another")
        self._entries[name] = entry

    def add_family(self, prefix: str, find: Callable[[str], Entry]) -> None:
        """Looks up names ``prefix:rest`` with ``find(rest)``, which raises UserError if there is no such entry."""
        self._families[prefix] = find

    def remove(self, name: str) -> None:
        """Removes an entry, as after a plugin file that failed half-way."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self._families:
            return self._families[prefix](rest)
        if name not in self._entries:
            hint = closest(name, list(self._entries))
            if SKIPPED_PLUGINS:  # one of them would probably have registered it
                hint = "; ".join([hint] * hint.startswith("did") + SKIPPED_PLUGINS)
            raise UserError(f"unknown {self.kind} {name!r}; {hint}")
        return self._entries[name]

    def originals(self) -> list[str]:
        """Lists every name except other implementations of a method."""
        return [name for name in self if not getattr(self[name], "variant_of", "")]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._entries))


EXPLAINERS: Registry[type[Explainer]] = Registry("explainer")
METRICS: Registry[MetricInfo] = Registry("metric")
DATASETS: Registry[DatasetInfo] = Registry("data set")
HEADS: Registry[type[Head]] = Registry("head")
BACKBONES: Registry[BackboneInfo] = Registry("backbone")
STUDIES: Registry[Any] = Registry("study")  # classes of bench.studies.base
ALL_REGISTRIES: tuple[Registry[Any], ...] = (EXPLAINERS, METRICS, DATASETS, HEADS, BACKBONES, STUDIES)


def resolve_names(names: Sequence[str], registry: Registry[Any]) -> list[str]:
    """Returns registered names, with parameters as given, without repetitions.

    ``all`` stands for every name except other implementations of a method; ``-name`` leaves a name out.

    Raises:
        UserError: unknown name, or one that is left out although it is not there.
    """
    wanted, unwanted = split_names(names)
    found: dict[str, None] = {}
    for name in wanted:
        if name != "all":
            registry[parse_spec(name).base]
        found |= dict.fromkeys(registry.originals() if name == "all" else [name])
    for name in unwanted:
        registry[parse_spec(name).base]
    return leave_out(list(found), unwanted, registry.kind)


def _require(cls: type, base: type, names: Sequence[str]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, base)):
        what = getattr(cls, "__name__", repr(cls))
        raise UserError(f"{what} is not a subclass of bench.{base.__name__}; write class {what}({base.__name__}):")
    absent = [name for name in names if not hasattr(cls, name)]
    if absent:
        raise UserError(f"{cls.__name__} does not state its {', '.join(absent)} (class attributes)")
    check_class(f"{base.__name__.lower()} {cls.__name__}", cls, base)


def register_explainer(cls: ExplainerClass) -> ExplainerClass:
    """Registers the decorated ``Explainer`` class under its ``name``.

    Raises:
        UserError: it is not a subclass of ``Explainer``, a class attribute is absent or of another type, family or grid
            is unknown, or the name is taken.
    """
    _require(cls, Explainer, ("name", "family", "signed", "paper"))
    EXPLAINERS.add(cls.name, cls)
    return cls


def register_head(cls: HeadClass) -> HeadClass:
    """Registers the decorated ``Head`` class under its ``name``.

    Raises:
        UserError: it is not a subclass of ``Head``, a class attribute is absent or of another type, or the name is
            taken.
    """
    _require(cls, Head, ("name", "family", "paper"))
    HEADS.add(cls.name, cls)
    return cls


def backbone(name: str, *values: Any, **facts: Any) -> Callable[[BackboneBuilder], BackboneBuilder]:
    """Registers the decorated ``build(pretrained) -> (classifier, origin of its weights)`` as a backbone.

    Args:
        name: unique name.
        *values: facts in the order in which ``BackboneInfo`` lists them, without ``name`` and ``build``.
        **facts: facts by name; see ``BackboneInfo``.

    Raises:
        UserError: a fact is unknown or absent, or the name is taken.
    """

    def register(build: BackboneBuilder) -> BackboneBuilder:
        BACKBONES.add(name, _describe(BackboneInfo, {"name": name, "build": build}, values, facts))
        return build

    return register


def metric(name: str, *values: Any, **facts: Any) -> Callable[[MetricFunction], MetricFunction]:
    """Registers the decorated pure function, which returns one value per image, as a metric.

    Args:
        name: unique name.
        *values: facts in the order in which ``MetricInfo`` lists them, without ``name`` and ``function``.
        **facts: facts by name; see ``MetricInfo``.

    Raises:
        UserError: a fact or an input is unknown, a fact is absent, or the name is taken.
    """

    def register(function: MetricFunction) -> MetricFunction:
        info = _describe(MetricInfo, {"name": name, "function": function}, values, facts)
        check_metric(info)
        for need in info.needs:
            if need not in METRIC_INPUTS:
                raise UserError(f"metric {name!r} needs {need!r}: {closest(need, list(METRIC_INPUTS))}")
        require_plain(f"metric {name!r}: family", info.family)  # tables are named by it
        METRICS.add(name, info)
        return function

    return register


def dataset(name: str, *values: Any, **facts: Any) -> Callable[[Builder], Builder]:
    """Registers the decorated ``builder(root, split) -> Samples`` as a data set.

    Args:
        name: unique name.
        *values: facts in the order in which ``DatasetInfo`` lists them, without ``name`` and ``builder``.
        **facts: facts by name; see ``DatasetInfo``.

    Raises:
        UserError: a fact is unknown or absent, or the name is taken.
    """

    def register(builder: Builder) -> Builder:
        info = _describe(DatasetInfo, {"name": name, "builder": builder}, values, facts)
        check_dataset(info)
        DATASETS.add(name, info)
        return builder

    return register


def _describe(info: type[Info], entry: dict[str, Any], values: Sequence[Any], facts: dict[str, Any]) -> Info:
    """Builds an info from the name and function in ``entry`` and the stated facts; a list becomes a tuple."""
    who = f"{_KINDS[info]} {entry['name']!r}"
    known = {field.name: field for field in fields(info) if field.name not in entry}
    if len(values) > len(known):
        raise UserError(f"{who} states {len(values)} facts; there are {len(known)}: {', '.join(known)}")
    stated = dict(zip(known, values, strict=False))
    for fact in facts:
        if fact not in known:
            raise UserError(f"{who} states an unknown fact {fact!r}; {closest(fact, list(known))}")
        if fact in stated:
            raise UserError(f"{who} states its {fact} twice; state it once")
    stated |= facts
    required = [name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    absent = [name for name in required if name not in stated]
    if absent:
        raise UserError(f"{who} does not state its {', '.join(absent)}")
    frozen: dict[str, Any] = {fact: tuple(one) if isinstance(one, list) else one for fact, one in stated.items()}
    for fact, annotation in annotations_of(info).items():
        if fact != "name" and fact in frozen | entry:
            check_fact(who, fact, annotation, (frozen | entry)[fact])
    return info(**entry, **frozen)


#: Word for each kind of info in error messages.
_KINDS: dict[type, str] = {MetricInfo: METRICS.kind, DatasetInfo: DATASETS.kind, BackboneInfo: BACKBONES.kind}
