"""Stored classifier of a cell: its files are written together, and each can be made again from the others.

The file of the weights also holds the record of the training and its history. A damaged ``cell.json`` or
``training.csv`` is therefore no reason to train again.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from torch import Tensor

from bench.contracts import Classifier
from bench.data.split import Split
from bench.files import DamagedFile, tell_damage
from bench.store.folders import CellStore
from bench.store.record_files import CELL_FILE
from bench.store.records import CellRecord
from bench.training.tensor_files import digest_of, read_tensors, write_tensors

_RECORD, _HISTORY, _TENSORS = "record", "history", "tensors"


def restore_record(store: CellStore) -> None:
    """Writes an absent or damaged cell.json again, with the facts about the training, if the weights are good."""
    file = store.folder / CELL_FILE
    try:
        why = "" if store.read_record().training else "it lacks the facts about the training"
    except DamagedFile as error:
        why = error.why
    if not why or not store.weights.exists():
        return
    _, about = read_tensors(store.weights) or ({}, {})
    if _RECORD in about:
        tell_damage(file, why)
        store.write_record(CellRecord.model_validate_json(about[_RECORD]))


def stored_weights(store: CellStore) -> tuple[dict[str, Tensor], str | None] | None:
    """Returns the trained weights and the history of the training as CSV; None if the cell must be trained.

    The history is None where nothing was trained.
    """
    record = store.record
    if not record.weights_from:
        return None
    if not store.weights.exists():
        tell_damage(store.weights, "it is missing")
        return None
    found = read_tensors(store.weights)
    if found is None:
        return None
    tensors, about = found
    if record.weights_sha256 != about.get(_TENSORS, record.weights_sha256):
        tell_damage(store.weights, "its weights are not those that cell.json describes")
        return None
    return tensors, about.get(_HISTORY)


def save_trained(store: CellStore, classifier: Classifier, record: CellRecord, history: pd.DataFrame | None) -> None:
    """Writes weights, history and record, and removes scores of other weights.

    Weights that are trained again because their file was lost are usually the same; their scores then remain.

    Args:
        store: files of the cell.
        classifier: the trained classifier.
        record: facts about the training.
        history: one row per epoch; None for a conversion.
    """
    weights, before = classifier.state_dict(), store.record
    record = record.changed(weights_sha256=digest_of(weights))
    if record.weights_sha256 != before.weights_sha256:
        store.forget_scores()
    about = {_RECORD: record.model_dump_json(exclude_defaults=True), _TENSORS: record.weights_sha256}
    if history is not None:
        about[_HISTORY] = history.to_csv(index=False)
        save_history(store, about[_HISTORY])
    write_tensors(store.weights, weights, about)
    if record.weights_sha256 == before.weights_sha256:
        record = record.changed(explainers=before.explainers, studies=before.studies)
    store.write_record(record)


def save_history(store: CellStore, csv: str) -> None:
    """Writes training.csv."""
    with store.files.writing(store.training) as temporary:
        temporary.write_text(csv, encoding="utf-8")


def has_history(store: CellStore) -> bool:
    """Returns whether training.csv can be read."""
    return store.files.is_good(store.training, lambda file: pd.read_csv(io.BytesIO(file.read_bytes())))


def has_predictions(store: CellStore) -> bool:
    """Returns whether predictions.parquet can be read."""
    return store.files.is_good(store.predictions, pd.read_parquet)


def save_predictions(store: CellStore, test: Split, logits: np.ndarray) -> None:
    """Writes one row per test image with its logits (N,C) and its label, or labels ``label_0``, ``label_1`` …."""
    frame = pd.DataFrame({"image": test.ids, "group": test.groups})
    if test.labels.ndim == 1:
        frame["label"] = test.labels
    else:
        frame = frame.assign(**{f"label_{index}": column for index, column in enumerate(test.labels.T)})
    for index in range(logits.shape[1]):
        frame[f"logit_{index}"] = logits[:, index]
    store.files.write_frame(store.predictions, frame)
