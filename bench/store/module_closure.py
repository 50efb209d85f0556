"""Modules that Python files import, found in their syntax trees: the code that a result depends on, without running it.

Of a module counts what Python would execute: neither docstrings nor comments, and no import for type checkers alone.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("bench", "baselines", "softcam")
ROOT = Path(__file__).absolute().parents[2]
_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def closure(files: Iterable[Path], root: Path = ROOT) -> list[Module]:
    """Lists the modules in these files and all that they import, directly or not.

    Args:
        files: Python files.
        root: folder that holds the packages of the project.
    """
    names = frozenset(files)
    known = _FOUND.get((names, root), {})
    if not known or any(_state(module.file) != state for module, state in known.items()):
        known = {module: _state(module.file) for module in _Project(root).closure(names)}
        _FOUND[names, root] = known
    return list(known)


#: What was found from files, and the state of each file then: many results depend on the same code. A new file that an
#: import would find now is not noticed by a process that has imported its code already.
_FOUND: dict[tuple[frozenset[Path], Path], dict[Module, tuple[int, int]]] = {}


class _Import(NamedTuple):
    """An imported name.

    Attributes:
        module: as written, with the dots of a relative import.
        name: imported from the module; empty for the module itself and for ``*``.
        bound: name by which the importing module knows it.
    """

    module: str
    name: str
    bound: str


class _Source(NamedTuple):
    """A parsed file.

    Attributes:
        code: hash of the code without docstrings.
        imports: imported names, also those of imports inside functions.
        type_imports: names imported below ``if TYPE_CHECKING``.
    """

    code: str
    imports: tuple[_Import, ...]
    type_imports: tuple[_Import, ...]


@dataclass(frozen=True)
class Module:
    """A file and its dotted name below ``root``, the folder that holds its topmost package."""

    name: str
    file: Path
    root: Path

    @property
    def code(self) -> str:
        """Hash of the code without docstrings, comments and layout."""
        return _source(self.file).code

    @property
    def is_package(self) -> bool:
        """Whether this is the ``__init__.py`` of a package."""
        return self.file.name == "__init__.py"

    @property
    def package(self) -> str:
        """Name of the package that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def top(self) -> str:
        """Name of the topmost package."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class _Project:
    """Finds modules of the packages below ``root``, and those next to a plugin.

    Attributes:
        root: folder that holds the packages.
        known: what was found by name in these folders, for the time of one search.
    """

    root: Path
    known: dict[tuple[str, tuple[Path, ...]], Module | None] = field(default_factory=dict)

    def closure(self, files: Iterable[Path]) -> list[Module]:
        """Lists the modules in these files and all that they import."""
        waiting, found = [module_at(file) for file in files], dict[Path, Module]()
        while waiting:
            module = waiting.pop()
            if module.file not in found:
                found[module.file] = module
                waiting += [one for one in self._imported(module) if one.file not in found]
        return list(found.values())

    def _imported(self, module: Module) -> Iterator[Module]:
        for one in _names_in(module):
            target = self._target(one, module, ())
            if target:
                yield target

    def _target(self, one: _Import, importer: Module, seen: tuple[tuple[str, _Import], ...]) -> Module | None:
        """Finds the module that an import makes its module depend on; the packages above it are not among them.

        A package imports its modules to register them: if importing one module led to the others, every new file
        would change the digest of all.
        """
        name = _absolute(one.module, importer)
        module = self._find(name, importer) if name else None
        if module is None:  # a library, or a folder without __init__.py
            return self._find(f"{name}.{one.name}".strip("."), importer) if one.name else None
        return self._definition(module, one.name, seen) if one.name and module.is_package else module

    def _definition(self, package: Module, name: str, seen: tuple[tuple[str, _Import], ...]) -> Module:
        """Finds the module that defines a name which a package exports; the package itself where that is unclear."""
        for one in reversed(_names_in(package)):
            is_new = one.bound == name and (package.name, one) not in seen
            if is_new and _absolute(one.module, package) != package.name:
                target = self._target(one, package, (*seen, (package.name, one)))
                if target:
                    return target
        return self._find(f"{package.name}.{name}", package) or package

    def _find(self, name: str, importer: Module) -> Module | None:
        """Finds a module by its full name, where one of the project or a plugin may look for it."""
        top = name.partition(".")[0]
        folders: tuple[Path, ...] = (importer.root, importer.file.parent)
        if top in PACKAGES:
            folders = (self.root,)
        elif importer.top in PACKAGES and importer.root == self.root:
            folders = ()
        elif is_library(importer.file):
            folders = (importer.root,) if top == importer.top else ()
        if (name, folders) not in self.known:
            self.known[name, folders] = _look_for(name, folders)
        return self.known[name, folders]


def _look_for(name: str, folders: tuple[Path, ...]) -> Module | None:
    for folder in folders:
        path = folder.joinpath(*name.split("."))
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return module_at(file)
    return None


def _names_in(module: Module) -> tuple[_Import, ...]:
    """Lists imported names; in a package also those for type checkers, which its ``__getattr__`` may import lazily."""
    source = _source(module.file)
    return source.imports + source.type_imports if module.is_package else source.imports


def module_at(file: Path) -> Module:
    """Names the module in a file by the packages that it is in."""
    names = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return Module(".".join(names), file, folder)


def _absolute(name: str, importer: Module) -> str:
    """Turns a relative module name (``..inner``) into a full one."""
    relative = name.lstrip(".")
    dots = len(name) - len(relative)
    if not dots:
        return name
    parents = importer.package.split(".")
    return ".".join([*parents[: len(parents) - dots + 1], relative]).strip(".")


def is_library(file: Path) -> bool:
    """Whether a file was installed with a library or with Python."""
    ours = any(ROOT / package in file.parents for package in PACKAGES)
    installed = {"site-packages", "dist-packages"} & set(file.parts) or _STANDARD_LIBRARY in file.parents
    return bool(installed) and not ours


# --- From a file to its code -----------------------------------------------------------------------------------------


def _source(file: Path) -> _Source:
    return _parsed(file, *_state(file))


def _state(file: Path) -> tuple[int, int]:
    """Returns time of the last change and size of a file; zeros if it is gone."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@cache
