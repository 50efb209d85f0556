"""Tables of ``run_benchmark.py list``: everything that a run can name, and which data sets are missing."""

from __future__ import annotations

from pathlib import Path

from bench.config import load_config, shipped_configs
from bench.registry import BACKBONES, DATASETS, EXPLAINERS, HEADS, METRICS, STUDIES

Listing = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def listing(root: Path) -> list[Listing]:
    """Returns one (title, column names, rows) per kind of thing that a run can name.

    Args:
        root: folder of the downloaded data sets.
    """
    return [
        ("Data sets", ("name", "classes", "masks", "licence", "state"), _datasets(root)),
        ("Backbones", ("name", "description"), _backbones()),
        ("Heads", ("name", "family", "paper"), [(name, HEADS[name].family, HEADS[name].paper) for name in HEADS]),
        ("Explainers", ("name", "family", "maps", "grid", "networks", "paper"), _explainers()),
        ("Metrics", ("name", "family", "better", "images", "variants", "paper"), _metrics()),
        ("Studies", ("name", "paper"), [(name, STUDIES[name].paper) for name in STUDIES]),
        ("Configs", ("name", "description"), [(name, load_config(name).description) for name in shipped_configs()]),
    ]


def _backbones() -> list[tuple[str, ...]]:
    rows = [(name, BACKBONES[name].description) for name in BACKBONES]
    return [*rows, ("timm:NAME", "any model of timm: pip install -e '.[timm]' (docs/backbones.md)")]


def _datasets(root: Path) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in DATASETS:
        info = DATASETS[name]
        state = info.missing(root) or ("ready" if info.in_all else "ready (by name; not in all)")
        rows.append((name, " / ".join(info.classes), info.masks, info.licence, state))
    rows.append(("folder:PATH", "its folders", "optional", "yours", "images/<class>/*, masks/ (docs/data.md)"))
    return rows


def _explainers() -> list[tuple[str, ...]]:
    known = [(name, EXPLAINERS[name]) for name in EXPLAINERS]
    signs = {True: "signed", False: "unsigned"}
    return [(name, one.family, signs[one.signed], one.grid, one.networks, one.paper) for name, one in known]


def _metrics() -> list[tuple[str, ...]]:
    words = {True: "higher", False: "lower", None: "-"}
    known = [METRICS[name] for name in METRICS]
    return [
        (one.name, one.family, words[one.higher_is_better], one.images, " ".join(filter(None, one.variants)), one.paper)
        for one in known
    ]
