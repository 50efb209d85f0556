"""Export of a trained classifier: weights, model card and ONNX file.

Everything comes from the run folder, so that a classifier can be exported without the images of its data set.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from bench.commands.export.model_card import model_card
from bench.commands.export.onnx import require_onnx, write_onnx
from bench.config import Config, parse_config
from bench.contracts import Classifier, EvidenceClassifier, Head
from bench.errors import UserError
from bench.models.factory import rebuild
from bench.models.feature_extraction import split_classifier
from bench.registry import HEADS
from bench.report.frames.load import Frames, load_frames
from bench.store.folders import RunStore
from bench.store.manifest import Manifest
from bench.store.records import CellKey, CellRecord
from bench.training.tensor_files import read_tensors

WEIGHTS, CARD, ONNX = "model.safetensors", "README.md", "model.onnx"


@dataclass(frozen=True)
class Exported:
    """A finished cell, rebuilt.

    Attributes:
        frames: data frames of this cell alone.
        config: config, resolved for its data set and backbone.
        classifier: the trained classifier, on the CPU.
        about: facts that the use of the weights needs, as ``load_classifier`` returns them.
    """

    frames: Frames
    config: Config
    classifier: Classifier
    about: dict[str, Any]


def export_cell(folder: Path, out: Path | None, onnx: bool) -> list[str]:
    """Writes ``model.safetensors``, ``README.md`` and, on request, ``model.onnx``.

    Args:
        folder: folder of the cell, inside a run folder.
        out: folder to write to; None for ``export/<data set>/<cell>`` in the run folder.
        onnx: whether to write the ONNX file.

    Returns:
        Lines for the user: files, comparison of the ONNX file with PyTorch, advice.

    Raises:
        UserError: The folder is not a finished cell of the run's last plan, ``out`` holds other files, or the ONNX file
            does not compute the same as PyTorch.
        MissingData: A package that ``onnx`` needs is not installed.
    """
    if onnx:
        require_onnx()
    folder = folder.resolve()
    run, key = find_cell(folder)
    cell = read_cell(run, key)
    out = out or run.folder / "export" / folder.parent.name / folder.name
    files = _claimed(out)
    for stale in (CARD, ONNX):  # of an earlier export, possibly with other weights
        files.remove(stale)
    with files.replacing(WEIGHTS) as temporary:
        save_file(
            cell.classifier.state_dict(), temporary, {name: json.dumps(value) for name, value in cell.about.items()}
        )
    compared = write_onnx(cell.classifier, cell.about, files.replacing(ONNX)) if onnx else ""
    with files.replacing(CARD) as temporary:
        card = model_card(cell.frames, cell.config, cell.about, cell.classifier, compared)
        temporary.write_text(card, encoding="utf-8")
    lines = [f"{out / ONNX}: {compared}"] if onnx else []
    return [f"{key}: {out / WEIGHTS}, {out / CARD}", *lines, *_advice(cell.classifier)]


def find_cell(folder: Path) -> tuple[RunStore, CellKey]:
    """Returns the run that an absolute cell folder belongs to, and the cell's key.

    Raises:
        UserError: It is not the folder of a cell in the run's last plan.
    """
    store = RunStore(folder.parent.parent.parent)
    cells = "<run>/cells/<data set>/<backbone>-<head>-s<seed>"
    if not (store.folder / "run.json").exists():
        raise UserError(f"{folder} is not a cell folder; give one such as {cells}")
    found = next((key for key in store.record.cells if store.cell(key).folder == folder), None)
    if found is None:
        raise UserError(f"{folder} is not a cell of the last run in {store.folder}; give another, or repeat the run")
    return store, found


def read_cell(run: RunStore, key: CellKey) -> Exported:
    """Rebuilds the classifier of a finished cell from names and weights.

    Raises:
        UserError: The cell failed or is not finished.
    """
    frames = load_frames(run.folder, key)
    facts, status, record = frames.record.datasets[key.dataset], *frames.cells[["status", "record"]].iloc[0]
    if status == "failed":
        raise UserError(f"{key} failed, there is nothing to export: {record.reason}")
    if status != "ok" or not facts.classes:
        again = " and merge again" if frames.record.merged else ""
        raise UserError(f"{key} is not finished ({status}); repeat the command of its run{again}")
    whole = parse_config(frames.record.origin(key.whole).config, str(run.folder / "run.json"))
    config = whole.for_dataset(facts.spec or key.dataset, key.backbone)
    head = _head(record, key)
    side = facts.side["test"]
    classifier = rebuild(key.backbone, head, _weights(run, key), len(facts.classes))
    geometry = classifier.geometry((side, side))
    about = {
        "dataset": key.dataset,
        "backbone": key.backbone,
        "head": record.base,
        "parameters": record.parameters,
        "seed": key.seed,
        **({} if key.fold is None else {"fold": key.fold}),
        "classes": facts.classes,
        "mean": record.mean,
        "std": record.std,
        "size": side,
        "geometry": None if geometry is None else asdict(geometry),
        "training": record.training,
    }
    return Exported(frames, config, classifier, about)


def _weights(run: RunStore, key: CellKey) -> dict[str, Tensor]:
    """Reads the trained weights of a cell.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = run.cell(key).weights
    found = read_tensors(file)
    if found is None:
        raise UserError(f"{file} is missing; repeat the command that wrote it")
    return found[0]


def _head(record: CellRecord, key: CellKey) -> Head:
    """Builds the head with the parameters that it was trained with, which may differ from today's defaults."""
    try:
        return HEADS[record.base](**(record.parameters or {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: head {record.base!r} no longer takes {record.parameters}: {error}") from error


def _claimed(out: Path) -> Manifest:
    """Creates the folder, or takes an empty one or the unchanged folder of an earlier export.

    Raises:
        UserError: It holds other files, or cannot be written to.
    """
    files = Manifest(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_foreign = not files.exists and any(out.iterdir())
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    if is_foreign:
        raise UserError(f"{out} holds other files; choose an --out that is empty or does not exist yet")
    files.require(WEIGHTS, CARD, ONNX)
    return files


def _advice(classifier: Classifier) -> list[str]:
    """Lists advice: a classifier without evidence, and how to obtain evidence."""
    if isinstance(classifier, EvidenceClassifier):
        return []
    line = "a black box has logits but no evidence"
    try:
        converts = not split_classifier(classifier).not_linear
    except ValueError:  # a foreign classifier that cannot be traced
        converts = False
    advice = "; it pools and has one linear layer, so softcam.convert or the head tte gives its evidence exactly"
    return [line + advice if converts else line]
