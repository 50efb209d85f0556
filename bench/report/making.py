"""Making of a report: every table, figure and text that the last report does not hold in its present state."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.report.answer.compute import answer_of
from bench.report.answer.files import write_results
from bench.report.answer.model import Answer
from bench.report.answer.results import FILE as RESULTS
from bench.report.answer.results import results_of
from bench.report.contents import TOPICS, Part, Topic, joined_tables
from bench.report.current import FIGURES, PAGE, STATE, TABLES, write_state
from bench.report.details import print_details
from bench.report.failure_modes import Signature, add_notes, signatures
from bench.report.failures import FOLDER, Failures
from bench.report.frames.load import Frames
from bench.report.gaps import Missing, faults
from bench.report.incremental.reuse import Captions, Reuse
from bench.report.incremental.stored import FOLDER as PARTS
from bench.report.page.page import write_page
from bench.report.page.prepared import PARTS as PREPARED
from bench.report.page.prepared import Prepared
from bench.report.page.section import Content
from bench.report.summary import print_summary
from bench.report.tables.table import TableData
from bench.report.tables.writers import write_table
from bench.report.two_processes import Drawn, Shared, Task, all_frames, small_text
from bench.store.manifest import Manifest
from bench.store.records import RunRecord
from bench.text.transcript import Transcript

_NAMED = 5
#: Topics whose figures take long and are therefore drawn before the others -> order.
_EARLY = {"maps": -2, "scores": -1}


@dataclass
class Texts:
    """What a report says in the terminal, and what it tells the next one.

    Attributes:
        damaged: a line per stored file that is damaged.
        figures: topic -> what is known of its figures.
        summary: printed at the end.
        details: printed before it on request.
    """

    damaged: list[str]
    figures: dict[str, Any]
    summary: Transcript = field(default_factory=Transcript)
    details: Transcript = field(default_factory=Transcript)

    @property
    def state(self) -> dict[str, Any]:
        """All of it, as the next report reads it."""
        printed = {"summary": self.summary.entries, "details": self.details.entries}
        return {"damaged": self.damaged, "figures": self.figures} | printed


@dataclass
class Report:
    """A report that is being made.

    Attributes:
        files: notes of the run folder.
        record: run.json.
        state: of the run folder now.
        failures: parts that could not be made.
    """

    files: Manifest
    record: RunRecord
    state: dict[str, str]
    failures: Failures = field(default_factory=Failures)

    @small_text()
    def make(self, old: dict[str, Any], pool: ProcessPoolExecutor | None) -> Texts:
        """Makes everything that the last report does not hold in its present state.

        Args:
            old: the state at the last report; empty to make everything.
            pool: of a second process; None if there is none.
        """
        shared = Shared(self.files.folder, pool)
        if not old:
            shared.add(self._apart())
        frames = all_frames(self.files.folder, self.failures)
        reuse = Reuse.of(self.files, frames, self.state["code"], old.get("figures"), bool(old))
        kept: dict[str, Any] = {"tables": {topic.name: reuse.part(topic) for topic in TOPICS}}
        kept["figures"] = {topic.name: reuse.drawn(topic) for topic in self._topics}
        if old:
            tasks = _needed(self._apart(), kept)
            shared.add(tasks, apart=any(task.kind in kept for task in tasks))
        shared.add(_needed(self._comparisons(), kept), apart=False)
        made = shared.results(frames, self.files, self.failures, "tables")
        signs, tables, lacking = _content(frames, self.failures, _parts(reuse, kept["tables"], made))
        answer = self._answer(frames, tables, signs)
        self._write_tables(tables)
        made |= shared.results(frames, self.files, self.failures)
        captions = self._captions(reuse, kept["figures"], made)
        pictures = {stem: one for drawn in _drawn(made).values() for stem, one in drawn.pictures.items()}
        prepared = Prepared(**{name: made[Task("part", name)] for name in PREPARED}, pictures=pictures)
        with self.failures.noting(PAGE):
            figures = self.files.folder / FIGURES
            content = Content(frames, answer, tables, captions, signs, figures, self.failures, prepared)
            write_page(content, self.files.replacing(PAGE))
        texts = Texts(list(frames.damaged), reuse.figures)
        with self.failures.noting("details"):
            print_details(frames, tables, signs, lacking, texts.details)
        with self.failures.noting("summary"):
            print_summary(answer, list(self.record.absent), faults(frames), self.files.folder, texts.summary)
        return texts

    def finish(self, texts: Texts, console: Console) -> list[str]:
        """Writes the new state, prints what failed, and returns a line per problem."""
        for line in self.failures.lines:
            console.print(Text(line, style="red"), soft_wrap=True)
        left = [*texts.damaged, *self.failures.lines]
        return [*left, *_finish(self.files, self.state | texts.state, self.failures, console)]

    @property
    def _topics(self) -> list[Topic]:
        return [topic.chosen(self.state["figures_asked"]) for topic in TOPICS]

    def _apart(self) -> list[Task]:
        """Returns the tasks that a second process can do, in order: tables come first, because others wait for them."""
        tables, figures = self._tasks(comparisons=False)
        figures.sort(key=lambda task: _EARLY.get(task.name, 0))
        return [*tables, *figures, *(Task("part", name) for name in PREPARED), Task("frame")]

    def _comparisons(self) -> list[Task]:
        """Returns the tasks that share comparisons."""
        tables, figures = self._tasks(comparisons=True)
        return [*figures, *tables]

    def _tasks(self, comparisons: bool) -> tuple[list[Task], list[Task]]:
        """Returns tables and figures of the topics that need comparisons, or of the others."""
        topics = [topic for topic in self._topics if topic.is_comparison == comparisons]
        figures = [Task("figures", topic.name, self.state["figures_asked"]) for topic in topics if topic.figures]
        return [Task("tables", topic.name) for topic in topics], figures

    def _answer(self, frames: Frames, tables: dict[str, TableData], signs: list[Signature]) -> Answer:
        """Returns the answer of the run, and writes the files that hold it."""
        answer = Answer()
        with self.failures.noting("answer"):
            answer = answer_of(frames, tables, signs)
        with self.failures.noting(RESULTS):
            write_results(results_of(frames, tables, answer), self.files)
        return answer

    def _write_tables(self, tables: dict[str, TableData]) -> None:
        for name, table in tables.items():
            with self.failures.noting(f"files of table {name}"):
                write_table(table, self.files.inside(TABLES), name)

    def _captions(self, reuse: Reuse, known: dict[str, Captions | None], made: dict[Task, Any]) -> Captions:
        """Returns the captions in the order of the page, and notes the figures for the next report."""
        drawn, captions = _drawn(made), Captions()
        for topic in sorted(self._topics, key=lambda one: (one.is_comparison, one.place)):
            if topic.name in drawn:
                reuse.note(topic, drawn[topic.name].captions, drawn[topic.name].failed)
            captions |= drawn[topic.name].captions if topic.name in drawn else known[topic.name] or {}
        return captions


def _needed(tasks: list[Task], kept: dict[str, Any]) -> list[Task]:
    """Returns the tasks whose results the last report does not hold: kind -> topic -> result."""
    return [task for task in tasks if kept.get(task.kind, {}).get(task.name) is None]


def _drawn(made: dict[Task, Any]) -> dict[str, Drawn]:
    return {task.name: result for task, result in made.items() if task.kind == "figures"}


def _parts(reuse: Reuse, kept: dict[str, Part | None], made: dict[Task, Any]) -> dict[str, Part]:
    """Returns topic -> tables and gaps, and writes those that the last report lacks for the next one."""
    found = dict[str, Part]()
    for topic in TOPICS:
        part = kept[topic.name]
        if part is None:
            part, failed = made[Task("tables", topic.name)]
            reuse.note_part(topic, part, failed)
        found[topic.name] = part
    return found


def _content(
    frames: Frames, failures: Failures, parts: dict[str, Part]
) -> tuple[list[Signature], dict[str, TableData], list[Missing]]:
    """Returns the signs of failure, every table with those that concern it, and what the run lacks."""
    signs: list[Signature] = []
    with failures.noting("warning signs"):
        signs = signatures(frames)
    tables = joined_tables(frames, parts, failures)
    add_notes(tables, signs)
    return signs, tables, [one for part in parts.values() for one in part.missing]


def _finish(files: Manifest, content: dict[str, Any], failures: Failures, console: Console) -> list[str]:
    """Removes files of an earlier plan, and returns a line per file that could not be written."""
    failures.write(files)
    foreign = files.tidy(TABLES, FIGURES, FOLDER, PARTS)
    if files.kept or failures.lines:
        files.remove(STATE)  # the next run then tries again
    else:
        write_state(files, content)
    files.compact()
    lines = [
        f"{files.folder / name} {why} and is left as it is; rename or delete it to have it written again"
        for name, why in files.kept.items()
    ]
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        said = f"left as they are in {files.folder}, not written by this run or changed since: "
        console.print(Text(said + ", ".join(foreign[:_NAMED]) + more, style="yellow"), soft_wrap=True)
    for line in lines:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    return lines
