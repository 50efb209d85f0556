"""Every medium shows foreign text as it is, and nothing of it is read as markup."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from rich.table import Table
from rich.text import Text

from bench.store.folders import cell_name, file_name
from bench.store.records import CellKey
from bench.text import media
from bench.text.terminal import Terminal


def printed(*objects: object) -> str:
    screen = io.StringIO()
    Terminal(file=screen, width=200, force_terminal=True, color_system=None).print(*objects)
    return screen.getvalue()


@pytest.mark.parametrize("text", ["runs[/old]", "exp[lr=1]", "[bold]x", ":smile:", "a\\[b]", "אבג e\u0301"])
def test_terminal_prints_brackets_as_they_are(text: str) -> None:
    table = Table(text, title=text, box=None)
    table.add_row(text)
    assert printed(text) == printed(Text(text)) == f"{text}\n"
    assert [line.strip() for line in printed(table).splitlines()] == [text] * 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", r"\x1b[2J"), ("a\nerror: b", r"a\nerror: b"), ("\u202etxt", r"\u202etxt"), ("\udcff", r"\xff")],
)
def test_hidden_characters_are_written_out(text: str, shown: str) -> None:
    assert printed(text).strip() == shown
    assert media.visible(text) == shown
    assert not media.is_printable(text)
    assert media.is_printable(shown)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("cost_$5_and_$6", r"cost\_\$5_and\_\$6"),
        ("mask_oracle", "mask_oracle"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
        ("[x](http://y) 0.5 [0.4, 0.6]", r"[x\](http://y) 0.5 [0.4, 0.6]"),
        ("<img src=x> p < 0.05 &lt;", r"\<img src=x> p < 0.05 \&lt;"),
    ],
)
def test_markdown_escapes_what_it_would_read(text: str, escaped: str) -> None:
    assert media.markdown(text) == escaped


def test_a_line_of_markdown_is_no_heading_and_no_list() -> None:
    assert [media.markdown_paragraph(text) for text in ("# a", "- b", "> c", "d # e")] == [
        r"\# a",
        r"\- b",
        r"\> c",
        "d # e",
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-a", "@x", "'=1", "''@x", " =1", "plain", "it's", "a=b"])
def test_no_cell_of_a_csv_file_is_a_formula_and_reading_gives_it_back(text: str) -> None:
    frame = pd.DataFrame({text: [text, "x"], "number": [-1.5, 2.0]})
    header, first, _ = csv.reader(io.StringIO(media.csv_frame(frame).to_csv(index=False)))
    assert header[0] == first[0] == media.csv_rows([[text]])[0][0]
    assert first[0] == "+1" or first[0].strip()[0] not in "=+-@"
    assert media.from_csv(first[0]) == text
    assert first[1] == "-1.5"


def test_latex_and_html() -> None:
    assert media.latex(r"a_$\x^~<|>%#&{}") == (
        r"a\_\$\textbackslash{}x\textasciicircum{}\textasciitilde{}\textless{}\textbar{}\textgreater{}\%\#\&\{\}"
    )
    assert media.html('<b a="\'">&\x1b') == r"&lt;b a=&quot;&#x27;&quot;&gt;&amp;\x1b"


def test_cells_whose_names_join_to_the_same_text_have_folders_of_their_own() -> None:
    pairs = [("a-b", "c"), ("a", "b-c"), ("a-b-c", "d"), ("a-b", "c-d"), ("a", "b-c-d"), ("a-", "b"), ("a", "-b")]
    names = [cell_name(CellKey("x", backbone, head, 0)) for backbone, head in pairs]
    assert len(set(names)) == len(pairs)
    assert cell_name(CellKey("x", "compact", "softcam-dense", 3)) == "compact-softcam-dense-s3"


def test_paths_of_any_length_have_short_names() -> None:
    names = [file_name(f"folder:/{letter * 4000}") for letter in ("a", "é", "病")]
    assert all(len(name.encode()) < 100 for name in names)
    assert len(set(names)) == 3


def test_long_names_show_their_beginning_and_their_end() -> None:
    name = "breast_ultrasound_of_the_university_hospital_2019_2024"
    shown = media.figure_text(name)
    assert len(shown) == 36
    first, last = shown.split("…")
    assert name.startswith(first)
    assert name.endswith(last)
    assert min(len(first), len(last)) == 17
    assert media.figure_text("x" * 36) == "x" * 36
