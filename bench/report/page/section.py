"""Section of the page and the content that it is made from: the contract between the page and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report.answer.model import Answer
from bench.report.failure_modes import Signature
from bench.report.failures import Failures
from bench.report.figures.style import Caption
from bench.report.frames.load import Frames
from bench.report.page.prepared import Prepared
from bench.report.tables.table import TableData


@dataclass(frozen=True)
class Content:
    """Everything that a page shows.

    Attributes:
        frames: the run.
        answer: of the run.
        tables: path below the folder of tables, without suffix -> table.
        captions: stem of a figure -> texts below it, in the order of the page.
        signs: of failure, shown with their advice.
        figures: folder of the figures; one that is not in it is left out.
        failures: of the report so far; a section that cannot be made is added.
        prepared: parts of the page that were made before.
    """

    frames: Frames
    answer: Answer
    tables: Mapping[str, TableData]
    captions: Mapping[str, Caption]
    signs: list[Signature]
    figures: Path
    failures: Failures
    prepared: Prepared


@dataclass(frozen=True)
class Section:
    """Part of the page; a function from ``Content`` to a section, in the list ``page.SECTIONS``, adds one.

    Attributes:
        name: id of the element ``<section>``; its data is read by ``softcam.data(name)`` in JavaScript.
        title: heading, and link in the navigation.
        template: file in ``templates``, which is filled with ``view``; it escapes all text by itself.
        view: variables of the template.
        scripts: files in ``assets`` or ``vendor``, run in this order at the end of the page; one that several sections
            name is run once. A script reads ``window.softcam`` (``assets/page.js``), and shows text of others by
            ``textContent`` only.
        data: what the scripts read; lists, dictionaries, text and numbers, where nan becomes null. None without any.
    """

    name: str
    title: str
    template: str
    view: Mapping[str, Any] = field(default_factory=dict)
    scripts: tuple[str, ...] = ()
    data: Any = None
