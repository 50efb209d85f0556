"""One hundred bad inputs of the command line: each ends in exactly one clear line, without a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import run_benchmark
from tests.support.made import forgotten_afterwards

TOMLS = {
    "syntax": "[run\n",
    "section": "[runn]\nseeds = [0]\n",
    "key": "[run]\nseedz = [0]\n",
    "type": '[run]\nseeds = "many"\n',
    "none": "[run]\nheads = []\n",
    "twice": "[run]\nseeds = [0]\nseeds = [1]\n",
    "self": 'extends = "self.toml"\n',
    "first": 'extends = "second.toml"\n',
    "second": 'extends = "first.toml"\n',
    "orphan": 'extends = "nowhere"\n',
    "scalar": "run = 3\n",
    "negative": "[training]\nepochs = -1\n",
    "nan": "[training]\nlr = nan\n",
    "huge": "[data]\nsize = 10000000000\n",
    "both": '[run]\nstudies = ["sanity"]\nprobes = ["sanity"]\n',
    "explainer": "[explainers.gradkam]\nx = 1\n",
    "argument": "[run]\nexplainers = ['gradcam']\n[explainers.gradcam]\nx = 1\n",
    "head": "[heads.softkam]\nl1 = 1\n",
    "no-data": "[datasets.cxr-fantom.data]\nsize = 64\n",
    "backbone": "[datasets.cxr-phantom.backbones.resnet81.training]\nlr = 0.1\n",
    "reference": '[report]\nreference = "gradkam"\n',
    "primary": '[report.primary]\nlocalisation = "gini"\n',
    "study": "[studies.sanityy]\nx = 1\n",
    "table": '[datasets]\ncxr-phantom = "small"\n',
}
#: Words of the line about a config, where they are not the name of its file.
SAID = {
    "orphan": "no config 'nowhere'",
    "no-data": "'cxr-fantom'; did you mean",
    "reference": "did you mean gradcam",
}
PLUGIN = "from bench import Explainer, metric, register_explainer, dataset, register_head\n"
FACTS = 'name, family, signed, paper = "mine", "post-hoc", True, ""'
METRIC = PLUGIN + '@metric("mine", "localisation", needs=["maps"], higher_is_better={}, value_range={}, paper="")\n'
PLUGINS = {
    "syntax": "def (",
    "import": "import nothing_of_this_name",
    "exits": "import sys; sys.exit(0)",
    "range": METRIC.format("True", "(0, 1, 2)") + "def f(maps): return maps",
    "upside": METRIC.format("True", "(1, 0)") + "def f(maps): return maps",
    "yes": METRIC.format('"yes"', "(0, 1)") + "def f(maps): return maps",
    "class": PLUGIN + f"@register_explainer\nclass Mine:\n    {FACTS}\n",
    "function": PLUGIN + "@register_explainer\ndef mine(): pass\n",
    "family": PLUGIN + f"@register_explainer\nclass Mine(Explainer):\n    {FACTS.replace('post-hoc', 'posthoc')}\n",
    "signed": PLUGIN + f"@register_explainer\nclass Mine(Explainer):\n    {FACTS.replace('True', '1.5')}\n",
    "name": PLUGIN + f"@register_explainer\nclass Mine(Explainer):\n    {FACTS.replace('mine', '../mine')}\n",
    "raises": PLUGIN
    + f"@register_explainer\nclass Mine(Explainer):\n    {FACTS}\n    def __init__(self):\n        1 / 0\n",
    "memory": PLUGIN
    + f"@register_explainer\nclass Mine(Explainer):\n    {FACTS}\n    def __init__(self):\n        raise MemoryError\n",
    "classes": PLUGIN
    + '@dataset("mine", "other", classes="ab", masks="pixel", source="", licence="", citation="")\ndef f(r, s): pass\n',
    "masks": PLUGIN
    + '@dataset("mine", "other", classes=["a", "b"], masks="yes", source="", licence="", citation="")\n'
    + "def f(r, s): pass\n",
}
ASKED = {"range": "--metrics mine", "upside": "--metrics mine", "yes": "--metrics mine"} | dict.fromkeys(
    ("classes", "masks"), "--datasets mine"
)

FLAGS = """
--datasets fundus-fantom | unknown data set
--datasets , | empty list of names
--datasets cxr-phantom,cxr-phantom | twice
--datasets cxr-phantom@sise=3 | unknown key
--datasets cxr-phantom@size=x | size
--datasets cxr-phantom@size=-3 | size
--datasets cxr-phantom@size=1e99 | size
--datasets cxr-phantom@=3 | unknown data set
--datasets timm:resnet18 | unknown data set
--datasets ../../etc | unknown data set
--datasets empty | unknown data set 'empty'; it is a folder, so write folder:empty
--datasets {bad}/empty | it is a folder, so write folder:{bad}/empty
--datasets emty | unknown data set 'emty'; did you mean folder:empty?
--datasets {bad}/emty | did you mean folder:{bad}/empty?
--datasets folder:{bad}/emty | there is no such folder; did you mean folder:{bad}/empty?
--metrics iou | unknown metric 'iou'; did you mean iou_at_area
--datasets $HOME | unknown data set
--datasets [/x] | unknown data set
--datasets folder: | no class folder
--datasets folder:/nowhere | no class folder in /nowhere
--datasets folder:/nowhere@a=b | no folder of this name, and no parameter 'a'
--datasets folder:/nowhere@size=64 | no class folder in /nowhere
--datasets folder:{bad}/file | no class folder
--datasets folder:{bad}/empty | no class folder
--datasets folder:{bad}/masks-only | no class folder
--datasets folder:{bad}/mixed | mixes folders of splits and of classes
--datasets folder:{bad}/no-test | none is for test
--datasets folder:{bad}/two-trains | the same split
--datasets folder:{bad}/hidden | hidden characters
--datasets folder:{bad}/loop | no class folder
--datasets fundus-idrid --data-root {bad} | is not there
--backbones resnet81 | unknown backbone
--backbones timm:no_such_model | timm
--heads softkam | unknown head
--heads softcam-sparse@l1=x | softcam-sparse
--heads softcam-sparse@l2=1 | softcam-sparse
--heads blackbox,blackbox | twice
--explainers gradkam | unknown explainer
--explainers gradcam@x=1 | cannot be made
--explainers all,all | twice
--metrics audk | unknown metric
--metrics audc@nothing | audc
--metrics gini@zero | gini
--seeds x | seeds
--seeds -1 | seeds
--seeds 1.5 | seeds
--seeds 0,0 | twice
--studies sanityy | unknown study
--probes sanity --studies sanity | old name
--shortcut tag | tag:RATE
--shortcut tag:2 | between 0.5
--shortcut spot:0.9 | tag:RATE
--config nowhere.toml | nowhere.toml
--config {bad}/empty | no config
--config {bad}/bytes.toml | cannot be read
--config | requires an argument
--data-root {bad}/file | is a file
--splits /nowhere | no such folder
--splits {bad}/file | no such folder
--plugins /nowhere.py | no such file
--plugins nowhere/mine.py | no such folder
--plugins {bad} | is a folder
--plugins {bad}/file | not a Python file
--init /nowhere.pt | cannot be read
--init {bad}/file | {bad}/file
--init {bad}/empty | {bad}/empty
--config smoke --out {bad}/file | {bad}/file
--config smoke --out {bad}/file/run | cannot write to
--config smoke --out /proc/nowhere | cannot write to /proc/nowhere
--config smoke --out {bad}/{long} | File name too long
--cache {bad}/file | is a file
--device abacus | not usable here
--device cpu:7 | not usable here
--workers 0 | --workers
--workers many | --workers
--batch-size 0 | batch_size
--batch-size x | --batch-size
--precision float7 | precision
--align cells | align
--fantom | No such option
--data | data
cxr-phantom | No such command
report | Missing argument
report /nowhere | holds no run
report {bad}/file | holds no run
report {bad}/empty | holds no run
report {bad}/broken-run | is damaged
report {bad}/other-run | version
report a b | unexpected extra argument
export /nowhere | not a cell folder
export {bad}/empty | not a cell folder
get | Missing argument
get cxr-fantom | unknown data set
get cxr --data-root {bad}/file | is a file
check-data | Missing argument
check-data all | one data set at a time
check-data cxr-fantom | unknown data set
check-data cxr-phantom --size 3 | --size
check-data cxr-phantom --seed -3 | seed
check-data cxr-phantom --out page.jpg | give a folder
check-data folder:{bad}/missing-splits --out {bad}/file | give a folder
speed --backbone resnet81 | unknown backbone
speed --repeats 1 | --repeats
speed --device abacus | not usable here
list --data-root {bad}/file | is a file
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files and data folders that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_text("text")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("empty", "masks-only/masks", "hidden/images/a\x1b[31m", "hidden/images/b", "loop"):
        (folder / name).mkdir(parents=True)
    for name in ("mixed/images/train/a", "mixed/images/b", "no-test/train/a", "two-trains/train/a"):
        (folder / name).mkdir(parents=True)
    (folder / "two-trains" / "training" / "a").mkdir(parents=True)
    (folder / "loop" / "images").symlink_to(folder / "loop" / "images")
    for name in ("a", "b"):
        (folder / "missing-splits" / "images" / name).mkdir(parents=True)
    for name, text in (("broken", "{"), ("other", '{"format": 99}')):
        (folder / f"{name}-run").mkdir()
        (folder / f"{name}-run" / "run.json").write_text(text)
    for name, text in TOMLS.items():
        (folder / f"{name}.toml").write_text(text)
    for name, text in PLUGINS.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def ends(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Runs a command in this process -> exit code, and the one line of its output."""
    monkeypatch.setattr(sys, "argv", ["run_benchmark.py", *words])
    with forgotten_afterwards(), pytest.raises(SystemExit) as left:
        run_benchmark.main()
    out, err = capsys.readouterr()
    assert err == ""
    assert isinstance(left.value.code, int)
    *others, line = out.splitlines()
    assert all(other.startswith(("config ", "writing to ", "speed: ")) for other in others)  # said before writing
    return left.value.code, line


def flags() -> list[tuple[str, str]]:
    lines = [line.split(" | ") for line in FLAGS.strip().splitlines()]
    return [(command, said) for command, said in lines]


@pytest.mark.parametrize(("command", "said"), flags())
def test_a_bad_flag_or_path(
    command: str, said: str, bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad)
    words = [word.format(bad=bad, long="x" * 300) for word in command.split()]
    code, line = ends(words, monkeypatch, capsys)
    assert code == 2
    assert line.startswith("error: ")
    assert said.format(bad=bad) in line


@pytest.mark.parametrize("name", TOMLS)
def test_a_bad_config(
    name: str, bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = ends(["--config", str(bad / f"{name}.toml")], monkeypatch, capsys)
    assert code == 2
    assert line.startswith("error: ")
    assert SAID.get(name, name) in line


@pytest.mark.parametrize("name", PLUGINS)
def test_a_bad_plugin_is_named_where_its_entry_is_asked_for(
    name: str, bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--plugins", str(bad / f"{name}.py"), *ASKED.get(name, "--explainers mine").split()]
    code, line = ends(words, monkeypatch, capsys)
    assert code in (1, 2)
    assert line.startswith("error: ")
    assert f"{name}.py" in line
    assert "out of memory" in line if name == "memory" else "list index" not in line


def test_there_are_a_hundred_of_them() -> None:
    assert len(flags()) + len(TOMLS) + len(PLUGINS) >= 100
    assert len(set(flags())) == len(flags())
