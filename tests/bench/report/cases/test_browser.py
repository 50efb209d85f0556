"""The case browser in chromium: addresses, keys, filters, order, and colours that are those of the figures."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from bench.cases.grids import LEVELS
from bench.maps import upsample
from bench.report.answer.model import Answer
from bench.report.cases.data import render_cases
from bench.report.failures import Failures
from bench.report.figures.gallery import SIGNED, UNSIGNED
from bench.report.frames.load import load_frames
from bench.report.page.cases import cases_section
from bench.report.page.prepared import Prepared
from bench.report.page.section import Content
from bench.store.cell_facts import GeometryFacts
from tests.bench.report.conftest import Opened
from tests.support.page import written

HOSTILE = ["<script>alert(1)</script>", "a&b=#c", '"quoted" \u202eevil', "=cmd|' /C calc'!A0", "e\u0301 + % _"]


@pytest.fixture(scope="module")
def cases(finished: Path) -> dict[str, Any]:
    found = render_cases(load_frames(finished))
    (one,) = found["sets"]
    names = [*HOSTILE, *one["ids"][len(HOSTILE) :]]
    one["ids"] = one["titles"] = [name.replace("\u202e", "\\u202e") for name in names]
    one["heads"][0]["outcomes"] = [0, 1, 1, 0, 2, 0]
    return found


@pytest.fixture(scope="module")
def page_file(finished: Path, cases: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    content = Content(
        load_frames(finished), Answer(), {}, {}, [], folder, Failures(are_raised=True), Prepared(cases=cases)
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.report.page.page.SECTIONS", (cases_section,))
        return written(content, folder)


@pytest.fixture
def opened(opened: Opened) -> Opened:
    """Opens the page with an address, and waits for the first case."""

    def open_at(address: str = "") -> Any:
        page = opened(address, viewport={"width": 1200, "height": 900})
        page.wait_for_selector("#case-app[data-drawn]")
        return page

    return open_at


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


def shown(page: Any) -> str:
    return page.locator("#case-title bdi").text_content()


def settled(page: Any, act: Callable[[], object]) -> None:
    """Acts, and waits until the case is drawn anew."""
    before = page.locator("#case-app").get_attribute("data-drawn")
    act()
    page.wait_for_function("(before) => document.getElementById('case-app').dataset.drawn !== before", arg=before)


def status(page: Any) -> str:
    return page.locator("#case-status").text_content()


def test_an_address_opens_its_case_and_method(opened: Opened) -> None:
    page = opened("#image=%3Cscript%3Ealert(1)%3C%2Fscript%3E&method=gradcam")
    assert shown(page) == HOSTILE[0]
    assert page.locator("[aria-pressed=true] .case-name").all_text_contents() == ["gradcam"]
    assert page.evaluate("document.activeElement.id") == "case-title"
    settled(page, lambda: page.evaluate("location.hash = 'image=a%26b%3D%23c&method=mask_oracle'"))
    assert shown(page) == HOSTILE[1]
    assert page.locator("[aria-pressed=true] .case-name").all_text_contents() == ["mask_oracle"]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_address_of_every_case_leads_back_to_it(opened: Opened, name: str) -> None:
    page = opened()
    for _ in range(HOSTILE.index(name)):
        settled(page, lambda: page.locator("[aria-label='next case']").click())
    address = page.evaluate("document.querySelector('.case-link').getAttribute('href')")
    assert shown(opened(address)) == name.replace("\u202e", "\\u202e")


def test_an_unknown_address_is_said(opened: Opened) -> None:
    page = opened("#image=nowhere")
    assert "nowhere is not among those of this page" in status(page)
    assert shown(opened("#table-verdicts")) == HOSTILE[0]


def test_keys_go_through_the_cases(opened: Opened) -> None:
    page = opened("#image=a%26b%3D%23c")
    places = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "End", "Home", "ArrowUp"):
        page.keyboard.press(key)
        page.wait_for_timeout(300)
        places.append(int(status(page).split()[1]))
    assert places == [3, 4, 3, 6, 1, 1]
    page.locator("#case-opacity").focus()  # a slider keeps its own keys
    settled(page, lambda: page.keyboard.press("ArrowRight"))
    assert status(page).startswith("Case 1 ")


def test_filters(opened: Opened, cases: dict[str, Any]) -> None:
    page = opened()
    settled(page, lambda: page.locator("#case-outcome").select_option(label="missed"))
    assert status(page).startswith("Case 1 of 2 ")
    assert shown(page) == HOSTILE[1]
    settled(page, lambda: page.locator("#case-outcome").select_option(label="all"))
    settled(page, lambda: page.locator("#case-class").select_option(label="plain"))
    assert status(page).startswith("Case 1 of 2 ")
    page.locator("#case-size").select_option(label="large")
    assert status(page) == "No case matches these filters."
    assert not page.locator("#case-view").is_visible()
    for control in ("class", "size"):
        page.locator(f"#case-{control}").select_option(label="all")
    (one,) = cases["sets"]
    values = unpacked(one["methods"][1]["values"], "<f4").reshape(len(one["metrics"]), -1)[0]
    middle = float(np.nanmedian(values))
    page.locator("#case-a").select_option(label="gradcam")
    page.locator("#case-from").fill(str(middle))
    assert status(page).startswith(f"Case 1 of {np.count_nonzero(values >= middle)} ")


def test_order_by_where_one_method_beats_another(opened: Opened, cases: dict[str, Any]) -> None:
    (one,) = cases["sets"]
    metric = next(at for at, found in enumerate(one["metrics"]) if not found["higher"])
    scores = [unpacked(one["methods"][at]["values"], "<f4").reshape(len(one["metrics"]), -1) for at in (1, 2)]
    ours, theirs = (values[metric] for values in scores)
    lead = theirs - ours  # lower is better
    expected = [one["titles"][at] for at in np.argsort(np.where(np.isfinite(lead), -lead, np.inf), kind="stable")]
    page = opened()
    for control, label in (("a", "gradcam"), ("b", "random")):
        page.locator(f"#case-{control}").select_option(label=label)
    page.locator("#case-metric").select_option(value=str(metric))
    settled(page, lambda: page.locator("#case-order").select_option(label="where A beats B"))
    found = [shown(page)]
    for _ in expected[1:]:
        settled(page, lambda: page.locator("[aria-label='next case']").click())
        found.append(shown(page))
    assert np.isfinite(lead).sum() >= 2
    assert found == expected


def test_the_table_holds_the_scores_of_the_case(opened: Opened, cases: dict[str, Any]) -> None:
    (one,) = cases["sets"]
    page = opened()
    cells = page.locator("#case-table tbody tr").nth(1).locator("th, td").all_text_contents()
    values = unpacked(one["methods"][1]["values"], "<f4").reshape(len(one["metrics"]), -1)[:, 0]
    assert cells[0] == "gradcam"
    assert float(cells[1]) == pytest.approx(one["heads"][one["methods"][1]["head"]]["probabilities"][0], rel=0.01)
    known = [value for value in cells[2:] if value != "–"]
    assert [float(value) for value in known] == pytest.approx(values[np.isfinite(values)].tolist(), rel=0.01, abs=1e-3)
    assert page.locator(".case-curves polyline").count() >= 3


def test_methods_can_be_chosen(opened: Opened) -> None:
    page = opened()
    assert page.locator("button.case-tile .case-name").all_text_contents() == ["softcam-sparse", "gradcam", "random"]
    page.locator("#case-chooser summary").click()
    settled(page, lambda: page.get_by_role("button", name="all", exact=True).click())
    assert page.locator("button.case-tile").count() == 4
    settled(page, lambda: page.get_by_role("checkbox", name="gradcam").uncheck())
    assert page.locator("button.case-tile").count() == 3


# --- Colours ---------------------------------------------------------------------------------------------------------

_PAINT = """async ([set, method, at, look]) => {
  const data = window.softcam.data("cases");
  const [one, maps] = [data.sets[set], window.caseMaps];
  const found = one.methods[method];
  await window.caseView.load(one);
  const size = found.grid[0] * found.grid[1];
  const cells = found.cellsOf.subarray(at * size, (at + 1) * size);
  const image = await maps.pixels(one.images[at], one.size);
  const colours = await maps.unpacked(data.colours[found.signed ? "signed" : "unsigned"], Uint8Array);
  const end = maps.colourEnd(cells, data.quantile);
  const map = { ...found, cells, end, finite: Number.isFinite(found.scaleOf[at]) };
  return [Array.from(maps.paint(map, image, { ...look, colours }).data), end];
}"""


def painted(page: Any, cases: dict[str, Any], method: int, at: int, **look: float) -> tuple[np.ndarray, float]:
    height, width = cases["sets"][0]["size"]
    found, end = page.evaluate(_PAINT, [0, method, at, {"opacity": 1, "threshold": 0} | look])
    return np.array(found).reshape(height, width, 4)[..., :3], end


@pytest.mark.parametrize("method", range(4))
def test_colours_are_those_of_the_figures(opened: Opened, cases: dict[str, Any], method: int) -> None:
    (one,), page = cases["sets"], opened()
    facts = one["methods"][method]
    grids = unpacked(facts["maps"], "i1").reshape(6, *facts["grid"]) / LEVELS
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["images"][1]))))
    place = GeometryFacts(start=facts["start"], stride=facts["stride"], receptive_field=(1, 1))
    found, end = painted(page, cases, method, 1)
    assert end == pytest.approx(np.quantile(np.abs(grids[1]), 0.995) or np.abs(grids[1]).max())
    values = upsample(torch.from_numpy(grids[1:2]), one["size"], place).numpy()
    drawn = page.evaluate(
        "(given) => Array.from(window.caseMaps.upsample(...given))",
        [grids[1].ravel().tolist(), facts["grid"], one["size"], facts["start"], facts["stride"]],
    )
    np.testing.assert_allclose(np.array(drawn).reshape(values.shape[1:]), values[0], atol=1e-5)
    position = (values[0] / end).clip(-1, 1)
    position = (position + 1) / 2 if facts["signed"] else position.clip(0)
    colours = matplotlib.colormaps[SIGNED if facts["signed"] else UNSIGNED](position)[..., :3]
    expected = 255 * colours * (0.5 + 0.5 * image.mean(axis=2, keepdims=True) / 255)
    assert np.abs(found - expected).max() < 6  # decoders of WebP and neighbouring colours
    assert np.abs(found - expected).mean() < 1


def test_opacity_and_threshold(opened: Opened, cases: dict[str, Any]) -> None:
    (one,), page = cases["sets"], opened()
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["images"][0])))).astype(int)
    bare, _ = painted(page, cases, 2, 0, opacity=0)
    assert np.abs(bare - image).max() <= 3  # decoders of WebP round differently
    facts = one["methods"][2]
    cells = unpacked(facts["maps"], "i1").reshape(6, *facts["grid"])[:1] / LEVELS
    place = GeometryFacts(start=facts["start"], stride=facts["stride"], receptive_field=(1, 1))
    hidden, end = painted(page, cases, 2, 0, threshold=0.5)
    values = upsample(torch.from_numpy(cells), one["size"], place).numpy()[0] / end
    below = (np.abs(values) if facts["signed"] else values.clip(0)) < 0.5 - 1e-4
    assert below.any()
    assert (np.abs(hidden - image)[below] <= 3).all()
    above = values > 0.6
    assert (np.abs(hidden - image)[above].max(axis=1) > 3).mean() > 0.9


def test_the_outline_follows_the_mask(opened: Opened, cases: dict[str, Any]) -> None:
    (one,), page = cases["sets"], opened()
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["masks"][0]))))
    edges = page.evaluate(
        "async ([file, size]) => window.caseMaps.outline(await window.caseMaps.pixels(file, size))",
        [one["masks"][0], one["size"]],
    )
    padded = np.pad(mask, 1)
    assert len(edges) == (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    rows, columns = np.nonzero(mask)
    assert {x for edge in edges for x in edge[::2]} == set(range(columns.min(), columns.max() + 2))
    assert {y for edge in edges for y in edge[1::2]} == set(range(rows.min(), rows.max() + 2))


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_as_wide_as_the_window(opened: Opened, width: int) -> None:
    page = opened()
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_javascript_a_sentence_says_so(browser: Any, page_file: Path) -> None:
    page = browser.new_context(offline=True, java_script_enabled=False).new_page()
    page.goto(page_file.as_uri())
    assert page.get_by_text("The case browser needs JavaScript").is_visible()
