"""Files derived from the store: tables, figures, page and the long frame.

They can be made again at any time, so a run stores scores only once.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.configs.sections import ReportSection
from bench.memory import give_memory_back
from bench.progress import clock
from bench.report.answer.compute import answer_of
from bench.report.answer.files import write_results
from bench.report.answer.model import Answer
from bench.report.answer.results import FILE as RESULTS
from bench.report.answer.results import results_of
from bench.report.contents import COMPARISONS, OTHERS, Topic, every_table
from bench.report.details import print_details
from bench.report.failure_modes import Signature, add_notes, signatures
from bench.report.failures import FOLDER, Failures
from bench.report.frames.load import Frames, write_long_frame
from bench.report.gaps import Missing, faults
from bench.report.incremental.reuse import Captions, Reuse
from bench.report.incremental.state import STATE, is_current, renew_source, state_of, stored_state, write_state
from bench.report.incremental.stored import FOLDER as PARTS
from bench.report.page.page import write_page
from bench.report.page.prepared import PARTS as PREPARED
from bench.report.page.prepared import Prepared
from bench.report.page.section import Content
from bench.report.studies.counterfactual import counterfactual_rows
from bench.report.summary import print_summary
from bench.report.tables.table import TableData
from bench.report.tables.writers import write_table
from bench.report.two_processes import FIGURES, Shared, Task, all_frames, second_process, topic_figures
from bench.store.folders import RunStore
from bench.store.manifest import Manifest, set_aside
from bench.store.records import RunRecord
from bench.store.stored_files import collecting
from bench.text.transcript import Transcript

_TABLES, _PAGE, _FRAME = "tables", "report.html", "scores.parquet"
_NAMED = 5


def build_report(
    folder: Path,
    console: Console,
    only_if_stale: bool = False,
    said: Collection[str] = (),
    all_figures: bool = False,
    verbose: bool = False,
) -> list[str]:
    """Writes tables, figures, page and the long frame of a run, and prints the summary.

    A file that the report did not write, or that was changed since, is left as it is and named.

    Args:
        folder: a run folder.
        console: receives the summary.
        only_if_stale: make only what this code did not already make from these inputs.
        said: lines about problems that the caller prints.
        all_figures: draw all figures, not just those of the paper and of the answer.
        verbose: also print main scores, every verdict and what could be added.

    Returns:
        A line per stored file that is damaged, per table or figure that failed, and per file that could not be written
        because another is in its place.

    Raises:
        UserError: this is not a run folder, or a run or another report works in it.
    """
    give_memory_back()
    store = RunStore(folder)
    record = store.record  # before the lock, which makes the folder if there is none
    with store.lock(), collecting():  # ``Frames.damaged`` names them
        files = Manifest(folder, lenient=True)
        section = ReportSection.model_validate(record.config.get("report", {}))
        all_figures = all_figures or section.figures == "all"
        stored = stored_state(folder)
        state = state_of(folder, record, all_figures, stored, build_report)
        if only_if_stale and is_current(files, state, stored):
            renew_source(files, state, stored)
            for name in ("details", "summary") if verbose else ("summary",):
                Transcript(stored[name]).replay(console, said)
            return list(stored["damaged"])
        _make_room(files, console)
        old = stored if only_if_stale else {}
        topics = [one.chosen(all_figures) for one in (*OTHERS, *COMPARISONS)]
        report = _Report(files, record, Failures(), topics, verbose)
        console.print(Text("building the report", style="bright_black"))
        started = time.monotonic()
        left = report.build(state, old, console, said)
        console.print(Text(f"report built in {clock(time.monotonic() - started)}", style="bright_black"))
        return left


@dataclass
class _Report:
    """A report that is being made.

    Attributes:
        files: notes of the run folder.
        record: run.json.
        failures: parts that could not be made.
        topics: with the figures that are asked for.
        verbose: print details, too.
    """

    files: Manifest
    record: RunRecord
    failures: Failures
    topics: list[Topic]
    verbose: bool

    def build(self, state: dict[str, str], old: dict[str, Any], console: Console, said: Collection[str]) -> list[str]:
        """Makes everything that ``old``, the state at the last report, does not show to be current."""
        with second_process(self.record) as pool:
            shared = Shared(self.files.folder, pool)
            if not old:
                shared.add(self._shared())
            frames = all_frames(self.files.folder, self.failures)
            reuse = Reuse.of(self.files, frames, state["code"], old.get("figures"), bool(old))
            known = {topic.name: reuse.drawn(topic) for topic in self.topics}
            if old:
                tasks = [task for task in self._shared() if known.get(task.name) is None]
                shared.add(tasks, apart=len(tasks) > len(PREPARED))
            signs, tables, lacking = _content(frames, self.failures, reuse)
            answer = self._answer(frames, tables, signs)
            self._write_tables(frames, tables)
            compared = self._compared(frames, known)
            made = shared.results(frames, self.files, self.failures)
        captions = self._captions(reuse, known, compared | made)
        prepared = Prepared(**{name: made[name] for name in PREPARED})
        with self.failures.noting(_PAGE):
            figures = self.files.folder / FIGURES
            content = Content(frames, answer, tables, captions, signs, figures, self.failures, prepared)
            write_page(content, self.files.replacing(_PAGE))
        details, summary = Transcript(), Transcript()
        with self.failures.noting("details"):
            print_details(frames, tables, signs, lacking, details)
        with self.failures.noting("summary"):
            print_summary(answer, list(self.record.absent), faults(frames), self.files.folder, summary)
        for transcript in (details, summary) if self.verbose else (summary,):
            transcript.replay(console, said)
        left = [*frames.damaged, *_said(self.failures, console)]
        about = {
            "damaged": list(frames.damaged),
            "details": details.entries,
            "summary": summary.entries,
            "figures": reuse.figures,
        }
        return [*left, *_finish(self.files, state | about, self.failures, console)]

    def _shared(self) -> list[Task]:
        """Returns the tasks that a second process can do: figures, and parts of the page after what these share."""
        whole = {topic.name: topic for topic in OTHERS}
        drawn = [
            Task(topic.name, len(topic.figures) == len(whole[topic.name].figures))
            for topic in self.topics
            if topic.figures and topic.name in whole
        ]
        return [*drawn[:1], *map(Task, PREPARED), *drawn[1:]]

    def _answer(self, frames: Frames, tables: dict[str, TableData], signs: list[Signature]) -> Answer:
        """Returns the answer of the run, and writes the files that hold it."""
        answer = Answer()
        with self.failures.noting("answer"):
            answer = answer_of(frames, tables, signs)
        with self.failures.noting(RESULTS):
            write_results(results_of(frames, tables, answer), self.files)
        return answer

    def _write_tables(self, frames: Frames, tables: dict[str, TableData]) -> None:
        """Writes tables and the long frame."""
        for name, table in tables.items():
            with self.failures.noting(f"files of table {name}"):
                write_table(table, self.files.inside(_TABLES), name)
        with self.failures.noting(_FRAME):
            write_long_frame(frames, counterfactual_rows(frames), self.files.replacing(_FRAME))

    def _compared(self, frames: Frames, known: dict[str, Captions | None]) -> dict[str, Any]:
        """Draws the figures of comparisons that are not known -> topic -> ``topic_figures``."""
        names = {topic.name for topic in COMPARISONS}
        return {
            topic.name: topic_figures(frames, self.files, topic, self.failures)
            for topic in self.topics
            if topic.figures and topic.name in names and known[topic.name] is None
        }

    def _captions(self, reuse: Reuse, known: dict[str, Captions | None], drawn: dict[str, Any]) -> Captions:
        """Returns the captions in the order of the page, and notes the figures for the next report."""
        captions: Captions = {}
        for topic in sorted(self.topics, key=lambda one: (one.is_comparison, one.place)):
            if topic.name in drawn:
                reuse.note(topic, *drawn[topic.name])
            captions |= drawn[topic.name][0] if topic.name in drawn else known[topic.name] or {}
        return captions


def _content(
    frames: Frames, failures: Failures, reuse: Reuse
) -> tuple[list[Signature], dict[str, TableData], list[Missing]]:
    """Returns the signs of failure, every table with those that concern it, and what the run lacks."""
    signs: list[Signature] = []
    with failures.noting("warning signs"):
        signs = signatures(frames)
    lacking: list[Missing] = []
    tables = every_table(frames, failures, reuse.part, lacking)
    add_notes(tables, signs)
    return signs, tables, lacking


def _said(failures: Failures, console: Console) -> list[str]:
    """Prints and returns the line of every failure."""
    for line in failures.lines:
        console.print(Text(line, style="red"), soft_wrap=True)
    return failures.lines


def _make_room(files: Manifest, console: Console) -> None:
    """Sets aside derived files of versions without a manifest, because they look like files of the user."""
    derived = () if files.exists else (_TABLES, FIGURES, _PAGE, _FRAME, STATE)
    if aside := set_aside(files.folder, derived):
        line = f"tables and figures of an earlier version are now in {aside}; delete it if you do not need them"
        console.print(Text(line, style="yellow"), soft_wrap=True)


def _finish(files: Manifest, content: dict[str, Any], failures: Failures, console: Console) -> list[str]:
    """Removes files of an earlier plan, and returns a line per file that could not be written."""
    failures.write(files)
    foreign = files.tidy(_TABLES, FIGURES, FOLDER, PARTS)
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
