"""Imports before they are needed: none for ``--help``, mocks for ``list``, which shows the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bench
from bench.cli.mock_imports import HEAVY
from bench.data.readers.dicom import missing_pydicom
from tests.support.files import ROOT

RUN = """
import contextlib, io, sys
import run_benchmark
from bench.cli.mock_imports import HEAVY

def shown(*words):
    sys.argv = ["run_benchmark.py", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        run_benchmark.main()
    return out.getvalue()

def loaded():
    return [name for name in sys.modules if name.partition(".")[0] in HEAVY]
"""


def python(code: str, *arguments: str | Path) -> str:
    """Runs code in a process that has not imported the project yet -> output."""
    words = [sys.executable, "-c", RUN + code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_nothing_heavy_is_imported() -> None:
    """One process for all of them, since what an earlier command has imported stays."""
    commands = ["--help", "list --help", "report --help", "--fantom", "list"]
    code = "for words in sys.argv[1:]:\n    shown(*words.split())\n    print(words, loaded())"
    assert python(code, *commands).splitlines() == [f"{words} []" for words in commands]


def test_a_typo_is_answered_without_heavy_imports(tmp_path: Path) -> None:
    """One process for all of them; each line is the end of its command."""
    (tmp_path / "busi").mkdir()
    (tmp_path / "own.toml").write_text("[runn]\nseeds = [0]\n")
    typos = {
        "--heads softkam": "unknown head 'softkam'",
        "--explainers all,-gradkam": "unknown explainer 'gradkam'",
        "--metrics iou": "did you mean iou_at_area",
        "--studies sanityy": "unknown study 'sanityy'",
        "--backbones resnet81": "unknown backbone 'resnet81'",
        f"--datasets {tmp_path}/busi": f"so write folder:{tmp_path}/busi",
        f"--datasets folder:{tmp_path}/bsi": f"did you mean folder:{tmp_path}/busi",
        f"--config {tmp_path}/own.toml": "unknown key 'runn'; did you mean run",
        "--config quik": "no config 'quik': did you mean quick",
        "check-data cxr-fantom": "unknown data set 'cxr-fantom'",
        "get fundus-he": "unknown data set 'fundus-he'; did you mean fundus-hei",
        "evaluate --model m.py:build --datasets cxr-phantom --explainers gradkam": "unknown explainer 'gradkam'",
    }
    code = "for words in sys.argv[1:]:\n    print(shown(*words.split()).strip(), loaded())"
    lines = python(code, *typos).splitlines()
    for line, said in zip(lines, typos.values(), strict=True):
        assert line.startswith("error: ")
        assert said in line
        assert line.endswith(" []")


def test_names_that_only_the_real_packages_know_are_left_to_them() -> None:
    code = """
from bench.cli.early import refuse_early
import run_benchmark
refuse_early(run_benchmark.register, None, lambda: bool(__import__("torch").ones(1)))
print("went on", loaded())
refuse_early(run_benchmark.register, "mine.py", lambda: 1 / 0)
print("did not ask")
"""
    assert python(code).splitlines() == ["went on []", "did not ask"]


def complete(root: Path) -> None:
    """Creates files by which every data set is found."""
    for folder in ("A. Segmentation/1. Original Images", "B. Disease Grading/1. Original Images", "train/DRUSEN"):
        (root / folder).mkdir(parents=True)
    for file in ("10_left.jpeg", "test/a", "stage_2_train_labels.csv", "stage_2_train_images/a.dcm"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()


def in_parts(root: Path) -> None:
    """Creates half of the files that each data set needs."""
    for folder in ("A. Segmentation/1. Original Images", "images_896x896", "train/DRUSEN"):
        (root / folder).mkdir(parents=True)
    (root / "10_left.jpeg").touch()
    (root / "stage_2_train_labels.csv").touch()


def test_list_without_torch_shows_what_it_shows_with_torch(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("complete", "parts", "empty", "absent")]
    for root in roots[:3]:
        root.mkdir()
    complete(roots[0])
    in_parts(roots[1])
    code = """
roots = sys.argv[1:]
tables = [shown("list", "--data-root", root) for root in roots]
assert not loaded()
import torch
assert tables == [shown("list", "--data-root", root) for root in roots]
import bench.contracts
assert issubclass(bench.contracts.Classifier, torch.nn.Module)
print("\\0".join(tables))
"""
    tables = python(code, *roots).split("\0")
    assert len(set(tables)) == 4
    found = {row.split()[0] for row in tables[0].splitlines() if "  ready" in row}
    assert {"fundus", "fundus-idrid", "oct", "fundus-phantom"} < found
    assert missing_pydicom() or "cxr" in found


def test_a_mock_has_no_value() -> None:
    """Therefore a listing that needs a value falls back to torch itself."""
    asked = ["1 + torch.pi", "bool(torch.cuda.is_available())", "len(torch.randn(3))", "str(torch.pi)"]
    asked.append("list(torch.ones(1))")
    code = """
from bench.cli.mock_imports import mock_imports
for asked in sys.argv[1:]:
    try:
        with mock_imports():
            import torch
            eval(asked)
    except TypeError:
        print(asked, loaded())
"""
    assert python(code, *asked).splitlines() == [f"{one} []" for one in asked]


def test_list_of_plugins_reads_them_with_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("""
import torch
from bench import Explainer, register_explainer

@register_explainer
class Mine(Explainer):
    name, family, signed, paper = f"mine_{int(torch.ones(3).sum())}", "post-hoc", False, "none"
""")
    assert "mine_3" in python("print(shown('list', '--plugins', sys.argv[1]))", tmp_path / "mine.py")


def test_public_names_are_there() -> None:
    assert all(getattr(bench, name).__name__ == name for name in bench.__all__)
    assert not hasattr(bench, "fantom")
    assert {"torch", "captum", "pandas", "matplotlib"} < set(HEAVY)
