"""Escaping of foreign text, one function per medium, so that no name breaks or changes the place that shows it.

Class names, image files, folders and messages of plugins come from outside. Terminals take them through
``bench.text.terminal``, figures through ``bench.report.figures.style`` (no text of a figure is parsed as mathematics),
and paths through ``bench.store.folders.file_name``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd  # heavy, and the command line starts with this module

#: Control characters, line ends, the characters that turn the direction of what follows, and undecodable bytes.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
#: First characters that make a spreadsheet read a cell as a formula, also after spaces.
_FORMULA = re.compile(r"\s*[=+\-@\t\r]")
_QUOTED = re.compile(r"'+\s*[=+\-@\t\r]")
#: Signs that Markdown reads anywhere; links, tags and entities only by the combinations that begin them.
_MARKDOWN = re.compile(r"[\\`*|$]|~(?=~)|\](?=[(:])|<(?=[A-Za-z/!?])|&(?=[#\w]+;)|(?<![^\W_])_|_(?![^\W_])")
_MARKDOWN_START = re.compile(r"(?=[#>+=-])")
_LONGEST = 36  # letters of a name in a figure
_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%_#${}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "–": "--",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "≥": r"$\geq$",
        "λ": r"$\lambda$",
        "σ": r"$\sigma$",
        "τ": r"$\tau$",
        "√": r"$\surd$",
        "²": r"$^{2}$",
        "⁺": r"$^{+}$",
        "⁻": r"$^{-}$",
        "…": r"\dots{}",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
        "₀": r"$_{0}$",
        "α": r"$\alpha$",
        "ρ": r"$\rho$",
    }
)


def visible(text: str) -> str:
    r"""Returns text on one line with its control characters and undecodable bytes written out, such as ``\x1b``."""
    return _HIDDEN.sub(lambda found: _written(found[0]), text)


def _written(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        code -= 0xDC00
    return _NAMED.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def is_printable(text: str) -> bool:
    """Returns whether text has no control character, no change of direction and no undecodable byte."""
    return _HIDDEN.search(text) is None


def html(text: str) -> str:
    """Escapes text for HTML, for content and for quoted attributes."""
    return escape(visible(text))


def html_value(value: Any) -> Any:
    """Returns the value of an expression of a template that escapes by itself; only hidden characters are changed."""
    return visible(value) if type(value) is str else value  # markup is a string of another type


def latex(text: str) -> str:
    """Escapes text for LaTeX. Letters of any script remain: other scripts than Latin need LuaLaTeX or XeLaTeX."""
    return visible(text).translate(_LATEX)


def markdown(text: str) -> str:
    """Escapes text for a cell of a Markdown table, a paragraph or an entry of a list, as GitHub reads them."""
    return _MARKDOWN.sub(lambda found: "\\" + found[0], visible(text))


def markdown_paragraph(text: str) -> str:
    """Escapes text that begins a line of Markdown, so that it is neither a heading nor a list."""
    return _MARKDOWN_START.sub(r"\\", markdown(text), count=1) if _MARKDOWN_START.match(text) else markdown(text)


def figure_text(name: str) -> str:
    """Returns the name of a data set or class for a figure; of a long one its beginning and its end."""
    shown, half = visible(name), (_LONGEST - 1) // 2
    return shown if len(shown) <= _LONGEST else f"{shown[:half]}…{shown[half + 1 - _LONGEST :]}"


def csv_cell(value: Any) -> Any:
    """Returns a cell of a CSV file: text that a spreadsheet would compute gets an apostrophe before it.

    ``from_csv`` takes it off again. Numbers stay numbers.
    """
    return _csv_text(value) if isinstance(value, str) else value


@lru_cache(maxsize=10_000)  # names return in every row
def _csv_text(value: str) -> str:
    if _is_number(value):
        return value
    text = _SURROGATE.sub(lambda found: _written(found[0]), value)
    return f"'{text}" if _FORMULA.match(text) or _QUOTED.match(text) else text


def from_csv(text: str) -> str:
    """Returns the text that ``csv_cell`` was given."""
    return text[1:] if _QUOTED.match(text) else text


def csv_rows(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Returns rows for ``csv.writer``."""
    return [[csv_cell(value) for value in row] for row in rows]


def csv_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame for ``to_csv``: the cells of text columns, and the names of columns."""
    safe = frame.copy()
    for name in frame.select_dtypes(exclude=["number", "bool"]):
        safe[name] = safe[name].map(csv_cell)
    return safe.rename(columns=csv_cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
