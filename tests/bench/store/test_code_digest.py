"""The digest of code: what changes it, what does not, and which modules of the project it covers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import baselines  # noqa: F401 (registers explainers)
import bench.metrics  # noqa: F401
import softcam  # noqa: F401
from bench.data import phantoms  # noqa: F401
from bench.data.sources import elpv  # noqa: F401
from bench.store.code_digest import code_digest, digest_of_files, modules_of
from bench.store.module_closure import closure
from tests.bench.store.plugin_files import imported, write
from tests.support.files import ROOT

#: A project: method -> middle -> base, and a package that registers all of its files.
PROJECT = {
    "bench/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bench.base import Base\n",
    "bench/base.py": "class Base:\n    scale = 1\n",
    "bench/middle.py": '"""Middle."""\nfrom bench.base import Base\n\n\ndef middle():\n    return Base.scale\n',
    "bench/only_types.py": "Alias = int\n",
    "bench/inner/__init__.py": "from bench.inner.first import one\nfrom .second import two as other\nVALUE = 1\n",
    "bench/inner/first.py": "def one():\n    return 1\n",
    "bench/inner/second.py": "def two():\n    return 2\n",
    "baselines/__init__.py": "from baselines import method\n",
    "baselines/method.py": '''"""A method."""
from typing import TYPE_CHECKING

from bench.middle import middle

if TYPE_CHECKING:
    from bench.only_types import Alias


class Method:
    """Doubles."""

    def explain(self):
        """Explain it.

        At length.
        """
        return 2 * middle()  # doubled
''',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, PROJECT)
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))


def digest(project: Path, file: str = "baselines/method.py") -> str:
    return digest_of_files([project / file], project)


def names(project: Path, file: str = "baselines/method.py") -> set[str]:
    return {module.name for module in closure([project / file], project)}


# --- What counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("baselines/method.py", "Doubles.", "Returns twice the value."),
        ("baselines/method.py", "        At length.\n", ""),
        ("baselines/method.py", '    """Doubles."""\n', ""),
        ("baselines/method.py", '"""A method."""', '"""The method."""'),
        ("bench/middle.py", '"""Middle."""\n', ""),
        ("baselines/method.py", "  # doubled", "  # twice as much"),
        ("baselines/method.py", "\n\nclass Method", "\n\n\n\n\nclass Method"),
        ("bench/middle.py", "return Base.scale", "return (Base.scale)"),
        ("bench/only_types.py", "int", "float"),
        ("baselines/__init__.py", "import method", "import method\nx = 1"),
    ],
)
def test_words_and_layout_change_nothing(project: Path, file: str, old: str, new: str) -> None:
    before = digest(project)
    edit(project / file, old, new)
    assert digest(project) == before


def test_a_body_that_is_only_a_docstring_is_that_of_pass(project: Path) -> None:
    write(project, {"bench/empty.py": 'class Empty:\n    """Nothing."""\n'})
    before = digest(project, "bench/empty.py")
    write(project, {"bench/empty.py": "class Empty:\n    pass\n"})
    assert digest(project, "bench/empty.py") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("baselines/method.py", "2 *", "3 *"),
        ("bench/middle.py", "Base.scale", "-Base.scale"),
        ("bench/base.py", "scale = 1", "scale = 2"),  # two imports away
        ("bench/base.py", "scale = 1", 'scale = "1"'),
    ],
)
def test_a_changed_line_changes_it(project: Path, file: str, old: str, new: str) -> None:
    before = digest(project)
    edit(project / file, old, new)
    assert digest(project) != before


def test_a_new_neighbour_changes_nothing(project: Path) -> None:
    before = digest(project), digest(project, "bench/inner/first.py")
    write(project, {"baselines/other.py": "x = 1\n", "bench/inner/third.py": "x = 1\n", "bench/other.py": "x = 1\n"})
    edit(project / "baselines/__init__.py", "import method", "import method, other")
    edit(project / "bench/inner/__init__.py", "VALUE", "from bench.inner import third\nVALUE")
    assert (digest(project), digest(project, "bench/inner/first.py")) == before


def test_another_name_of_a_file_changes_it(project: Path) -> None:
    before = digest(project)
    (project / "baselines/method.py").rename(project / "baselines/renamed.py")
    assert digest(project, "baselines/renamed.py") != before


def test_another_name_of_an_imported_file_changes_it(project: Path) -> None:
    write(project, {"bench/user.py": "from bench import base\n", "bench/same.py": PROJECT["bench/base.py"]})
    before = digest(project, "bench/user.py")
    edit(project / "bench/user.py", "import base", "import same as base")
    edit(project / "bench/user.py", "import same as base", "import same")
    assert names(project, "bench/user.py") == {"bench.user", "bench.same"}
    assert digest(project, "bench/user.py") != before


def test_where_the_project_lies_does_not_matter(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, PROJECT)
    assert digest(elsewhere) == digest(project)


def test_a_file_that_does_not_parse_is_known_by_its_bytes(project: Path) -> None:
    edit(project / "bench/base.py", "class Base:", "class Base")
    before = digest(project)
    edit(project / "bench/base.py", "scale = 1", "scale = 3")
    assert digest(project) != before


# --- What is imported ------------------------------------------------------------------------------------------------


def test_imports_for_types_and_packages_above_are_not_followed(project: Path) -> None:
    assert names(project) == {"baselines.method", "bench.middle", "bench.base"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from bench.inner import one", {"bench.inner.first"}),
        ("from bench.inner import other", {"bench.inner.second"}),
        ("from bench.inner import second", {"bench.inner.second"}),
        ("from bench import inner", {"bench.inner", "bench.inner.first", "bench.inner.second"}),
        ("from bench.inner import VALUE", {"bench.inner", "bench.inner.first", "bench.inner.second"}),
        ("from bench.inner import *", {"bench.inner", "bench.inner.first", "bench.inner.second"}),
        ("import bench.inner.first as first", {"bench.inner.first"}),
        ("from bench import Base", {"bench.base"}),
        ("import bench", {"bench", "bench.base"}),
        ("from .inner.first import one", {"bench.inner.first"}),
        ("from . import base, middle", {"bench.base", "bench.middle"}),
        ("def later():\n    from bench.base import Base", {"bench.base"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    import bench.base\nelse:\n    import bench.middle",
         {"bench.middle", "bench.base"}),
        ("import typing as t\nif not t.TYPE_CHECKING:\n    import bench.inner.first", {"bench.inner.first"}),
        ("import numpy, os.path\nfrom torch import nn", set()),
    ],
)  # fmt: skip
def test_imports_lead_to_the_module_that_defines_the_name(project: Path, statement: str, expected: set[str]) -> None:
    write(project, {"bench/user.py": statement + "\n"})
    assert names(project, "bench/user.py") == {"bench.user"} | expected


def test_packages_that_import_each_other_end(project: Path) -> None:
    write(
        project,
        {
            "bench/left/__init__.py": "from bench.right import x\n",
            "bench/right/__init__.py": "from bench.left import x\n",
            "bench/user.py": "from bench.left import x\n",
        },
    )
    assert names(project, "bench/user.py") >= {"bench.user"}


def test_relative_imports_climb(project: Path) -> None:
    write(project, {"bench/inner/deep/__init__.py": "", "bench/inner/deep/leaf.py": "from ..first import one\n"})
    edit(project / "bench/inner/second.py", "def two", "from ..base import Base\n\n\ndef two")
    assert names(project, "bench/inner/deep/leaf.py") == {"bench.inner.deep.leaf", "bench.inner.first"}
    assert names(project, "bench/inner/second.py") == {"bench.inner.second", "bench.base"}


# --- Plugins and other objects ---------------------------------------------------------------------------------------


def test_a_plugin_and_what_it_imports_beside_it(tmp_path: Path) -> None:
    late = "def load():\n    import helper\n    from tools.blur import blur\n"
    plugin = f"from bench import Explainer\n{late}class Mine: ...\n"
    files = {"mine.py": plugin, "helper.py": "x = 1\n", "tools/__init__.py": "", "tools/blur.py": "def blur(): ...\n"}
    write(tmp_path, files | {"unused.py": "x = 1\n"})
    mine = imported(tmp_path / "mine.py").Mine
    expected = {"mine", "helper", "tools.blur", "bench.contracts", "bench.errors", "bench.plain.names"}
    assert set(modules_of(mine)) == set(modules_of(mine())) == expected
    digests = [code_digest(mine)]
    for file in ("helper.py", "tools/blur.py", "mine.py"):
        (tmp_path / file).write_text((tmp_path / file).read_text() + "y = 2\n")
        digests.append(code_digest(mine))
    assert len(set(digests)) == 4
    (tmp_path / "unused.py").write_text("x = 2\n")
    assert code_digest(mine) == digests[-1]


def test_an_installed_plugin_is_followed_within_its_own_package(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    write(site, {"mine/__init__.py": "", "mine/a.py": "def f():\n    import mine.b, other\nclass A: ...\n"})
    write(site, {"mine/b.py": "x = 1\n", "other.py": "x = 1\n"})
    assert modules_of(imported(site / "mine/a.py").A) == ["mine.a", "mine.b"]


def test_partials_closures_and_methods_bring_what_they_carry(tmp_path: Path) -> None:
    write(tmp_path, {"first.py": "def build(kind, size):\n    return kind(size)\n", "second.py": "class Net: ...\n"})
    first, second = imported(tmp_path / "first.py", "first_"), imported(tmp_path / "second.py", "second_")
    write(tmp_path, {"third.py": "def wrap(kind):\n    return lambda: kind\nclass C:\n    def run(self): ...\n"})
    third = imported(tmp_path / "third.py", "third_")
    assert modules_of(partial(first.build, second.Net, 33)) == ["first", "second"]
    assert modules_of(partial(first.build, size=33)) == ["first"]
    assert modules_of(third.wrap(second.Net)) == modules_of(third.wrap(second.Net())) == ["second", "third"]
    assert modules_of(third.C().run) == ["third"]
    write(tmp_path, {"fourth.py": "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    kind: object\n"})
    kept = imported(tmp_path / "fourth.py", "fourth_").Kept(second.Net)
    assert modules_of(kept) == modules_of(third.wrap(kept))[:2] == ["fourth", "second"]
    assert modules_of(third) == ["third"]
    before = code_digest(partial(first.build, second.Net))
    edit(tmp_path / "second.py", "...", "size = 1")
    assert code_digest(partial(first.build, second.Net)) != before


def test_objects_without_a_file_are_known_by_their_bytecode() -> None:
    def made(text: str) -> Callable[[], object]:
        scope: dict[str, Callable[[], object]] = {"__name__": "nowhere"}  # type: ignore[dict-item]
        exec(text, scope)
        return scope["f"]

    one = code_digest(made("def f():\n    return 1"))
    assert one == code_digest(made('def f():\n\n    """Say one."""\n    return 1'))
    assert one != code_digest(made("def f():\n    return 2"))
    first, second = (made(f"class f:\n    def g(self):\n        return {value}") for value in (1, 2))
    assert code_digest(first) != code_digest(second)
    assert code_digest(len) != code_digest(sorted)


def test_the_bytecode_digest_is_that_of_another_process() -> None:
    code = (
        "from bench.store.code_digest import code_digest\nscope = {'__name__': 'nowhere'}\n"
        'exec(\'def f(x):\\n    return x in {"a", "b", "c"} and (lambda: x)()\', scope)\n'
        "print(code_digest(scope['f']))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != b""
