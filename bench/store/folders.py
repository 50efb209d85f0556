"""The run folder: the only memory of a run. Every file is whole or absent, and knows what it was computed from.

run.json                                     config, plan, facts, versions, machine
lock                                         held by the process of the command, whatever others work for it
data/<data set>.npz, .parquet                the few images and masks that the figures show; lesions of every image
cells/<data set>/<backbone>-<head>-s<seed>/  cell.json, weights.safetensors, training.csv, predictions.parquet
    explained.parquet                        logits of the explained images
    scores/<explainer>.parquet               long rows, with the fingerprint they belong to
    pieces/<explainer>/                      what a stopped run has of an explainer's scores
    gallery/<explainer>.npz                  raw maps of the images that the figures show
    maps/<explainer>.npz                     raw maps of every image, only with --save-maps
    own_class/, every_class/                 with more than two classes: scores and maps of further pairs of image and
                                             class, laid out as the cell itself; see bench.classwise
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import read_json, write_json
from bench.store.fingerprints import digest
from bench.store.scores import read_metadata


@dataclass(frozen=True)
class CellKey:
    """What names a cell."""

    dataset: str
    backbone: str
    head: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset} · {self.backbone} · {self.head} · seed {self.seed}"


def file_name(name: str) -> str:
    """A name as part of a path: ``folder:/a/b`` must not become folders; a hash keeps different names apart."""
    plain = re.sub(r"[^\w.+@=-]+", "_", name)
    return plain if plain == name else f"{plain.strip('_')[-60:]}-{digest(name)[:6]}"


class CellStore:
    """Files of one cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights.safetensors"
        self.checkpoint = folder / "checkpoint.safetensors"
        self.training = folder / "training.csv"
        self.predictions = folder / "predictions.parquet"
        self.explained = folder / "explained.parquet"

    @property
    def record(self) -> dict[str, Any]:
        """What cell.json holds: the training's fingerprint, status training|ok|failed, reason, seconds, explainers."""
        return read_json(self.folder / "cell.json") or {}

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace cell.json."""
        write_json(self.folder / "cell.json", record)

    def activate(self, fingerprint: str) -> None:
        """Make this folder that of ``fingerprint``: set another training's results aside, bring its own back.

        A run with other settings in the same place would else destroy what took hours to train.
        """
        current = self.record.get("training")
        if current == fingerprint:
            return
        if current is not None:
            aside = self._aside(current)
            if aside.exists() and CellStore(aside).record.get("training") != current:
                raise UserError(f"{aside} is in the way and not of this cell; move it")
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.rename(aside)
        if self._aside(fingerprint).exists():
            self._aside(fingerprint).rename(self.folder)
        else:
            self.write_record({"training": fingerprint, "status": "training"})

    def _aside(self, fingerprint: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{fingerprint}")

    def part(self, name: str) -> CellStore:
        """Files of a part of the cell, which goes where the cell goes."""
        return CellStore(self.folder / name)

    def note(self, **facts: Any) -> None:
        """Add facts to cell.json, unless that is what it says. Only cells with the ``plan`` of the run are shown."""
        record = self.record
        if record | facts != record:
            self.write_record(record | facts)

    def note_explainer(self, name: str, **facts: Any) -> None:
        """Add what happened to one explainer to cell.json, unless that is what it says."""
        record = self.record
        if record.setdefault("explainers", {}).get(name) != facts:
            record["explainers"][name] = facts
            self.write_record(record)

    def note_study(self, name: str, facts: dict[str, dict[str, Any]]) -> None:
        """Add to cell.json what happened to a probe of some explainers ("" = of the cell)."""
        record = self.record
        record.setdefault("probes", {}).setdefault(name, {}).update(facts)
        self.write_record(record)

    def study_is_current(self, name: str, of: str, fingerprint: str | None = None) -> bool:
        """Whether there are rows of a probe, from its last success, and of this fingerprint where one is given."""
        noted = self.record.get("probes", {}).get(name, {}).get(of, {})
        stored = read_metadata(self.study_file(name, of)).get("fingerprint")
        return noted.get("status") == "ok" and noted["fingerprint"] == stored and fingerprint in (None, stored)

    def study_file(self, name: str, of: str) -> Path:
        """Where the rows of a probe of an explainer ("" = of the cell) are."""
        return self.folder / "probes" / name / f"{file_name(of) if of else 'cell'}.parquet"

    def is_current(self, explainer: str) -> bool:
        """Whether there are scores of this explainer, and they belong to its last success on these weights."""
        noted = self.record.get("explainers", {}).get(explainer, {})
        metadata = read_metadata(self.scores_file(explainer))
        return noted.get("status") == "ok" and noted.get("fingerprint") == metadata.get("fingerprint")

    def part_is_current(self, part: str, explainer: str) -> bool:
        """Whether a part's scores of this explainer are there and were made with the settings and code of these."""
        if not (self.is_current(explainer) and self.part(part).is_current(explainer)):
            return False
        ours, theirs = (read_metadata(store.scores_file(explainer)) for store in (self, self.part(part)))
        same_metrics = json.loads(theirs["metrics"]).items() <= json.loads(ours["metrics"]).items()
        return same_metrics and theirs["fingerprint"].startswith(ours["fingerprint"])

    def scores_file(self, explainer: str) -> Path:
        """Where the long rows of an explainer are."""
        return self.folder / "scores" / f"{file_name(explainer)}.parquet"

    def piece_file(self, explainer: str, number: int) -> Path:
        """Where its rows of one portion of the images are until all are there; its maps lie beside it, as .npz."""
        return self.folder / "pieces" / file_name(explainer) / f"{number}.parquet"

    def gallery_file(self, explainer: str) -> Path:
        """Where its maps for the figures are."""
        return self.folder / "gallery" / f"{file_name(explainer)}.npz"

    def maps_file(self, explainer: str) -> Path:
        """Where all its maps are, if they were kept."""
        return self.folder / "maps" / f"{file_name(explainer)}.npz"


class RunStore:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def record(self) -> dict[str, Any]:
        """What run.json holds.

        Raises:
            UserError: this is not a run folder, or one of a version whose record says less.
        """
        record = read_json(self.folder / "run.json")
        if record is None:
            raise UserError(f"{self.folder} holds no run (no run.json); give the folder that a run was written to")
        if absent := {"cells", "plan", "explained_by", "datasets"} - record.keys():
            raise UserError(
                f"{self.folder} was written by another version (its run.json has no {', '.join(sorted(absent))}); "
                "repeat the command of the run, which keeps the trained weights where it can"
            )
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace run.json."""
        write_json(self.folder / "run.json", record)

    def cell(self, key: CellKey) -> CellStore:
        """The files of a cell."""
        name = f"{file_name(key.backbone)}-{file_name(key.head)}-s{key.seed}"
        return CellStore(self.folder / "cells" / file_name(key.dataset) / name)

    def images_file(self, dataset: str) -> Path:
        """Where the images and masks are that the figures of a data set show."""
        return self.folder / "data" / f"{file_name(dataset)}.npz"

    def lesions_file(self, dataset: str) -> Path:
        """Where area and number of the lesions of its explained images are."""
        return self.images_file(dataset).with_suffix(".parquet")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second run out of the folder; the lock goes with the process, however it ends.

        Raises:
            UserError: another run works here, or the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "lock").open("a")
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror}; choose another --out") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"another run is working in {self.folder}; wait for it or choose --out") from error
            yield
