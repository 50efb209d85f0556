"""Page of a run (report.html): the answer first, then everything that it is based on, in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.files import Place
from bench.report.page.answer import answer_section
from bench.report.page.cases import cases_section
from bench.report.page.charts.section import charts_section
from bench.report.page.glossary import glossary_section
from bench.report.page.inline import asset, json_block, policy
from bench.report.page.leaderboard import leaderboard_section
from bench.report.page.overview import problems, run_section
from bench.report.page.section import Content, Section
from bench.report.page.tables import figures_section, tables_section
from bench.text.media import html_value

#: Sections in their order. One more section is a function here, a template, and scripts in ``assets``.
SECTIONS: tuple[Callable[[Content], Section | None], ...] = (
    answer_section,
    leaderboard_section,
    cases_section,
    charts_section,
    figures_section,
    tables_section,
    run_section,
    glossary_section,
)
_FIRST, _STYLES = "page.js", ("page.css", "cases.css")


def write_page(content: Content, place: Place) -> None:
    """Writes the page of a run next to its folders ``figures`` and ``tables``, to which it links.

    The file is complete without them: scripts, styles, data and pictures are in it, and it loads nothing.

    Args:
        content: of the page.
        place: of the page.
    """
    sections = _sections(content)
    names = dict.fromkeys([_FIRST, *(name for section in sections for name in section.scripts)])
    scripts, style = [asset(name) for name in names], "\n".join(map(asset, _STYLES))
    environment = _environment()
    text = environment.get_template("page.html").render(
        title=content.frames.store.folder.name,
        description=content.frames.record.config.get("description", ""),
        finished=content.frames.record.finished,
        policy=policy(scripts, [style]),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        sections=[(one, Markup(environment.get_template(one.template).render(one.view))) for one in sections],
        data={one.name: json_block(one.data) for one in sections if one.data is not None},
        warnings=(len(problems(content)), len(content.signs)),
    )
    with place as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sections(content: Content) -> list[Section]:
    """Makes the sections; one that fails is left out and named under the problems."""
    found: list[Section] = []
    for make in SECTIONS:
        with content.failures.noting(f"section {make.__name__.removesuffix('_section')} of the page"):
            section = make(content)
            found += [section] if section else []
    return found


def _environment() -> Environment:
    """Returns the templates, which escape all text."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=html_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
