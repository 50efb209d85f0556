"""ONNX file of a classifier.

The exporter can produce a file that computes something else, so the file is compared with PyTorch before it is kept.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Classifier, EvidenceClassifier
from bench.data.split import normalise
from bench.errors import MissingData, UserError
from bench.files import Place
from bench.seeds import generator

#: Largest accepted difference from PyTorch in logits and evidence, relative to the largest value if that exceeds 1.
TOLERANCE = 1e-4
_BATCHES = (1, 3)


class _Outputs(nn.Module):
    """Images (N,3,H,W) -> logits (N,C), and evidence (N,C,h,w) if the classifier has it."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Computes logits and evidence in one pass."""
        logits, evidence = self.classifier.forward_training(images)
        return (logits,) if evidence is None else (logits, evidence)


def require_onnx() -> None:
    """Checks that the exporter's packages are installed.

    Raises:
        MissingData: A package is missing; the message says how to install it.
    """
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingData(f"--onnx needs {' and '.join(absent)}: pip install -e '.[onnx]'")


def write_onnx(classifier: Classifier, about: dict[str, Any], place: Place) -> str:
    """Writes ``images`` (N,3,H,W) -> ``logits`` (N,C) and, if there is any, ``evidence`` (N,C,h,w), for any N.

    Args:
        classifier: in evaluation mode, on the CPU.
        about: metadata of the file; the comparison uses its size, mean and std.
        place: place of the file, which stays absent or unchanged if the comparison fails.

    Returns:
        A sentence for the reader on the comparison.

    Raises:
        UserError: An output differs from PyTorch's by more than ``TOLERANCE``.
    """
    model = _Outputs(classifier).eval()
    names = ["logits", "evidence"] if isinstance(classifier, EvidenceClassifier) else ["logits"]
    example = torch.zeros(2, 3, about["size"], about["size"])  # a batch of one would be fixed in the graph
    with place as temporary, _quiet():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
        assert program is not None  # None only with dynamo=False
        program.model.metadata_props.update({name: json.dumps(value) for name, value in about.items()})
        program.save(temporary, external_data=False)
        return _compare(model, names, about, temporary)


def _compare(model: nn.Module, names: list[str], about: dict[str, Any], path: Path) -> str:
    if importlib.util.find_spec("onnxruntime") is None:
        return "Not compared with PyTorch: onnxruntime is not installed."
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(names, 0.0)
    for count in _BATCHES:
        shape = (count, 3, about["size"], about["size"])
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator("onnx", count))
        images = normalise(images, about["mean"], about["std"])
        with torch.inference_mode():
            expected = model(images)
        for name, ours, theirs in zip(names, expected, session.run(names, {"images": images.numpy()}), strict=True):
            difference = (ours - torch.from_numpy(theirs)).abs().max().item() / max(1.0, ours.abs().max().item())
            if not difference <= TOLERANCE:  # also true for nan
                raise UserError(
                    f"the ONNX file is not kept: under onnxruntime its {name} differ from PyTorch's by "
                    f"{difference:.1e} (at most {TOLERANCE:.0e} is accepted); export without --onnx"
                )
            largest[name] = max(largest[name], difference)
    found = ", ".join(f"{name} {difference:.1e}" for name, difference in largest.items())
    batches = " and ".join(map(str, _BATCHES))
    return (
        f"Compared with PyTorch under onnxruntime {onnxruntime.__version__} on random images in batches of {batches}: "
        f"largest difference {found} (relative where values exceed 1)."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's notes, which say nothing about the file."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
