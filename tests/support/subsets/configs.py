"""Random valid configs, and what happens when they are run.

Names come from the registries, so that a new head, explainer, metric or study is drawn without a change here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bench.config import parse_config
from bench.contracts import Sample
from bench.registry import DATASETS, EXPLAINERS, HEADS, METRICS, STUDIES, dataset
from bench.run.plan import Plan, make_plan
from tests.support.made import shapes, squares

#: Numbers of data sets, backbones, heads and seeds; four cells at most, because each takes its time.
_SIZES = [(1, 1, 1, 1), (1, 1, 2, 1), (1, 1, 3, 1), (2, 1, 1, 1), (2, 1, 2, 1), (1, 1, 2, 2), (1, 2, 2, 1)]
#: How an explainer's scores come out.
VALUES = ("random", "some nan", "all nan", "constant", "zero")
PREDICTIONS = ("random", "one class", "right", "one image")
_KNOWN = {"source": "invented", "licence": "-", "citation": "-", "in_all": False}


def register_bare() -> None:
    """Registers data sets without masks, without a healthy class, and with neither, by the names of what they lack."""
    dataset("no-masks", "other", ("plain", "square"), masks="none", **_KNOWN)(partial(_unmasked, squares))
    dataset("no-healthy", "other", ("round", "square"), masks="pixel", healthy=None, **_KNOWN)(squares)
    three = ("plain", "bright", "dark")
    dataset("neither", "other", three, masks="none", healthy=None, **_KNOWN)(partial(_unmasked, shapes))


def _unmasked(build: Callable[[Path, str], list[Sample]], root: Path, split: str) -> list[Sample]:
    return [replace(sample, mask=None) for sample in build(root, split)]


@dataclass(frozen=True)
class Drawn:
    """A valid config, and what happens when it is run.

    Attributes:
        config: nested values.
        images: explained diseased and healthy images.
        groups: number of groups of images; more than images = one per image.
        values: explainer -> entry of ``VALUES``, by its place.
        predictions: entry of ``PREDICTIONS``.
        lost: places of the cells that failed, or were not begun if negative (-1 is the first).
        failed: (place of a cell, place of an explainer) that failed.
        unprepared: places of the data sets whose images could not be read.
        kept: images that the gallery shows.
        rendered: whether lesions could be removed from images.
        seed: of the scores.
        has_figures: whether figures are drawn, which take most of the time.
    """

    config: dict[str, Any]
    images: tuple[int, int]
    groups: int
    values: list[str]
    predictions: str
    lost: set[int]
    failed: set[tuple[int, int]]
    unprepared: set[int]
    kept: int
    rendered: bool
    seed: int
    has_figures: bool

    @cached_property
    def plan(self) -> Plan:
        """The plan of the config."""
        return make_plan(parse_config(self.config, "drawn"), Path())


def _some(names: list[str], most: int, least: int = 1) -> st.SearchStrategy[list[str]]:
    """Draws some names, in any order."""
    return st.lists(st.sampled_from(names), min_size=least, max_size=most, unique=True)


def _ready() -> list[str]:
    return [name for name in DATASETS if not DATASETS[name].missing(Path("nowhere"))]


def _metrics() -> list[str]:
    variants = [f"{name}@{one}" for name in METRICS for one in METRICS[name].variants if one]
    return [*METRICS, *variants]


def configs(ready: list[str], backbones: list[str], most: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Draws the sections of valid configs.

    Args:
        ready: names of data sets that need no files.
        backbones: names.
        most: names per key.
    """
    return st.sampled_from(_SIZES).flatmap(partial(_sections, ready, backbones, most))


def _sections(
    ready: list[str], backbones: list[str], most: int, sizes: tuple[int, int, int, int]
) -> st.SearchStrategy[dict[str, Any]]:
    """Draws the sections of configs with these numbers of data sets, backbones, heads and seeds."""
    datasets, several, heads, seeds = sizes
    run = {
        "datasets": _some(ready, datasets, datasets),
        "backbones": _some(backbones, several, min(several, len(backbones))),
        "heads": _some([*HEADS, "softcam-sparse@l1=0.1"], heads, heads),
        "explainers": st.one_of(_some(list(EXPLAINERS), most, least=0), _some(_of("control"), 2), _some(_typical(), 4)),
        "on_inherent": st.one_of(st.just(["all"]), st.just([]), _some(list(EXPLAINERS), most)),
        "metrics": st.one_of(_some(_metrics(), most, least=0), _some(_typical_metrics(), 5)),
        "seeds": st.just([3, 1][:seeds]),
        "studies": st.one_of(st.just([]), _some(list(STUDIES), 2)),
    }
    report = {"reference": st.sampled_from(["gradcam", "", "random"])}
    explain = {"target": st.sampled_from(["contrast", "logit"]), "align": st.sampled_from(["receptive-field", "grid"])}
    sections = {"run": run, "report": report, "explain": explain}
    return st.fixed_dictionaries({name: st.fixed_dictionaries(section) for name, section in sections.items()})


def _of(family: str) -> list[str]:
    return [name for name in EXPLAINERS if EXPLAINERS[name].family == family]


def _typical() -> list[str]:
    """One or two explainers of each family, of which most comparisons consist."""
    return [*_of("inherent"), *_of("post-hoc")[:2], *_of("control")]


def _typical_metrics() -> list[str]:
    """One metric with a direction per family."""
    return list({METRICS[name].family: name for name in METRICS if METRICS[name].higher_is_better is not None}.values())


def drawn_runs() -> st.SearchStrategy[Drawn]:
    """Draws configs and what happens when they are run."""
    place = st.integers(0, 3)
    return st.builds(
        Drawn,
        config=configs(_ready(), ["compact", "resnet18"]),
        images=st.sampled_from([(0, 0), (1, 0), (1, 1), (2, 1), (12, 12), (12, 0), (0, 3)]),
        groups=st.sampled_from([1, 2, 99]),
        values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=4),
        predictions=st.sampled_from(PREDICTIONS),
        lost=st.one_of(st.just(set()), st.sets(st.integers(-3, 3), max_size=3)),
        failed=st.one_of(st.just(set()), st.sets(st.tuples(place, place), max_size=4)),
        unprepared=st.sampled_from([set(), set(), set(), {0}, {1}, {0, 1}]),
        kept=st.sampled_from([0, 0, 1, 2]),
        rendered=st.booleans(),
        seed=st.integers(0, 99),
        has_figures=st.sampled_from([False, False, True]),
    )
