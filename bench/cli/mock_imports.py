"""Mock imports of heavy packages, so that ``list`` starts without torch.

``list`` shows facts that classes and decorators state, for which torch and its companions, many seconds of imports, are
not needed. The modules themselves are imported, because a copy of the facts could become outdated.

Source: Sphinx's ``autodoc_mock_imports``.
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


class _MockType(type):
    """Metaclass of ``_Mock``: allows everything that modules do with a name on import, except reading a value."""

    def __getattr__(cls, name: str) -> type[_Mock]:
        if cls is not _Mock or name.startswith("__"):  # a derived class has only its own attributes
            raise AttributeError(name)
        return _Mock

    def __call__(cls, *arguments: object, **named: object) -> type[_Mock]:
        return _Mock

    def __bool__(cls) -> bool:
        raise TypeError("a mock has no truth value")

    def __str__(cls) -> str:
        raise TypeError("a mock has no text")


class _Mock(metaclass=_MockType):
    """Replaces every name of a heavy package: can be subclassed, called and used as a decorator."""


class _Finder(MetaPathFinder, Loader):
    """Finds every module of the heavy packages, and fills it with mocks."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _top(name) in HEAVY else None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = lambda name: getattr(_Mock, name)


def _top(name: str) -> str:
    return name.partition(".")[0]


@contextmanager
def mock_imports() -> Iterator[None]:
    """Mocks imports of heavy packages inside the block; afterwards, no module that has seen a mock is left.

    Code that does more than name things, such as computing with a tensor, raises some exception: it needs the real
    modules.
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
