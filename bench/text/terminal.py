"""Terminal: prints every text as it is, whatever brackets or control characters a name of others holds."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from bench.text.media import visible


class Terminal(Console):
    """Console without markup: ``[/x]`` is text, and no text can move the cursor or begin another line.

    Args:
        **options: of ``rich.console.Console``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False} | options, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints texts and tables."""
        super().print(*map(_plain, objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns the text of a title or of a cell of a table."""
        return super().render_str(visible(text), **options)


def _plain(value: Any) -> Any:
    """Returns a text without hidden characters, in the style that it has as a whole; other objects as they are."""
    if isinstance(value, Text):
        return Text(visible(value.plain), style=value.style) if not value.spans else value
    return visible(value) if isinstance(value, str) else value
