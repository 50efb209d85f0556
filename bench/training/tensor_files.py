"""Files of tensors that carry their own digest, for trained weights and for the state between epochs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.files import replacing, tell_damage

_DIGEST = "sha256"


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Computes the SHA-256 of the names, types, shapes and values of tensors, whatever their layout in memory."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        content.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return content.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Writes tensors and texts about them to a safetensors file, atomically -> the digest of the tensors.

    Tensors are stored in the standard order of their axes, and do not share memory.
    """
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    digest = digest_of(stored)
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata={**about, _DIGEST: _digest(digest, about)})
    return digest


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Reads a file of ``write_tensors`` -> tensors and texts; None if it is absent or damaged.

    Raises:
        DamagedFile: the file is damaged, and nothing listens (``bench.files.telling``).
    """
    if not path.exists() and not path.is_symlink():
        return None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        noted = about.pop(_DIGEST, None)
        whole = noted is None or noted == _digest(digest_of(tensors), about)
        why = "" if whole else "it was changed since it was written"
    except Exception as error:  # the library raises errors of many types for such files
        why = f"{type(error).__name__}"
    if why:
        tell_damage(path, "it is empty" if path.is_file() and path.stat().st_size == 0 else why)
        return None
    return {name: value.to(device) for name, value in tensors.items()}, about


def _digest(tensors: str, about: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([tensors, dict(about)], sort_keys=True).encode()).hexdigest()
