"""Check of names before torch is imported, so that a typo is answered at once and not after seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.cli.mock_imports import mock_imports
from bench.cli.plugins import installed_plugins
from bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.config import Config


def refuse_early(register: Callable[[], object], plugins: str | None, check: Callable[[], object]) -> None:
    """Calls ``check`` with the heavy packages mocked, unless plugins, which need them, add names.

    Args:
        register: fills the registries.
        plugins: value of ``--plugins``.
        check: looks names up; it must compute nothing.

    Raises:
        UserError: raised by ``check``. Whatever else fails is left to the real packages.
    """
    if plugins is not None or "torch" in sys.modules or installed_plugins():
        return
    with _only_user_errors(), mock_imports():
        register()
        check()


def without_torch(compute: Callable[[], str]) -> str:
    """Returns what a function computes, with the heavy packages mocked if that suffices.

    Raises:
        UserError: raised by ``compute``.
    """
    if "torch" not in sys.modules:
        with _only_user_errors(), mock_imports():
            return compute()
    return compute()


@contextmanager
def _only_user_errors() -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception:  # code that computes with a mock
        return


def check_run(config: str, parameters: Mapping[str, Any]) -> None:
    """Looks up the config of a run and every name in it.

    Raises:
        UserError: unknown name or key.
    """
    from bench.cli.overrides import Flags, merged_values
    from bench.config import parse_config

    check_names(parse_config(merged_values(config, Flags.of(parameters)), config))


def check_names(config: Config) -> None:
    """Looks up every name in the section ``[run]`` of a config; the files of data sets are not looked for.

    Raises:
        UserError: unknown name.
    """
    from bench.registry import BACKBONES, HEADS, STUDIES, resolve_names

    run = config.run
    check_lists({"explainers": run.explainers, "metrics": run.metrics}, run.datasets)
    resolve_names([one for one in run.backbones if ":" not in one], BACKBONES)  # others would import timm
    resolve_names(run.heads, HEADS)
    resolve_names(run.studies, STUDIES)


def check_lists(names: Mapping[str, list[str] | None], datasets: Sequence[str]) -> None:
    """Looks up explainers, metrics and data sets.

    Raises:
        UserError: unknown name.
    """
    from bench.evaluation.requests import resolve_metrics
    from bench.registry import EXPLAINERS, resolve_names

    for name in datasets:
        if not name.startswith("-"):
            check_dataset_name(name)
    resolve_names(names["explainers"] or [], EXPLAINERS)
    resolve_metrics(names["metrics"] or [])


def check_dataset_name(name: str) -> None:
    """Raises UserError if there is no data set and no folder of this name."""
    from bench.registry import DATASETS
    from bench.run.named_data import require_known
    from bench.specs import parse_spec

    require_known(name)
    base = parse_spec(name).base
    if base != "all" and not base.startswith("folder:"):
        DATASETS[base]
