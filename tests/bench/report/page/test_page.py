"""The page as text: what it says, what it loads, and that text of others stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.report.figures.style import Caption
from bench.report.page import page as module
from bench.report.page.inline import asset, json_block, policy
from bench.report.page.section import Content, Section
from bench.report.tables.table import TableData
from tests.support.page import content, written
from tests.support.study_store import PLAIN, head, make_grid

VENDOR = Path(module.__file__).parent / "vendor"
HOSTILE = "</script><script>alert(1)</script>\"'&\u202e\u2028 אב x\u0301 =cmd|a%b_"


class Parsed(HTMLParser):
    """Scripts and styles of a page, its other text, and addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.found, self.addresses = "", dict[str, list[str]](), list[str]()
        self.rules = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        facts = dict(attrs)
        self.open = facts.get("type") or tag
        self.addresses += [facts[name] for name in ("src", "href") if facts.get(name)]
        if facts.get("http-equiv") == "Content-Security-Policy":
            self.rules = facts["content"]

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        self.found.setdefault(self.open, []).append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder = tmp_path_factory.mktemp("run")
    make_grid(folder, {"plain": PLAIN, "own": head("own")}, {"first": {}, "folder:/a <b>": {}})
    return content(folder, captions={"deletion_curves": Caption("Lower <is> better.", "Means over images.")})


@pytest.fixture(scope="module")
def page(made: Content, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(made, tmp_path_factory.mktemp("page")).read_text("utf-8")


@pytest.mark.parametrize(
    "wanted",
    [
        'href="figures/deletion_curves.pdf"',
        'href="tables/localisation.csv"',
        "Lower &lt;is&gt; better.",
        "Means over images.",
        "something &lt;odd&gt; happened",
        "elsewhere: not installed",
        "folder:/a &lt;b&gt;",
        "evidence: no evidence",
        "random initialisation",
        "an abacus",
        "torch 9.9",
        "0123456789ab, with local changes",
        "90%",
        "10.0 %",
        "0.60",
        "Use <b>own",
        "3.1 ms with own, 420 ms with post_a",
    ],
)
def test_page_says_what_was_run_and_what_follows_from_it(page: str, wanted: str) -> None:
    assert wanted in page


def test_page_is_one_file_that_allows_its_own_scripts_only(page: str) -> None:
    parsed = Parsed(page)
    assert all(address.startswith(("#", "data:image/", "figures/", "tables/")) for address in parsed.addresses)
    rules = dict(rule.split(" ", 1) for rule in parsed.rules.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in parsed.rules
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        digests = {hashlib.sha256(text.encode()).digest() for text in parsed.found[tag]}
        assert set(rules[rule].split()) == {f"'sha256-{base64.b64encode(one).decode()}'" for one in digests}
    assert parsed.found["application/json"]


def test_links_inside_the_page_lead_somewhere(page: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    wanted = {address[1:] for address in Parsed(page).addresses if address.startswith("#")}
    assert wanted <= ids


def test_names_of_metrics_lead_to_their_definitions(made: Content, tmp_path: Path) -> None:
    record = made.frames.record
    metrics = [one.changed(about=f"Computes {HOSTILE}.", higher_is_better=False) for one in record.metrics]
    frames = replace(made.frames, record=record.changed(metrics=metrics))
    said = made.answer.datasets[0]
    title = f"{metrics[0].name}_right@zero"
    answered = made.answer.changed(datasets=[said.changed(questions=[said.questions[0].changed(metric=title)])])
    facts = {"frames": frames, "answer": answered}
    text = written(Content(**(vars(made) | facts)), tmp_path).read_text("utf-8")
    assert f'href="#metric-{metrics[0].name}">{title.replace("_", " ")}</a>' in text
    assert text.count(f'id="metric-{metrics[0].name}"') == 1
    assert re.search(r"<dd>Computes &lt;/script&gt;.*?Lower is better", text, re.DOTALL)


def test_data_blocks_hold_any_text() -> None:
    block = json_block({HOSTILE: [HOSTILE, float("nan"), 0.1]})
    assert not re.search("[<>&\u2028\u202e]", block)
    shown = HOSTILE.replace("\u202e", r"\u202e").replace("\u2028", r"\u2028")
    assert json.loads(block) == {shown: [shown, None, 0.1]}


def test_text_of_others_is_text_everywhere(made: Content, tmp_path: Path) -> None:
    table = TableData(HOSTILE, [HOSTILE], [], [{HOSTILE: HOSTILE}], [False], notes=[HOSTILE], reading=HOSTILE)
    said = made.answer.datasets[0]
    texts = {"sentence": HOSTILE, "asks": HOSTILE, "recommended": [HOSTILE], "metric": HOSTILE}
    texts |= {"inherent": said.questions[0].inherent.changed(label=HOSTILE)}  # type: ignore[union-attr]
    caution = said.cautions[0].changed(text=HOSTILE, see=HOSTILE)
    changes = {"source": HOSTILE, "backbone": HOSTILE, "dataset": HOSTILE, "cautions": [caution]}
    questions = [said.questions[0].changed(**texts)]
    answered = made.answer.changed(datasets=[said.changed(questions=questions, **changes)])
    facts = {"tables": {HOSTILE: table}, "captions": {HOSTILE: Caption(HOSTILE, HOSTILE)}, "answer": answered}
    text = written(Content(**(vars(made) | facts)), tmp_path).read_text("utf-8")
    parsed = Parsed(text)
    assert not any("alert" in script for script in parsed.found["script"])
    assert text.count("alert(1)") > 10
    assert not re.search("[\u202e\u2028]", text)


def test_a_section_that_fails_takes_no_other_along(
    made: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_section(one: Content) -> Section:
        raise KeyError("absent")

    monkeypatch.setattr(module, "SECTIONS", (broken_section, *module.SECTIONS))
    failures = type(made.failures)()
    text = written(Content(**(vars(made) | {"failures": failures})), tmp_path).read_text("utf-8")
    assert "Leaderboard" in text
    assert "section broken of the page could not be made: KeyError" in text
    assert len(failures.lines) == 1


def test_libraries_are_those_that_were_published() -> None:
    facts = json.loads((VENDOR / "vendor.json").read_text("utf-8"))
    files = {file.name for file in VENDOR.iterdir()}
    assert files == {"vendor.json", *facts, *(f"LICENSE.{one['package']}" for one in facts.values())}
    for name, one in facts.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == one["sha256"], name


def test_a_script_that_would_end_its_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/bad.js").write_text('let a = "</SCRIPT>"')
    monkeypatch.setattr("bench.report.page.inline._HERE", tmp_path)
    with pytest.raises(ValueError, match=r"assets/bad\.js cannot be put into a page"):
        asset("bad.js")
    assert policy(["a", "a"], ["b"]).count("sha256") == 2
