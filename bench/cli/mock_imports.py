"""Registries without torch: heavy packages are stood in for while modules are only read for what they register.

What ``list`` shows are facts that classes and decorators state, and those need no torch, which alone takes longer to
import than a list should. So the modules themselves are imported, which cannot go stale as a copy of the facts could.
Source: the idea is that of Sphinx's ``autodoc_mock_imports``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

HEAVY = (
    *("torch", "torchvision", "safetensors", "captum", "pytorch_grad_cam"),
    *("pandas", "matplotlib", "seaborn", "sklearn", "scipy"),
)
_OWN = ("bench", "baselines", "softcam")


class _Empty(type):
    """Metaclass of ``_StandIn``: what a module does with a name while it is imported, and nothing that has a value."""

    def __getattr__(cls, name: str) -> type[_StandIn]:
        if cls is not _StandIn or name.startswith("__"):  # a class derived from it has only what it states
            raise AttributeError(name)
        return _StandIn

    def __call__(cls, *arguments: object, **named: object) -> type[_StandIn]:
        return _StandIn

    def __bool__(cls) -> bool:
        raise TypeError("a stand-in is neither true nor false")

    def __str__(cls) -> str:
        raise TypeError("a stand-in has no text")


class _StandIn(metaclass=_Empty):
    """In the place of everything in a heavy package: can be named, derived from, called and used as a decorator."""


class _Finder(MetaPathFinder, Loader):
    """Finds every module of the heavy packages, and fills it with stand-ins."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _top(name) in HEAVY else None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = lambda name: getattr(_StandIn, name)


def _top(name: str) -> str:
    return name.partition(".")[0]


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within it, imports of heavy packages give stand-ins; afterwards no module that has seen one is left.

    Where code does more than name things, as by computing with a tensor, some exception leaves the context: the real
    modules are then needed.
    """
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name not in before and _top(name) in (*HEAVY, *_OWN)]:
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
