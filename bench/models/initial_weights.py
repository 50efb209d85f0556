"""Initial weights of a training, read from a file of the user.

The file is read without executing code from it, and its tensors are used if their names and shapes fit.
"""

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

from bench.contracts import Classifier
from bench.errors import UserError

#: Share of the parameters of the feature extractor that a file must hold. Half of the names and shapes of a ResNet-18
#: also exist in a ResNet-50, so a smaller share could start a mixture under the name of the file.
NEEDED = 0.9
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_MOST_WRAPPERS = 8
_PREFIXES = ("module.", "_orig_mod.", "model.")
_RESAVE = (
    "; if you trust its source, load it, write its state_dict() with safetensors.torch.save_file and give that file"
)


@dataclass(frozen=True)
class InitialWeights:
    """Weights read from a file.

    Attributes:
        path: the file.
        digest: its SHA-256.
        tensors: weights by name, without wrappers and prefixes.
    """

    path: Path
    digest: str
    tensors: dict[str, Tensor]

    def load_into(self, classifier: Classifier, origin: str) -> str:
        """Loads the tensors that fit by name and shape; names are those of a ``Classifier`` or of the plain backbone.

        Args:
            classifier: changed in place.
            origin: origin of its present weights.

        Returns:
            The origin of its new weights, with their number.

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
            f"initial weights {self.path} do not fit: the file holds {share:.0%} of the feature extractor "
            f"({NEEDED:.0%} are needed); {naming[name]!r} is {why}"
            + (f", {unexpected!r} is unexpected" if unexpected else "")
        )

    def _describe(self, state: dict[str, Tensor], found: dict[str, Tensor], naming: dict[str, str], origin: str) -> str:
        loaded, total = ({part: len(_part(one, part)) for part in ("features.", "head.")} for one in (found, state))
        unused = len(_part(self.tensors, "")) - len(_part({naming[name]: one for name, one in found.items()}, ""))
        rest = "" if loaded["features."] == total["features."] else f"; the rest: {origin}"
        return (
            f"initial weights {self.path.name} (sha256 {self.digest[:16]}): {loaded['features.']} of "
            f"{total['features.']} tensors of the feature extractor, {loaded['head.']} of {total['head.']} of the head"
            + (f", {unused} in the file unused" if unused else "")
            + rest
        )


def read_initial_weights(path: Path) -> InitialWeights:
    """Reads a ``.safetensors`` file, or any other file in PyTorch's format with ``weights_only=True``.

    Raises:
        UserError: the file is absent, damaged or without tensors, or holds objects whose unpickling could execute code.
    """
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise UserError(f"initial weights {path}: it is not a file; give a .safetensors or .pt file")
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = f"{error.strerror}; give a .safetensors or .pt file"
        raise UserError(f"initial weights {path} cannot be read: {reason}") from error
    state = _from_safetensors(path, content) if path.suffix == ".safetensors" else _from_torch(path, content)
    for _ in range(_MOST_WRAPPERS):  # a pickled dictionary may hold itself
        inner = next((key for key in _WRAPPERS if _is_mapping(state, key)), "")
        state = state[inner] if inner else state
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)} if _is_state(state) else {}
    if not tensors:
        raise UserError(
            f"initial weights {path}: the file holds no weights by name; save model.state_dict() and give that file"
        )
    return InitialWeights(path, hashlib.sha256(content).hexdigest(), _without_prefixes(tensors))


def _from_safetensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise UserError(f"initial weights {path} are not a complete safetensors file: {error}") from error


def _from_torch(path: Path, content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types of error for such files
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is None:
            reason = " ".join(f"{type(error).__name__}: {str(error).split('. ')[0][:100]}".split())
            raise UserError(
                f"initial weights {path} cannot be read as a file of tensors ({reason}){_RESAVE}"
            ) from error
        raise UserError(
            f"initial weights {path}: the file contains pickled objects ({named[1]}), and loading them could execute "
            f"code{_RESAVE}"
        ) from error


def _is_mapping(state: Any, key: str) -> bool:
    return isinstance(state, Mapping) and isinstance(state.get(key), Mapping)


def _is_state(state: Any) -> bool:
    return isinstance(state, Mapping) and all(isinstance(name, str) for name in state)


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes the prefixes that DataParallel, torch.compile and Lightning add to all names."""
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the weights under a prefix; batch norm's counters of batches do not count as weights."""
    return {name: value for name, value in tensors.items() if name.startswith(prefix) and value.is_floating_point()}


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())
