"""Sections of all tables and of all figures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.report.page.inline import picture
from bench.report.page.section import Content, Section
from bench.report.tables.writers import html

#: Start of the name of a table -> heading; tables that fit none are under the last one.
_HEADINGS = {
    "Verdicts": ("verdicts", "price", "model_or_map", "strata", "floor_ceiling", "critical_difference"),
    "Scores": ("localisation", "faithfulness", "consistency", "exactness", "complexity", "macro", "estimands"),
    "Classifiers": ("classification", "cost", "sparsity", "lambda_sweep", "resolution", "pooling", "cross_domain"),
    "The paper": ("paper/",),
    "Studies": ("",),
}


def tables_section(content: Content) -> Section | None:
    """Returns every table, each closed at first; None without any."""
    grouped: dict[str, list[str]] = {}
    for name in content.tables:
        heading = next(heading for heading, starts in _HEADINGS.items() if name.startswith(starts))
        grouped.setdefault(heading, []).append(name)
    if not grouped:
        return None
    shown = {
        name: (name.replace("_", " ").replace("/", ": "), table, html(table)) for name, table in content.tables.items()
    }
    ordered = {heading: grouped[heading] for heading in _HEADINGS if heading in grouped}
    return Section("tables", "Tables", "tables.html", {"grouped": ordered, "shown": shown})


def figures_section(content: Content) -> Section | None:
    """Returns every figure, each closed at first; None without any. Charts show the same numbers as some of them."""
    stems, pictures = list(content.captions), dict(content.prepared.pictures)
    others = [stem for stem in stems if stem not in pictures]
    with ThreadPoolExecutor() as threads:  # Pillow works without Python's lock
        found = threads.map(picture, [content.figures / f"{stem}.png" for stem in others])
        pictures |= zip(others, found, strict=True)
    view = {"stems": stems, "pictures": pictures, "captions": content.captions}
    return Section("figures", "Figures", "figures.html", view) if stems else None
