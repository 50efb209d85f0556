"""Result of an evaluation: scores, comparisons, figures and report, read from its run folder."""

from __future__ import annotations

import io
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from bench.data.findings.pairs import image_of
from bench.errors import UserError
from bench.given.verdict import Verdict, answer, compare_two
from bench.outputs import outputs_of
from bench.report.build import build_report
from bench.report.figures.curve_figures import deletion_curves, insertion_curves, topk_precision
from bench.report.figures.gallery_figure import galleries
from bench.report.figures.style import Drawing, paper_style
from bench.report.frames.classification import labels_of
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames, load_frames
from bench.report.sweeps.domains import SHOWN, shown_columns
from bench.report.tables.main import all_tables
from bench.report.tables.table import is_number
from bench.store.run_folder import check_run_folder

#: Columns of ``Result.scores``.
COLUMNS = ["image", "group", "label", "predicted", "target", "head", "explainer", "metric", "value"]
#: AUC or accuracy above which no warning is given, however few images there are.
_CLEAR = 0.75


@dataclass(frozen=True)
class Picture:
    """A figure of the report, which a notebook shows.

    Attributes:
        figure: as matplotlib has it.
        caption: one sentence, and how to read the figure.
    """

    figure: Figure
    caption: str

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.figure.savefig(content, format="png", dpi=110)
        return content.getvalue()

    def save(self, path: str | Path) -> None:
        """Writes the figure; the suffix of the path chooses the format."""
        self.figure.savefig(path)


class Plots:
    """Figures of an evaluation, as in the report of a run.

    Args:
        frames: the evaluation.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def topk(self) -> Picture:
        """Draws the share of the k most activated patches that hit a lesion."""
        return self._only(topk_precision(self._frames), "it needs masks and the metric topk_precision")

    def deletion(self) -> Picture:
        """Draws the probability while the most important patches are filled."""
        return self._only(deletion_curves(self._frames), "it needs the metric audc")

    def insertion(self) -> Picture:
        """Draws the probability while the most important patches are revealed."""
        return self._only(insertion_curves(self._frames), "it needs the metric auic")

    def gallery(self, images: int | None = None) -> Picture:
        """Draws maps over images: the first few of the kept ones (``explain={"gallery": 8}``), or all of these."""
        return self._only(galleries(self._frames, images), 'it needs kept images: explain={"gallery": 8}')

    def _only(self, drawings: Iterator[Drawing], remedy: str) -> Picture:
        with paper_style():
            drawing = next(drawings, None)
        if drawing is None:
            raise UserError(f"there is nothing to draw: {remedy}")
        return Picture(drawing.figure, f"{drawing.caption} {drawing.reading}".strip())


def auc_error(labels: NDArray[np.int64]) -> float:
    """Returns the standard error of the AUC of predictions at chance, or of its mean over findings.

    Args:
        labels: (N,) class indices, or (N,F) with 1, 0 and -1.

    Source: Mann and Whitney 1947, doi:10.1214/aoms/1177730491 (variance of the rank sum).
    """
    if labels.ndim == 2:
        known = [column[column >= 0] for column in labels.T]
        parts = [auc_error(column) for column in known if len(set(column.tolist())) == 2]
        return float(np.sqrt(np.square(parts).sum()) / len(parts))
    counts = np.bincount(labels)
    present = counts[counts > 0]
    first, rest = float(present.min()), float(present.sum() - present.min())
    return float(np.sqrt((first + rest + 1) / (12 * first * rest)))


class Result:
    """Result of ``bench.evaluate``.

    Args:
        folder: its run folder.
        notes: how model and images were read, one line per fact.
        problems: a line for everything that failed.
        temporary: whether the folder is removed with this object.

    Attributes:
        folder: the run folder, which ``run_benchmark.py report`` also reads.
        notes: as given.
        problems: as given.
    """

    def __init__(self, folder: Path, notes: list[str], problems: list[str], temporary: bool) -> None:
        self.folder, self.notes, self.problems = folder, list(notes), list(problems)
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
        variant = rows["variant"].where(rows["variant"] == "", "@" + rows["variant"])
        rows = rows.assign(metric=rows["metric"] + variant)
        facts = next(iter(self.frames.record.datasets.values()))
        if not facts.multilabel:
            return rows[COLUMNS].reset_index(drop=True)
        findings = [facts.label_name(label) for label in rows["label"]]
        images = [image_of(one, finding) for one, finding in zip(rows["image"], findings, strict=True)]
        return rows.assign(image=images, finding=findings)[[*COLUMNS, "finding"]].reset_index(drop=True)

    @cached_property
    def classification(self) -> dict[str, float]:
        """Accuracy, AUC and other scores of the given model on all images; nan if undefined."""
        rows = self.frames.predictions
        rows = rows[rows["head"] == next(iter(self.frames.record.heads))]
        facts = self.frames.record.datasets[rows["dataset"].iloc[0]]
        rows = rows[rows["dataset"] == rows["dataset"].iloc[0]]
        logits = rows.filter(like="logit_").dropna(axis=1, how="all").to_numpy(dtype=float)
        found = outputs_of(facts.multilabel).scores(logits, labels_of(rows, facts), healthy=facts.healthy)
        return {name: float(values[0]) for name, values in found.items()}

    def chance(self) -> str:
        """Returns a warning if the predictions are no better than chance on these images; otherwise, an empty text."""
        facts = next(iter(self.frames.record.datasets.values()))
        labels = labels_of(self.frames.predictions.drop_duplicates("image"), facts)
        auc, accuracy = self.classification["auc"], self.classification["balanced_accuracy"]
        outputs = 2 if facts.multilabel else len(facts.classes)
        if np.isfinite(auc):
            error, value, chance, name = auc_error(labels), auc, 0.5, "AUC"
        else:
            error, value, chance, name = (
                np.sqrt((outputs - 1) / len(labels)) / outputs,
                accuracy,
                1 / outputs,
                "accuracy",
            )
        if value > min(chance + 2 * error, max(_CLEAR, chance)):
            return ""
        return (
            f"the predictions are at chance on these images ({name} {value:.2f}, accuracy "
            f"{self.classification['accuracy']:.2f}, n = {len(labels)}): maps of such a model explain nothing; check "
            "mean, std, size, channels and the order of the classes"
        )

    @cached_property
    def warnings(self) -> list[str]:
        """Lines that a reader of the scores must know: what failed, and predictions at chance."""
        return [*filter(None, [self.chance()]), *self.problems]

    def verdict(self, first: str, second: str, metric: str | None = None) -> Verdict:
        """Compares two explainers on the same images; see ``bench.given.verdict.compare_two``."""
        return compare_two(self.frames, first, second, metric)

    @cached_property
    def answer(self) -> str:
        """The answer in one sentence; see ``bench.given.verdict.answer``."""
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
        scores = self.classification
        about = f"test AUC {scores['auc']:.3f}, accuracy {scores['accuracy']:.3f} (n = {self._images})"
        return [about, *self.warnings, *self.notes]

    @property
    def _images(self) -> int:
        return int(self.frames.predictions["image"].nunique())

    def __repr__(self) -> str:
        shown = self.table.to_string(float_format="{:.3f}".format, na_rep="–") if len(self.table) else "no scores"
        return "\n".join([self.answer, "", shown, "", *self._lines()])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(float_format="{:.3f}".format, na_rep="–", border=0) if len(self.table) else ""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self._lines())
        return f"<p><b>{escape(self.answer)}</b></p>{shown}<ul>{lines}</ul>"
