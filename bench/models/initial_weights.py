"""Weights from elsewhere to start a training from: read without running any code of theirs, put where they fit."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from bench.contracts import Classifier, UserError

#: Share of the numbers in the feature extractor that a checkpoint must hold. Names and shapes of half a ResNet-18 are
#: also in a ResNet-50: a start from such a mixture would bear the checkpoint's name without being it.
NEEDED = 0.9
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class InitialWeights:
    """A file of weights.

    Attributes:
        digest: SHA-256 of the file.
        tensors: by name, free of wrappers and prefixes.
    """

    path: Path
    digest: str
    tensors: dict[str, Tensor]

    def load_into(self, classifier: Classifier, origin: str) -> str:
        """Load what fits by name and shape: names are those of our ``Classifier`` or of the plain backbone.

        Args:
            classifier: changed in place.
            origin: where its weights come from so far.

        Returns:
            Where they come from now, and how many.

        Raises:
            UserError: less than ``NEEDED`` of the feature extractor fits.
        """
        state = classifier.state_dict()
        # features.conv1.weight of the classifier is conv1.weight of the backbone: the file uses one naming or the other
        namings = ({name: name.partition(".")[2] for name in state}, {name: name for name in state})
        fitting = [self._fitting(state, naming) for naming in namings]
        best = max(range(2), key=lambda one: _size(fitting[one]))
        found, naming = fitting[best], namings[best]
        features = _part(state, "features.")
        if _size(_part(found, "features.")) < NEEDED * _size(features):
            raise UserError(self._misfit(features, found, naming))
        classifier.load_state_dict(found, strict=False)
        return self._describe(state, found, naming, origin)

    def _fitting(self, state: dict[str, Tensor], naming: dict[str, str]) -> dict[str, Tensor]:
        theirs = {name: self.tensors[naming[name]] for name in state if naming[name] in self.tensors}
        return {name: tensor for name, tensor in theirs.items() if tensor.shape == state[name].shape}

    def _misfit(self, features: dict[str, Tensor], found: dict[str, Tensor], naming: dict[str, str]) -> str:
        share = _size(_part(found, "features.")) / _size(features)
        name = next(name for name in features if name not in found)
        there = self.tensors.get(naming[name])
        why = "missing" if there is None else f"{tuple(there.shape)} and not {tuple(features[name].shape)}"
        unexpected = next(iter(self.tensors.keys() - set(naming.values())), None)
        return (
            f"checkpoint {self.path} does not fit: it holds {share:.0%} of the feature extractor ({NEEDED:.0%} are "
            f"needed); {naming[name]!r} is {why}" + (f", {unexpected!r} is unexpected" if unexpected else "")
        )

    def _describe(self, state: dict[str, Tensor], found: dict[str, Tensor], naming: dict[str, str], origin: str) -> str:
        loaded, total = ({part: len(_part(one, part)) for part in ("features.", "head.")} for one in (found, state))
        unused = len(_part(self.tensors, "")) - len(_part({naming[name]: one for name, one in found.items()}, ""))
        rest = "" if loaded["features."] == total["features."] else f"; the rest: {origin}"
        return (
            f"checkpoint {self.path.name} (sha256 {self.digest[:16]}): {loaded['features.']} of {total['features.']} "
            f"tensors of the feature extractor, {loaded['head.']} of {total['head.']} of the head"
            + (f", {unused} in the file unused" if unused else "")
            + rest
        )


def read_initial_weights(path: Path) -> InitialWeights:
    """Read a ``.safetensors`` file, or any other as PyTorch's own format with ``weights_only=True``.

    Raises:
        UserError: the file is absent, damaged, holds no tensors, or holds objects whose unpickling could run code.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"checkpoint {path} cannot be read: {error.strerror}; give a .safetensors or .pt file"
        ) from error
    state = _from_safetensors(path, content) if path.suffix == ".safetensors" else _from_torch(path, content)
    while isinstance(state, Mapping) and (inner := next((key for key in _WRAPPERS if _is_mapping(state, key)), "")):
        state = state[inner]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)} if _is_state(state) else {}
    if not tensors:
        raise UserError(f"checkpoint {path} holds no weights by name; save model.state_dict() and give that file")
    return InitialWeights(path, hashlib.sha256(content).hexdigest(), _without_prefixes(tensors))


def _from_safetensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise UserError(f"checkpoint {path} is no whole safetensors file: {error}") from error


def _from_torch(path: Path, content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the many ways in which torch says no
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it refers to {named[1]}" if named else f"{type(error).__name__}: {str(error).split('. ')[0][:100]}"
        raise UserError(
            f"checkpoint {path} is refused: it is no plain file of tensors ({' '.join(reason.split())}), and to read "
            "anything else could run code that it brings; if you trust its source, load it yourself, "
            "write its state_dict() with safetensors.torch.save_file and give that file"
        ) from error


def _is_mapping(state: Mapping[Any, Any], key: str) -> bool:
    return isinstance(state.get(key), Mapping)


def _is_state(state: Any) -> bool:
    return isinstance(state, Mapping) and all(isinstance(name, str) for name in state)


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what DataParallel, torch.compile and Lightning put in front of every one of them."""
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those under a prefix; batch norm's counters of batches are no weights."""
    return {name: value for name, value in tensors.items() if name.startswith(prefix) and value.is_floating_point()}


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())
