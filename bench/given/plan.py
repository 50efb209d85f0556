"""The plan of an evaluation: the same as that of a run, with one given head and whatever converts it exactly."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import Config, load_config, parse_config
from bench.contracts import Classifier, DatasetInfo, EvidenceClassifier, Head
from bench.evaluation.requests import resolve_metrics
from bench.given.explainers import chosen_explainers
from bench.given.models.heads import head_of
from bench.given.models.sources import Source
from bench.given.pixels import Normalisation
from bench.registry import HEADS, STUDIES, resolve_names
from bench.run.plan import Plan, construct
from bench.specs import all_parameters
from bench.store.code_digest import code_digest
from bench.store.module_closure import is_library
from bench.store.records import CellKey
from bench.training.penalty_search import PlannedHead

DEFAULT = "default"
_DEFAULTS = Path(__file__).with_name("defaults.toml")


@dataclass(frozen=True)
class Wanted:
    """What is to be computed.

    Attributes:
        explainers: names, explainers or functions; None = those of the defaults.
        metrics: names, or "default".
        studies: names of additional measurements.
        size: side of the images in pixels.
        targets: "label" or "predicted": the class that each map explains.
        explain: values of the config's section ``[explain]`` that differ from the defaults.
    """

    explainers: Sequence[Any] | Any | None
    metrics: Sequence[str] | str
    studies: Sequence[str]
    size: int
    targets: str
    explain: Mapping[str, Any]


def make_config(wanted: Wanted, source: Source, datasets: Sequence[str]) -> Config:
    """Returns the config of the evaluation, as a run records it."""
    values = load_config(str(_DEFAULTS)).model_dump()
    metrics = [wanted.metrics] if isinstance(wanted.metrics, str) else list(wanted.metrics)
    run = {"datasets": list(datasets), "backbones": [source.backbone], "heads": [source.head], "seeds": [source.seed]}
    run |= {"studies": list(wanted.studies)}
    if metrics != [DEFAULT]:
        run |= {"metrics": metrics}
    values["run"] |= run
    values["data"]["size"] = wanted.size
    values["explain"] |= {"explained_class": wanted.targets} | dict(wanted.explain)
    return parse_config(values, "evaluate")


def make_given_plan(
    config: Config,
    source: Source,
    classifier: Classifier,
    normalisation: Normalisation,
    datasets: dict[str, DatasetInfo],
    asked: Sequence[Any] | Any | None,
) -> tuple[Plan, list[str]]:
    """Returns the plan, and why heads that would convert the classifier are left out.

    Args:
        config: of the evaluation.
        source: the model and its names.
        classifier: adapted from it.
        normalisation: mean and deviation per channel that it needs.
        datasets: name in the cells -> registered facts.
        asked: explainers, as ``chosen_explainers`` takes them.

    Raises:
        UserError: unknown name of an explainer, metric or study.
    """
    found = chosen_explainers(config.run.explainers if asked is None else asked, config)
    explainers = {name: explainer for name, (explainer, _) in found.items()}
    heads = {source.head: _planned(source, classifier, normalisation)}
    left_out: list[str] = []
    if not isinstance(classifier, EvidenceClassifier) and any(one.family == "inherent" for one in explainers.values()):
        converted, left_out = _conversions(source.head, classifier)
        heads |= converted
    cells = {
        CellKey(dataset, source.backbone, name, source.seed): head
        for dataset in datasets
        for name, head in heads.items()
    }
    plan = Plan(
        datasets=datasets,
        cells=cells,
        explainers=explainers,
        metrics=resolve_metrics(config.run.metrics),
        configs={name: config.for_dataset(name) for name in datasets},
        studies={name: construct(STUDIES, name, config.studies) for name in resolve_names(config.run.studies, STUDIES)},
        parameters={name: parameters for name, (_, parameters) in found.items()},
        on_inherent=[name for name, one in explainers.items() if one.family == "control"],
    )
    return plan, left_out


def _planned(source: Source, classifier: Classifier, normalisation: Normalisation) -> PlannedHead:
    """Plans the given head; its weights are part of the fingerprint, and so is the code of the model."""
    own = [kind for kind in {type(part) for part in source.model.modules()} if not _is_of_library(kind)]
    parameters = {"model": type(source.model).__name__, "code": code_digest(*own) if own else ""}
    return PlannedHead(head_of(classifier, normalisation), source.head, parameters)


def _is_of_library(kind: type) -> bool:
    """Returns whether a class belongs to an installed package; one that was typed into a notebook does not."""
    try:
        file = inspect.getsourcefile(kind)
    except (TypeError, OSError):
        return False
    return file is not None and is_library(Path(file).absolute())


def _conversions(given: str, classifier: Classifier) -> tuple[dict[str, PlannedHead], list[str]]:
    """Returns the heads that convert the classifier exactly, and a line for every other one."""
    found, left_out = {}, []
    for name in HEADS:
        if not HEADS[name].converts or "of" not in inspect.signature(HEADS[name]).parameters:
            continue
        make: Any = HEADS[name]
        head: Head = make(of=given)
        try:
            head.convert(classifier)
        except ValueError as error:
            left_out.append(f"no own map of the model ({name}): {' '.join(str(error).split())}")
            continue
        found[name] = PlannedHead(head, name, all_parameters(HEADS[name], {"of": given}))
    return found, left_out
