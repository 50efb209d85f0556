"""Lines and tables for the terminal, kept so that a later command prints them without computing them again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Transcript:
    """Takes what is printed, like a console, and prints it on one later.

    Attributes:
        entries: what was printed, as JSON can write it.
    """

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        self.entries = entries or []

    def print(self, *objects: Text | Table | str, style: str = "", **options: Any) -> None:
        """Keeps lines of text and tables; other options than the style are those of ``replay``."""
        for one in objects or ("",):
            if isinstance(one, Table):
                self.entries.append({"table": _stored(one)})
            else:
                text = one if isinstance(one, Text) else Text(one, style=style)
                self.entries.append({"text": text.plain, "style": str(text.style)})

    def replay(self, console: Console, said: Collection[str] = ()) -> None:
        """Prints everything except lines that were said elsewhere."""
        for entry in self.entries:
            if "table" in entry:
                console.print(_table(entry["table"]))
            elif not entry["text"] or entry["text"] not in said:
                console.print(Text(entry["text"], style=entry["style"]), soft_wrap=True)


def _stored(table: Table) -> dict[str, Any]:
    columns = [[str(column.header), [str(cell) for cell in column.cells]] for column in table.columns]
    return {"title": str(table.title or ""), "columns": columns}


def _table(stored: dict[str, Any]) -> Table:
    table = Table(*(header for header, _ in stored["columns"]), title=stored["title"], box=None, pad_edge=False)
    for row in zip(*(cells for _, cells in stored["columns"]), strict=True):
        table.add_row(*row)
    return table