def _parsed(file: Path, modified: int, size: int) -> _Source:
    """Parses a file once per process, and again after it was written to."""
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # written for another Python
        return _Source(hashlib.sha256(content).hexdigest(), (), ())
    names = _Names()
    names.visit(tree)
    return _Source(hashlib.sha256(_plain(tree).encode()).hexdigest(), tuple(names.imports), tuple(names.for_types))


def _plain(tree: ast.Module) -> str:
    """Writes a syntax tree as text without comments, docstrings and layout; changes the tree."""
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return ast.unparse(tree)  # not dump: that names fields of the syntax tree, and these change with Python's version


class _Names(ast.NodeVisitor):
    """Collects the imports of a syntax tree, apart from those that only a type checker sees."""

    def __init__(self) -> None:
        self.imports: list[_Import] = []
        self.for_types: list[_Import] = []
        self._current = self.imports

    def visit_If(self, node: ast.If) -> None:
        negated = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
        test = node.test.operand if isinstance(node.test, ast.UnaryOp) and negated else node.test
        if not _is_type_checking(test):
            self.generic_visit(node)
            return
        types, others = (node.orelse, node.body) if negated else (node.body, node.orelse)
        outer, self._current = self._current, self.for_types
        for statement in types:
            self.visit(statement)
        self._current = outer
        for statement in others:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self._current += [_Import(one.name, "", one.asname or one.name) for one in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for one in node.names:
            self._current.append(_Import(module, "" if one.name == "*" else one.name, one.asname or one.name))


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"
