"""A browser for the tests of the page and of its parts, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system, or the one that playwright installs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[test]'")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: install chromium or run `playwright install chromium` ({str(error).split()[0]})")
        yield started
        started.close()


Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Opened]:
    """Opens the page offline with options of ``Browser.new_context``; ends with no message and no request."""
    contexts, said = list[Any](), list[str]()

    def note(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            said.append(f"request of {request.url}")

    def start(fragment: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        context.set_default_timeout(_PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", note)
        page.goto(f"{page_file.as_uri()}{fragment}")
        return page

    yield start
    for context in contexts:
        context.close()
    assert said == []
