"""The run folder: the only memory of a run. Every file is whole or absent, and has a digest of its origin.

run.json                                     config, plan, facts, versions, machine
lock, owner.json                             held by the process of the command, also for its worker processes
data/<data set>.npz, .parquet                images and masks that the figures show; lesions of every explained image
data/<data set>~cases.npz                    small images and masks of the cases that the page shows
cells/<data set>/<backbone>-<head>-s<seed>/  cell.json, weights.safetensors, training.csv, predictions.parquet; with
                                             cross-validation one per fold, whose name ends with -f<fold>
    explained.parquet                        logits of the explained images
    scores/<explainer>.parquet               long rows, with the fingerprint they belong to
    pieces/<share>/                          scores of one share of the images, from which a stopped run goes on
    gallery/<explainer>.npz                  raw maps of the images that the figures show
    cases/<explainer>.npz                    maps of the cases that the page shows, as 8-bit integers
    maps/<explainer>.npz, .json              raw maps of every image and how to draw them, only with --save-maps
    studies/<study>/<explainer>.parquet      rows of a study; cell.parquet for one of the whole cell
    .digests.jsonl                           digests of these files, also in the run folder for those in data/
    own_class/, every_class/                 with more than two classes: scores and maps of further pairs of image and
                                             class, laid out as the cell itself; see bench.evaluation.per_class
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import DamagedFile, tell_damage
from bench.specs import is_plain_name
from bench.store.code_digest import digest
from bench.store.record_files import CELL_FILE, RUN_FILE, read_record, write_record
from bench.store.records import CellKey, CellRecord, ExplainerOutcome, RunRecord, StudyOutcome
from bench.store.run_folder import run_lock
from bench.store.scores import read_metadata
from bench.store.stored_files import NOTES, StoredFiles, require_inside

#: Everything in a cell that was computed with its trained weights.
PIECES = "pieces"
_SCORED = ("scores", PIECES, "gallery", "cases", "maps", "studies", "own_class", "every_class")
_SHOWN = 60  # bytes of a name that is stored under its digest


def file_name(name: str) -> str:
    """Turns a name into a part of a path: ``folder:/a/b`` must not become folders; a hash keeps names apart."""
    if is_plain_name(name):
        return name
    shown = re.sub(r"[^\w.+@=-]+", "_", name).strip("_").encode()[-_SHOWN:].decode(errors="ignore")
    return f"{shown}-{digest(name)[:6]}"


def cell_name(key: CellKey) -> str:
    """Returns the name of the folder of a cell, which no other cell of its data set has.

    A backbone with a hyphen in its name ends with ``~``, which no name has: ``a-b~c`` is not ``a-b-c``.
    """
    backbone = file_name(key.backbone)
    fold = "" if key.fold is None else f"-f{key.fold}"
    return f"{backbone}{'~' if '-' in backbone else '-'}{file_name(key.head)}-s{key.seed}{fold}"


class CellStore:
    """Files of one cell."""

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        """Names the files in a folder.

        Args:
            folder: of the cell.
            root: run folder, which no file may lie outside of; None = the folder of the cell.
        """
        self.folder, self.root = folder, root or folder
        self.files = StoredFiles(folder, self.root)
        self.weights = folder / "weights.safetensors"
        self.checkpoint = folder / "checkpoint.safetensors"
        self.training = folder / "training.csv"
        self.predictions = folder / "predictions.parquet"
        self.explained = folder / "explained.parquet"

    @property
    def record(self) -> CellRecord:
        """Content of cell.json; a record with the status "absent" where there is none, or only a damaged one.

        Raises:
            UserError: another version wrote it.
            DamagedFile: it is damaged, and nothing listens (``bench.files.telling``).
        """
        try:
            return self.read_record()
        except DamagedFile as error:
            tell_damage(self.folder / CELL_FILE, error.why)
            return CellRecord()

    def read_record(self) -> CellRecord:
        """Returns ``record``; a damaged one is an error whether or not anything listens."""
        file = self.folder / CELL_FILE
        found = read_record(file, CellRecord)
        if found is None and (self.folder / NOTES).exists():  # the record is written before any other file
            why = "it is missing"
            raise DamagedFile(f"{file} is damaged ({why}); repeat the command that wrote it", why)
        return found or CellRecord()

    def write_record(self, record: CellRecord) -> None:
        """Replaces cell.json."""
        require_inside(self.root, self.folder)
        write_record(self.folder / CELL_FILE, record)

    def activate(self, fingerprint: str) -> None:
        """Makes this folder that of ``fingerprint``: sets results of another training aside and restores its own.

        A run with other settings in the same place would otherwise destroy what took hours to train.
        """
        current = self.record.training
        if current == fingerprint:
            return
        if current:
            aside = self._aside(current)
            if aside.exists() and CellStore(aside, self.root).record.training != current:
                raise UserError(f"{aside} is in the way and does not belong to this cell; move it")
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.rename(aside)
        if self._aside(fingerprint).exists():
            self._aside(fingerprint).rename(self.folder)
        else:
            self.write_record(CellRecord(training=fingerprint, status="training"))

    def _aside(self, fingerprint: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{fingerprint}")

    def part(self, name: str) -> CellStore:
        """Returns the files of a part of the cell, which are in a subfolder."""
        return CellStore(self.folder / name, self.root)

    def forget_scores(self) -> None:
        """Removes everything that was computed with other weights than those that are stored next."""
        self.files.remove(self.explained)
        for name in _SCORED:
            self.files.remove(self.folder / name)

    def note(self, **facts: Any) -> None:
        """Adds facts to cell.json unless it holds them. Only cells with the ``plan`` of the run are shown."""
        record = self.record
        if (changed := record.changed(**facts)) != record:
            self.write_record(changed)

    def note_explainer(self, name: str, outcome: ExplainerOutcome) -> None:
        """Adds the outcome of an explainer to cell.json unless it holds it."""
        self.note(explainers=self.record.explainers | {name: outcome})

    def note_study(self, name: str, outcomes: dict[str, StudyOutcome]) -> None:
        """Adds the outcomes of a study of some explainers ("" = of the whole cell) to cell.json."""
        studies = self.record.studies
        self.note(studies=studies | {name: studies.get(name, {}) | outcomes})

    def metadata(self, path: Path) -> dict[str, str]:
        """Returns the metadata of a scores file; empty if it is absent or damaged."""
        return self.files.read(path, read_metadata) or {}

    def study_is_current(self, name: str, of: str, fingerprint: str | None = None) -> bool:
        """Returns whether there are rows of a study, from its last success, and of this fingerprint if one is given."""
        noted = self.record.studies.get(name, {}).get(of)
        stored = self.metadata(self.study_file(name, of)).get("fingerprint")
        is_current = noted is not None and noted.status == "ok" and noted.fingerprint == stored
        return is_current and fingerprint in (None, stored)

    def study_file(self, name: str, of: str) -> Path:
        """Returns the file of the rows of a study of an explainer ("" = of the whole cell)."""
        return self.folder / "studies" / file_name(name) / f"{file_name(of) if of else 'cell'}.parquet"

    def is_current(self, explainer: str) -> bool:
        """Returns whether there are scores of this explainer, from its last success on these weights."""
        noted = self.record.explainers.get(explainer)
        stored = self.metadata(self.scores_file(explainer)).get("fingerprint")
        return noted is not None and noted.status == "ok" and noted.fingerprint == stored

    def part_is_current(self, part: str, explainer: str) -> bool:
        """Returns whether a part has scores of this explainer by the same settings and code as those of the cell."""
        if not (self.is_current(explainer) and self.part(part).is_current(explainer)):
            return False
        ours, theirs = (store.metadata(store.scores_file(explainer)) for store in (self, self.part(part)))
        same_metrics = json.loads(theirs["metrics"]).items() <= json.loads(ours["metrics"]).items()
        return same_metrics and theirs["fingerprint"].startswith(ours["fingerprint"])

    def scores_file(self, explainer: str) -> Path:
        """Returns the file of the long rows of an explainer."""
        return self.folder / "scores" / f"{file_name(explainer)}.parquet"

    def piece_file(self, explainer: str, number: int) -> Path:
        """Returns the file of its rows of one share until all are there; the maps are next to it, as .npz."""
        return self.piece_files(number).folder / f"{file_name(explainer)}.parquet"

    def piece_files(self, number: int) -> StoredFiles:
        """Returns the folder of the pieces of one share, with notes of its own: shares are written at the same time."""
        return StoredFiles(self.folder / PIECES / str(number), self.root)

    def gallery_file(self, explainer: str) -> Path:
        """Returns the file of its maps for the figures."""
        return self.folder / "gallery" / f"{file_name(explainer)}.npz"

    def cases_file(self, explainer: str) -> Path:
        """Returns the file of its maps for the cases of the page."""
        return self.folder / "cases" / f"{file_name(explainer)}.npz"

    def maps_file(self, explainer: str) -> Path:
        """Returns the file of all its maps, which is there if they were kept."""
        return self.folder / "maps" / f"{file_name(explainer)}.npz"


class RunStore:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = StoredFiles(folder, folder)

    @property
    def record(self) -> RunRecord:
        """Content of run.json.

        Raises:
            UserError: this is not a run folder, the file is damaged, or another version wrote it.
        """
        record = read_record(self.folder / RUN_FILE, RunRecord)
        if record is None:
            raise UserError(f"{self.folder} holds no run (no {RUN_FILE}); name the folder that a run was written to")
        return record

    def write_record(self, record: RunRecord) -> None:
        """Replaces run.json."""
        write_record(self.folder / RUN_FILE, record)

    def cell(self, key: CellKey) -> CellStore:
        """Returns the files of a cell.

        Raises:
            UserError: a link leads out of the run folder.
        """
        folder = self.folder / "cells" / file_name(key.dataset) / cell_name(key)
        return CellStore(require_inside(self.folder, folder), self.folder)

    def images_file(self, dataset: str) -> Path:
        """Returns the file of the images and masks that the figures of a data set show."""
        return self.folder / "data" / f"{file_name(dataset)}.npz"

    def cases_file(self, dataset: str) -> Path:
        """Returns the file of the images and masks of the cases that the page shows; ``~`` is in no name."""
        return self.folder / "data" / f"{file_name(dataset)}~cases.npz"

    def lesions_file(self, dataset: str) -> Path:
        """Returns the file of area and number of the lesions of its explained images."""
        return self.images_file(dataset).with_suffix(".parquet")

    def lock(self) -> AbstractContextManager[str]:
        """Keeps other runs and reports out of the folder; see ``bench.store.run_folder``."""
        return run_lock(self.folder)
