"""The page in a real browser: what readers do with it, on screens of every kind."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from bench.report.figures.style import Caption
from bench.report.tables.writers import number
from tests.bench.report.conftest import Opened
from tests.support.page import content, written
from tests.support.study_store import PLAIN, head, make_grid

expect = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[test]'").expect
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing: pip install '.[test]'")

PHONE = {"width": 390, "height": 844}
LONG = "folder:/data/" + "a-long-name-" * 12 + "<b>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_grid(folder, {"plain": PLAIN, "own": head("own")}, {"first": {}, LONG: {}})
    return written(content(folder, captions={"drawn": Caption("A figure.", "Words.")}), folder)


#: Opens what can be opened, and one table of many that are made alike.
OPEN = "for (const one of document.querySelectorAll('details:not(.item), .item:nth-of-type(1)')) one.open = true"


def names(page: Any, body: str = "tbody:not(.pinned)") -> list[str]:
    found: list[str] = page.locator(f"#leaderboard .board {body} tr th").all_inner_texts()
    return found


def column(page: Any, title: str) -> list[float]:
    """Numbers of a column of the leaderboard, below the pinned rows."""
    place = [text.strip(" ▲▼") for text in page.locator("#leaderboard .board thead tr:last-child th").all_inner_texts()]
    cells = page.locator(f"#leaderboard .board tbody:not(.pinned) tr > :nth-child({place.index(title) + 1})")
    return [float(text) for text in cells.all_inner_texts() if text != "–"]


def test_a_column_sorts_from_the_better_end_and_back(opened: Opened) -> None:
    page = opened()
    page.get_by_role("button", name="activation sensitivity ↑").click()
    found = column(page, "activation sensitivity ↑")
    assert len(found) == 4
    assert found == sorted(found, reverse=True)
    header = page.locator("th[aria-sort]")
    assert header.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the focus stays on the button
    assert column(page, "activation sensitivity ↑") == found[::-1]
    assert header.get_attribute("aria-sort") == "ascending"


def test_lower_is_better_sorts_upwards(opened: Opened) -> None:
    page = opened()
    page.get_by_role("checkbox", name="faithfulness").check()
    page.get_by_role("button", name="audc@zero ↓").click()
    found = column(page, "audc@zero ↓")
    assert found == sorted(found)


def test_methods_are_searched_and_filtered(opened: Opened) -> None:
    page = opened()
    assert len(names(page)) == 4
    page.locator("#leaderboard").get_by_role("searchbox").fill("POST_B")
    assert names(page) == ["post_b"]
    assert page.locator("#leaderboard").get_by_role("status").inner_text().startswith("1 of 4 methods")
    page.locator("#leaderboard").get_by_role("searchbox").fill("")
    page.locator("#leaderboard").get_by_role("checkbox", name="post-hoc").uncheck()
    assert sorted(names(page)) == ["noise", "own"]


def test_the_saved_file_holds_what_is_shown(opened: Opened) -> None:
    page = opened()
    page.locator("#leaderboard").get_by_role("combobox", name="Data set").select_option(index=1)
    page.get_by_role("checkbox", name="95 % intervals").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert {row["dataset"] for row in rows} == {LONG}
    assert [row["explainer"] if row["family"] != "inherent" else row["head"] for row in rows] == names(page)
    shown = page.locator("#leaderboard .board tbody:not(.pinned) tr:first-child td:nth-child(3)").inner_text()
    parts = [float(rows[0][f"activation_precision_{part}"]) for part in ("mean", "low", "high")]
    mean, low, high = map(number, parts)
    assert shown == f"{mean} [{low}, {high}]"


def test_a_legend_switches_methods_in_every_panel(opened: Opened) -> None:
    page = opened()
    chart = page.locator("#chart-topk_precision")
    chart.scroll_into_view_if_needed()
    lines = chart.locator(".plot svg .mark-line path")
    expect(lines).to_have_count(6)
    button = chart.get_by_role("button", name="post_a")
    assert button.get_attribute("aria-pressed") == "true"
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    expect(lines).to_have_count(4)
    chart.get_by_role("button", name="none").click()
    expect(lines).to_have_count(0)


def test_pointing_at_a_curve_shows_its_values(opened: Opened) -> None:
    page = opened()
    chart = page.locator("#chart-topk_precision")
    chart.scroll_into_view_if_needed()
    plot = chart.locator(".plot svg").first
    plot.wait_for()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 90, steps=8)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for()
    assert "method" in tip.inner_text()
    assert "mean" in tip.inner_text()


def test_a_link_opens_the_table_that_it_names(opened: Opened) -> None:
    page = opened()
    table = page.locator("#table-complexity")
    assert not table.get_by_role("table").is_visible()
    page.get_by_role("link", name="Evidence").first.click()
    assert table.get_by_role("table").is_visible()
    assert opened("#table-localisation").locator("#table-localisation").get_by_role("table").is_visible()


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", {"width": 1280, "height": 900}), ("dark", PHONE)], ids=["desktop", "phone"]
)
def test_no_serious_fault_for_keyboard_and_screen_reader(opened: Opened, scheme: str, viewport: dict[str, int]) -> None:
    page = opened(color_scheme=scheme, viewport=viewport)
    page.evaluate(OPEN)
    page.locator("#chart-topk_precision").scroll_into_view_if_needed()
    page.locator("#chart-topk_precision .plot svg").first.wait_for()
    found = axe.Axe().run(page, options=RULES).response["violations"]
    serious = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found if one["impact"] in SERIOUS]
    assert serious == []


RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
SERIOUS = ("serious", "critical")


def test_a_phone_scrolls_in_one_direction(opened: Opened) -> None:
    page = opened(viewport=PHONE)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    overview = page.get_by_role("region", name="All answers")
    assert overview.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_dark_and_light_differ(opened: Opened) -> None:
    colours = {
        scheme: opened(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colours["light"] == "rgb(255, 255, 255)"
    assert colours["dark"] != colours["light"]


def test_without_javascript_everything_can_be_read(opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    assert page.get_by_text("Use own").first.is_visible()
    assert page.locator("#leaderboard table").first.is_visible()
    assert not page.locator("#leaderboard .board").is_visible()
    page.locator("#table-localisation summary").click()
    assert page.locator("#table-localisation table").is_visible()


def test_print_has_answer_and_charts(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").is_visible()
    assert page.locator("#answer .card").first.is_visible()


def test_tab_reaches_the_answer_first(opened: Opened) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('header, nav') !== null")
