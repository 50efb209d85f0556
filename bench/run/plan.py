"""The plan of a run: names become a grid of cells, and every name is checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from bench.config import Config
from bench.configs.sections import ReportSection
from bench.contracts import DatasetInfo, Explainer, Head
from bench.data.folds.pool import fold_numbers, require_folds
from bench.errors import PluginError, UserError, is_stop, one_line, place_of
from bench.evaluation.requests import MetricRequest, resolve_metrics
from bench.models.initial_weights import InitialWeights, read_initial_weights
from bench.registration.names import split_names
from bench.registry import BACKBONES, DATASETS, EXPLAINERS, HEADS, STUDIES, Registry, resolve_names
from bench.run.named_data import read_as, resolve_datasets, why_no_shortcut
from bench.specs import all_parameters, closest, parse_spec, short_names
from bench.store.records import CellKey
from bench.training.penalty_search import PlannedHead

Plugin = TypeVar("Plugin", Head, Explainer)


@dataclass(frozen=True)
class Plan:
    """Everything that a run computes.

    Attributes:
        datasets: name in the cells, which may carry parameters -> registered facts.
        specs: name in the cells -> data set as the user named it, where the two differ (``folder:PATH``).
        cells: key -> head that is trained.
        explainers: name -> explainer.
        metrics: requested metrics with their occlusion operators.
        configs: data set -> the config that applies to it.
        studies: name -> ``bench.studies.base.Study`` and all its parameters.
        parameters: explainer -> all its constructor arguments.
        on_inherent: names of the explainers that also explain inherent models.
        absent: data set that ``all`` would include -> why it is left out.
        init: weights that every training starts from, if asked for.
    """

    datasets: dict[str, DatasetInfo]
    cells: dict[CellKey, PlannedHead]
    explainers: dict[str, Explainer]
    metrics: list[MetricRequest]
    configs: dict[str, Config]
    studies: dict[str, tuple[Any, dict[str, Any]]]
    parameters: dict[str, dict[str, Any]]
    on_inherent: list[str]
    specs: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    init: InitialWeights | None = None

    @property
    def heads(self) -> dict[str, PlannedHead]:
        """One planned head per name, for the facts that do not depend on the cell."""
        return {key.head: planned for key, planned in self.cells.items()}

    def spec(self, dataset: str) -> str:
        """Returns a data set as the user named it."""
        return self.specs.get(dataset, dataset)

    def explainers_of(self, key: CellKey) -> dict[str, Explainer]:
        """Returns the explainers that a cell runs.

        These are all explainers on a black box. An inherent model next to a black box gets the inherent explainers and
        those in ``on_inherent``.
        """
        families = {planned.head.family for planned in self.cells.values()}
        if self.cells[key].head.family != "inherent" or families == {"inherent"}:
            return self.explainers
        return {
            name: one for name, one in self.explainers.items() if one.family == "inherent" or name in self.on_inherent
        }


def make_plan(config: Config, root: Path, absent_too: bool = False) -> Plan:
    """Resolves every name of the config; with ``absent_too`` also data sets whose files are not there.

    Raises:
        UserError: an unknown name (with the closest ones), wrong constructor arguments, no data set left, a shortcut
            that a data set has no room for, or a checkpoint that cannot be read.
    """
    resolved, absent = resolve_datasets(config.run.datasets, root, config.run.sizes, absent_too)
    specs = short_names(resolved, list(DATASETS))
    datasets = {name: resolved[spec] for name, spec in specs.items()}
    configs = {name: config.for_dataset(spec) for name, spec in specs.items()}
    for name, info in list(datasets.items()):
        if configs[name].data.shortcut and (reason := why_no_shortcut(info)):
            raise UserError(f"data set {name!r}: {reason}")
        if info.multilabel and configs[name].explain.explained_class == "predicted":
            raise UserError(
                f"data set {name!r}: explain.explained_class = 'predicted' does not apply to several findings, because "
                "a map is compared with the mask of its finding; use 'label'"
            )
        require_folds(name, info, configs[name])
        datasets[name] = read_as(specs[name], info, configs[name].data)
    _check_tables(config)
    heads, backbones = resolve_names(config.run.heads, HEADS), resolve_names(config.run.backbones, BACKBONES)
    if config.report != ReportSection():
        _check_report(config.report, heads)
    explainers = {
        name: construct(EXPLAINERS, name, config.explainers)
        for name in resolve_names(config.run.explainers, EXPLAINERS)
    }
    grid = [
        CellKey(dataset, backbone, head, seed, fold)
        for dataset, backbone, head, seed in product(datasets, backbones, heads, dict.fromkeys(config.run.seeds))
        for fold in fold_numbers(configs[dataset].data.folds)
    ]
    return Plan(
        datasets=datasets,
        cells={key: plan_head(config, key, specs[key.dataset]) for key in grid},
        explainers={name: explainer for name, (explainer, _) in explainers.items()},
        metrics=resolve_metrics(config.run.metrics),
        configs=configs,
        studies={name: construct(STUDIES, name, config.studies) for name in resolve_names(config.run.studies, STUDIES)},
        parameters={name: parameters for name, (_, parameters) in explainers.items()},
        on_inherent=resolve_names(config.run.on_inherent, EXPLAINERS),
        specs={name: spec for name, spec in specs.items() if name != spec},
        absent=absent,
        init=read_initial_weights(Path(config.run.init)) if config.run.init else None,
    )


def require_training(plan: Plan) -> None:
    """Raises UserError if a data set of the plan has no training images."""
    without = (name for name, info in plan.datasets.items() if "train" not in info.splits)
    if name := next((name for name in without if not plan.configs[name].data.folds), ""):
        raise UserError(
            f"data set {name!r} has no training images; give a trained model: run_benchmark.py evaluate --model MODEL "
            f"--datasets {plan.spec(name)}"
        )


def _check_tables(config: Config) -> None:
    """Raises ``UserError`` for an unknown name in a table of parameters or overrides."""
    for name in [*config.heads, *(head for one in config.datasets.values() for head in one.heads)]:
        HEADS[name]
    for name in config.explainers:
        EXPLAINERS[name]
    for name in config.studies:
        STUDIES[name]
    in_run = [parse_spec(name).base for name in split_names(config.run.datasets)[0]]
    for name, overrides in config.datasets.items():
        if name.startswith("folder:"):
            if name not in in_run:
                raise UserError(f"[datasets.{name!r}] is no data set of the run: {closest(name, in_run)}")
        elif name != "folder":
            DATASETS[name]
        for backbone, changes in overrides.backbones.items():
            BACKBONES[backbone]
            for head in changes.heads:
                HEADS[head]


def _check_report(report: ReportSection, heads: list[str]) -> None:
    """Raises ``UserError`` if the report compares with something that is unknown."""
    if report.reference:
        EXPLAINERS[report.reference]
    if report.head and report.head not in heads:
        raise UserError(f"[report] head = {report.head!r} is not one of the run: {closest(report.head, heads)}")
    for family, name in report.primary.items():
        (found,) = resolve_metrics([name])
        if found.info.family != family:
            raise UserError(f"[report] primary: {name} belongs to {found.info.family}, not to {family}")


def plan_head(config: Config, key: CellKey, spec: str) -> PlannedHead:
    """Returns the head of a cell, with the parameters that apply to its data set (``spec``) and backbone.

    Raises:
        UserError: unknown parameters, or a head that starts from its own trained weights.
    """
    head, parameters = construct(HEADS, key.head, config.for_dataset(spec, key.backbone).heads)
    if head.starts == key.head:
        raise UserError(f"head {key.head!r} starts from itself: give its start in its name, not in [heads.{head.name}]")
    return PlannedHead(head, head.name, parameters)


def source_of(planned: PlannedHead, key: CellKey) -> CellKey | None:
    """Returns the cell whose trained classifier this one is converted from or starts from; None without one."""
    name = planned.head.converts or planned.head.starts
    return replace(key, head=name) if name else None


def construct(
    registry: Registry[type[Plugin]], name: str, tables: dict[str, dict[str, Any]]
) -> tuple[Plugin, dict[str, Any]]:
    """Returns a plugin and all its arguments; those that the name itself carries override those of its table.

    Raises:
        UserError: wrong arguments.
    """
    spec = parse_spec(name)
    given = tables.get(spec.base, {}) | spec.parameters
    try:
        return registry[spec.base](**given), all_parameters(registry[spec.base], given)
    except (TypeError, ValueError) as error:
        text = place_of(error) + str(error).replace("__init__()", "").strip()
        raise UserError(f"{registry.kind} {name!r} cannot be made with {given}: {text}") from error
    except BaseException as error:  # a plugin may raise anything, such as the end of the program
        if is_stop(error):
            raise
        raise PluginError(
            f"{registry.kind} {name!r} cannot be made with {given}: {place_of(error)}{one_line(error)}"
        ) from error
