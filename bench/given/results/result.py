"""Result of an evaluation: scores, comparisons, figures and report, read from its run folder."""

from __future__ import annotations

import shutil
import weakref
from functools import cached_property
from html import escape
from pathlib import Path

import pandas as pd
from rich.console import Console

from bench.data.findings.pairs import image_of
from bench.given.results.plots import Plots
from bench.given.results.predictions import NOTHING, Known, Predictions
from bench.given.results.verdict import Verdict, answer, compare_two
from bench.report.build import build_report
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames, load_frames
from bench.report.sweeps.domains import SHOWN, shown_columns
from bench.report.tables.main import all_tables
from bench.report.tables.table import is_number
from bench.store.run_folder import check_run_folder

#: Columns of ``Result.scores``.
COLUMNS = ["image", "group", "label", "predicted", "target", "head", "explainer", "metric", "value"]


class Result:
    """Result of ``bench.evaluate``.

    Args:
        folder: its run folder.
        notes: how model and images were read, one line per fact.
        problems: a line for everything that failed.
        temporary: whether the folder is removed with this object.
        known: what the user knows about the predictions.

    Attributes:
        folder: the run folder, which ``run_benchmark.py report`` also reads.
        notes: as given.
        problems: as given.
    """

    def __init__(
        self, folder: Path, notes: list[str], problems: list[str], temporary: bool, known: Known = NOTHING
    ) -> None:
        self.folder, self.notes, self.problems, self._known = folder, list(notes), list(problems), known
        if temporary:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    @cached_property
    def frames(self) -> Frames:
        """Everything that the report reads."""
        return load_frames(self.folder)

    @property
    def plot(self) -> Plots:
        """Figures."""
        return Plots(self.frames)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per image, explainer and metric, with the columns ``COLUMNS``; a metric is named with its variant.

        With several labels per image, there is one per pair of image and finding, and a column ``finding``.
        Own maps belong to the model that shows them, all others to the given one.
        """
        rows = compared_rows(self.frames)
        names = {
            column: rows[column].astype(str) for column in ("image", "group", "head", "explainer", "metric", "variant")
        }
        numbers = {column: rows[column].astype("int64") for column in ("label", "predicted", "target")}
        rows = rows.assign(**names, **numbers)
        variant = rows["variant"].where(rows["variant"] == "", "@" + rows["variant"])
        rows = rows.assign(metric=rows["metric"] + variant)
        facts = next(iter(self.frames.record.datasets.values()))
        if not facts.multilabel:
            return rows[COLUMNS].reset_index(drop=True)
        findings = [facts.label_name(label) for label in rows["label"]]
        images = [image_of(one, finding) for one, finding in zip(rows["image"], findings, strict=True)]
        return rows.assign(image=images, finding=findings)[[*COLUMNS, "finding"]].reset_index(drop=True)

    @cached_property
    def predictions(self) -> Predictions:
        """How good the predictions of the model are."""
        return Predictions(self.frames, self._known)

    @property
    def classification(self) -> dict[str, float]:
        """Accuracy, AUC and other scores of the given model on all images; nan if undefined."""
        return self.predictions.classification

    @property
    def regression(self) -> dict[str, float]:
        """Mean absolute error and Pearson correlation of the outputs with the true values; empty without values."""
        return self.predictions.regression

    @cached_property
    def warnings(self) -> list[str]:
        """Lines that a reader of the scores must know: predictions that are poor, and what failed."""
        return [*filter(None, [self.predictions.chance(), self.predictions.shortfall()]), *self.problems]

    def verdict(self, first: str, second: str, metric: str | None = None) -> Verdict:
        """Compares two explainers on the same images; see ``bench.given.results.verdict.compare_two``."""
        return compare_two(self.frames, first, second, metric)

    @cached_property
    def answer(self) -> str:
        """The answer in one sentence; see ``bench.given.results.verdict.answer``."""
        return answer(self.frames)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Means of the main metrics, one row per explainer."""
        tables = all_tables(self.frames)
        rows: dict[str, dict[str, float]] = {}
        for family in [name for name in SHOWN if name in tables]:
            for row in tables[family].rows:
                found = rows.setdefault(row["explainer"], {})
                found |= {
                    column.title: row[column.name].mean
                    for column in shown_columns(tables[family], family)
                    if is_number(row.get(column.name))
                }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("explainer")

    def save(self, folder: str | Path) -> Path:
        """Writes scores, tables, figures and page to a folder, which is then a run folder.

        Raises:
            UserError: it holds something else.
        """
        target = Path(folder)
        if target.resolve() != self.folder.resolve():
            check_run_folder(target)
            shutil.copytree(
                self.folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache", "lock", "*.tmp")
            )
        build_report(target, Console(quiet=True))
        return target / "report.html"

    def _lines(self) -> list[str]:
        return [f"{self.predictions.line} (n = {self._images})", *self.warnings, *self.notes]

    @property
    def _images(self) -> int:
        return self.frames.predictions.count()[0]

    def __repr__(self) -> str:
        shown = self.table.to_string(float_format="{:.3f}".format, na_rep="–") if len(self.table) else "no scores"
        return "\n".join([self.answer, "", shown, "", *self._lines()])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(float_format="{:.3f}".format, na_rep="–", border=0) if len(self.table) else ""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self._lines())
        return f"<p><b>{escape(self.answer)}</b></p>{shown}<ul>{lines}</ul>"
