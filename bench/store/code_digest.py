"""Digests of settings and code, so that stored results are reused only where nothing they depend on has changed.

Code that is only reworded keeps its digest. A digest of code covers the module of an object and every module that this
one imports, directly or not, as long as it belongs to the project or, for a plugin, is found next to its file.
Libraries are not followed: the run records their versions.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from bench.files import file_digest
from bench.store.module_closure import PACKAGES, ROOT, closure, is_library

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def digest(*values: object) -> str:
    """Returns a short hash of anything JSON can write; equal values give equal digests in every process."""
    text = json.dumps(values, sort_keys=True, default=described)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def described(value: object) -> object:
    """Returns what JSON can write in the place of another object, the same in every process.

    Code is known by its digest, a set by its sorted entries, and an instance by its text, without its address.
    """
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, type | FunctionType | MethodType | partial | ModuleType):
        return code_digest(value)
    text = _ADDRESS.sub("", str(value))
    return [text, code_digest(value), vars(value)] if text != str(value) and hasattr(value, "__dict__") else text


def code_digest(*objects: object) -> str:
    """Computes the digest of the code that classes, functions, partials, instances (their type) or modules depend on.

    Docstrings, comments and blank lines do not count; the names of files, below the root of their package, do.

    An object without a source file, as in a notebook, is known by its name and bytecode and by its base classes; what
    else it calls is not covered.
    """
    described, files = _split(objects)
    return _hash([*described, *(f"{one.name}:{one.code}" for one in closure(files))])


def digest_of_files(files: Iterable[Path], root: Path) -> str:
    """Computes the digest of the code in these files and all that they import.

    Args:
        files: Python files.
        root: folder that holds the packages of the project.
    """
    return _hash(f"{one.name}:{one.code}" for one in closure(files, root))


def source_digest(*objects: object) -> str:
    """Computes the digest of the project's source files as they are, and of the code of objects from elsewhere.

    It takes a hundredth of the time of ``code_digest``; where it is the same, so is the code of everything.
    """
    described, files = _split(objects)
    ours = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    others = closure(file for file in files if not any(ROOT / package in file.parents for package in PACKAGES))
    written = [f"{file.relative_to(ROOT)}:{file_digest(file)}" for file in ours]
    return _hash([*described, *written, *(f"{one.name}:{one.code}" for one in others)])


def modules_of(*objects: object) -> list[str]:
    """Lists the names of the modules that the digest of these objects covers."""
    return sorted({one.name for one in closure(_split(objects)[1])})


def _hash(entries: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(set(entries))).encode()).hexdigest()[:16]


def _split(objects: Iterable[object]) -> tuple[list[str], list[Path]]:
    """Gives descriptions of the objects without a file, and the files of the others."""
    seen: set[int] = set()
    origins = [origin for one in objects for origin in _origins(one, seen)]
    files = [origin for origin in origins if isinstance(origin, Path)]
    return [origin for origin in origins if isinstance(origin, str)], files


def _origins(thing: Any, seen: set[int]) -> Iterator[Path | str]:
    """Yields the file of an object, or a description where it has none, and the same for the code that it carries."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, partial):
        yield from _origins(thing.func, seen)
        yield from _carried((*thing.args, *thing.keywords.values()), seen)
        return
    if isinstance(thing, MethodType):
        yield from _origins(thing.__func__, seen)
        yield from _origins(thing.__self__, seen)
        return
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if not isinstance(thing, type | ModuleType) and not inspect.isroutine(thing):
        if is_dataclass(thing):  # other instances may change while a run goes on
            yield from _carried([getattr(thing, one.name, None) for one in fields(thing)], seen)
        thing = type(thing)
    if isinstance(thing, FunctionType):
        yield from _carried(_cell_contents(thing), seen)
    file = _file_of(thing)
    if file:
        yield file
        return
    yield _description(thing)
    for base in getattr(thing, "__bases__", ()):
        yield from _origins(base, seen)


def _carried(values: Iterable[object], seen: set[int]) -> Iterator[Path | str]:
    """Yields the origins of those arguments or closure variables that are code, or instances of a class of ours."""
    for value in values:
        is_code = isinstance(value, type | FunctionType | MethodType | partial | ModuleType)
        file = None if is_code else _file_of(type(value))
        if is_code or (file and not is_library(file)):
            yield from _origins(value, seen)


def _cell_contents(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue


def _file_of(thing: Any) -> Path | None:
    """Finds the Python file that a class, function or module is written in, if there is one."""
    try:
        name = inspect.getsourcefile(thing)
    except (TypeError, OSError):
        return None
    file = Path(name).absolute() if name else None
    return file if file and file.is_file() else None


def _description(thing: Any) -> str:
    members = vars(thing).values() if isinstance(thing, type) else (thing,)
    functions = [getattr(member, "__func__", getattr(member, "fget", member)) for member in members]
    facts = [_code_facts(one.__code__, one.__doc__) for one in functions if isinstance(one, FunctionType)]
    name = getattr(thing, "__qualname__", getattr(thing, "__name__", ""))
    return f"{getattr(thing, '__module__', '')}.{name}:{facts}"


def _code_facts(code: CodeType, doc: str | None) -> list[object]:
    """Lists what a function computes, in a form that is the same in every process."""
    constants: list[object] = []
    for value in code.co_consts:
        if isinstance(value, CodeType):
            constants.append(_code_facts(value, None))
        elif isinstance(value, frozenset):
            constants.append(sorted(map(repr, value)))
        else:  # Python puts None in the place of a docstring that there is not
            constants.append(repr(None if value == doc else value))
    return [code.co_name, code.co_code.hex(), code.co_names, constants]
