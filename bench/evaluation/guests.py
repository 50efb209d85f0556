"""Calls of plugins: checks of what one returns, and restoration of what it changes.

A wrong shape is reported with the plugin's name, and no plugin alters the scores of another.
"""

from __future__ import annotations

import functools
import os
import random
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Explainer
from bench.errors import UserError, one_line

Result = TypeVar("Result")
#: Name, module and copied attributes of every module of a network.
Attributes = list[tuple[str, nn.Module, dict[str, Any]]]
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
#: Tables of hooks of a module.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
#: Setting of the process -> its getter and its setter.
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, torch.set_default_device),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "working directory": (os.getcwd, os.chdir),
}


class Host:
    """A network that plugins are called with, and a copy of its parameters and buffers from before the first call.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        values = {id(one): one for one in (*network.parameters(), *network.buffers())}.values()
        self._tensors = [(one, one.requires_grad, one.grad, one.detach().clone(), digest(one)) for one in values]

    def attributes(self) -> Attributes:
        """Returns the attributes of every module: modes, hooks, parts and replaced methods."""
        return [(name or "network", part, _shallow(vars(part))) for name, part in self.network.named_modules()]

    def put_back(self, before: Attributes) -> list[str]:
        """Restores attributes and values, and returns what was changed, one entry per kind of change."""
        found: dict[str, None] = {}
        for name, module, state in before:
            changes = _changes(module, state)
            found |= dict.fromkeys(f"{one} of {name}" if one.startswith("attribute") else one for one in changes)
            if changes:
                vars(module).clear()
                vars(module).update(_shallow(state))
        for tensor, requires_grad, gradient, copy, bits in self._tensors:
            if digest(tensor) != bits:
                found["weights changed"] = None
                tensor.data = copy.clone()
            if tensor.requires_grad != requires_grad or tensor.grad is not gradient:
                found["requires_grad or gradients of weights changed"] = None
                tensor.requires_grad_(requires_grad)
                tensor.grad = gradient
        return list(found)


def as_guest(
    name: str, call: Callable[[], Result], host: Host | None = None, batch: Batch | None = None
) -> tuple[Result, list[str]]:
    """Calls a plugin and puts back what it changes, also when it raises.

    Random generators continue as if the plugin had drawn nothing, without a word: a plugin may draw.

    Args:
        name: the plugin, as messages name it.
        call: calls it.
        host: state of the network that the plugin is called with; None if it gets none.
        batch: its inputs; None if it gets none.

    Returns:
        The result, and the changes of network and settings that were put back.

    Raises:
        UserError: The plugin changed its inputs, which the caller must make anew, or tried to end the program.
    """
    settings = {setting: get() for setting, (get, _) in _SETTINGS.items()}
    inputs, generators = _inputs(batch), _generators()
    attributes = host.attributes() if host else []
    try:
        result = call()
    except SystemExit as error:
        raise UserError(f"{name} tried to end the program with exit code {error.code or 0}") from error
    except (KeyboardInterrupt, Exception):
        raise
    except BaseException as error:
        raise UserError(f"{name} failed: {one_line(error)}") from error
    finally:
        for restore in generators:
            restore()
        left = _put_settings_back(settings) + (host.put_back(attributes) if host else [])
        now = _inputs(batch)
        damaged = [part for part, before in inputs.items() if now[part] != before]
    if damaged:
        raise UserError(f"{name} changed the {' and '.join(damaged)} that it was given; it must work on a copy")
    return result, left


def check_maps(name: str, maps: object, images: int) -> Tensor:
    """Returns an explainer's maps (N,h,w) unchanged if there is one two-dimensional real map per image.

    Raises:
        UserError: They are anything else; the message says what.
    """
    if not isinstance(maps, Tensor):
        raise UserError(f"explainer {name!r} returned {type(maps).__name__}, not a tensor of maps (N,h,w)")
    if maps.ndim != 3 or len(maps) != images or not maps.numel() or maps.is_complex():
        shape = f"{tuple(maps.shape)} of {maps.dtype}"
        raise UserError(f"explainer {name!r} returned shape {shape} for {images} images, not real maps (N,h,w)")
    return maps


def check_grid(name: str, explainer: Explainer, maps: Tensor, feature_grid: tuple[int, int]) -> None:
    """Checks that maps (N,h,w) have the grid that their explainer states, because they would be drawn elsewhere.

    Raises:
        UserError: they should be on the feature map's grid, and have other sides.
    """
    if explainer.grid == "features" and tuple(maps.shape[1:]) != feature_grid:
        sides, expected = ("×".join(map(str, one)) for one in (maps.shape[1:], feature_grid))
        raise UserError(
            f"explainer {name!r} returned maps of {sides} cells, but the feature map that it states as its grid has "
            f'{expected}; state grid = "pixels" if its cells divide the image evenly'
        )


def check_values(name: str, values: object, images: int) -> Tensor:
    """Returns a metric's values (N,) unchanged if there is one number per image.

    Raises:
        UserError: They are anything else; the message says what.
    """
    if not isinstance(values, Tensor) or values.shape != (images,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"metric {name!r} returned {shape} for {images} images, not a tensor (N,)")
    return values


def digest(tensor: Tensor) -> int:
    """Returns a checksum of shape, type, values and their order; two tensors of the same bits have the same one.

    A tensor on a GPU is summed up there, so that a network is checked without copying it.
    """
    values = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    with torch.inference_mode():
        flat = values.contiguous(memory_format=_format_of(values)).as_strided((values.numel(),), (1,))
        bits = flat.view(_BITS[values.element_size()])
        return hash((tuple(tensor.shape), tensor.stride(), str(tensor.dtype), _checksum(bits)))


def _format_of(values: Tensor) -> torch.memory_format:
    """Returns the layout in which the values of a dense tensor lie one after the other already."""
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _checksum(bits: Tensor) -> int:
    if bits.device.type == "cpu":
        return zlib.crc32(bits.numpy().data)
    weights = torch.arange(1, 2 * len(bits) + 1, 2, dtype=torch.int32, device=bits.device)
    return int((bits.to(torch.int32) * weights).sum(dtype=torch.int64))


def _shallow(state: dict[str, Any]) -> dict[str, Any]:
    """Copies attributes of a module and the tables among them, but not what these hold."""
    return {key: value.copy() if isinstance(value, dict | set | list) else value for key, value in state.items()}


def _changes(module: nn.Module, state: dict[str, Any]) -> list[str]:
    """Names the differences between the attributes of a module now and before."""
    changes, now = [], vars(module)
    if now["training"] != state["training"]:
        changes.append("train mode changed")
    if any(not _same(now[kind], state[kind]) for kind in _HOOKS):
        changes.append("a hook left")
    for key in state.keys() | now.keys():
        if key in _HOOKS or key == "training" or (key not in state and not _shadows(module, key)):
            continue
        if key not in now or key not in state or not _same(now[key], state[key]):
            changes.append(f"attribute {key.strip('_')}")
    return sorted(changes)


def _shadows(module: nn.Module, key: str) -> bool:
    """Returns True if a new attribute hides one of the class, as a replaced ``forward`` does; caches do not."""
    return hasattr(type(module), key) and not isinstance(getattr(type(module), key), functools.cached_property)


def _same(now: object, before: object) -> bool:
    if isinstance(now, dict) and isinstance(before, dict):
        return now.keys() == before.keys() and all(now[key] is before[key] for key in now)
    if isinstance(now, list) and isinstance(before, list):
        return len(now) == len(before) and all(one is other for one, other in zip(now, before, strict=True))
    return now is before or (isinstance(now, set | str | int | float | tuple) and now == before)


def _inputs(batch: Batch | None) -> dict[str, tuple[int, bool]]:
    """Returns the state of the tensors of a batch by name, without what its explainers share."""
    parts = {part: getattr(batch, part, None) for part in ("images", "targets", "masks")}
    return {name: (digest(one), one.requires_grad) for name, one in parts.items() if isinstance(one, Tensor)}


def _generators() -> list[Callable[[], object]]:
    """Returns functions that put the global random generators back to their present states."""
    cpu, arrays, plain = torch.get_rng_state(), np.random.get_state(), random.getstate()  # plugins may use any
    restores: list[Callable[[], object]] = [
        lambda: torch.set_rng_state(cpu),
        lambda: np.random.set_state(arrays),
        lambda: random.setstate(plain),
    ]
    if torch.cuda.is_available():
        cuda = torch.cuda.get_rng_state_all()
        restores.append(lambda: torch.cuda.set_rng_state_all(cuda))
    return restores


def _put_settings_back(settings: dict[str, Any]) -> list[str]:
    changed = []
    for setting, (get, put) in _SETTINGS.items():
        if get() != settings[setting]:
            changed.append(f"{setting} changed")
            put(settings[setting])
    return changed
