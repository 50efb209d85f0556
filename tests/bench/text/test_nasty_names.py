"""One nasty alphabet in the names of classes, images and the data folder, through a run, to every place that shows it.

Names of explainers and metrics are validated when they are registered.
"""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.cli.failures import line_of
from bench.commands.check_data.command import check_dataset
from bench.commands.export.command import export_cell
from bench.data.prepare import request_for
from bench.report.build import build_report
from bench.report.figures import style
from bench.run.options import RunOptions
from bench.run.plan import make_plan
from bench.run.runner import run
from bench.store.folders import RunStore
from bench.text.terminal import Terminal
from tests.support.made import SIZE, tiny_config

CLASSES = ("healthy", "=1+1|$a_$b^{%} [x]#~\\", "<nasty>&amp;'\"`*c* אב x\u0301 病")
FOLDER = "data [bold]$x$ [/y]|<nasty>@a=b&_" + "é" * 80
MEMBERS = 10


class Made(NamedTuple):
    """Folder of everything, run folder, name of the data set, text on the terminal, and all texts of all figures."""

    root: Path
    folder: Path
    name: str
    screen: str
    drawn: list[Text]


def write_images(folder: Path) -> None:
    """Writes images of noise with a bright square, and the masks of the squares."""
    draw = np.random.default_rng(0)
    (folder / "masks").mkdir(parents=True)
    for number, name in enumerate(CLASSES):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(MEMBERS):
            pixels, mask = draw.integers(0, 120, (SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
            stem = f"=${number}_{index}$|<nasty>[x]&'é"
            if number:
                row = 4 + index + number
                pixels[row : row + 8, row : row + 8] = 255 if number == 1 else (0, 0, 255)
                mask[row : row + 8, row : row + 8] = 255
                Image.fromarray(mask).save(folder / "masks" / f"{stem}.png")
            Image.fromarray(pixels).save(folder / "images" / name / f"{stem}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Check, run, report and export of such a folder; figures are laid out, but their files stay empty."""
    root, drawn = tmp_path_factory.mktemp("nasty"), list[Text]()
    write_images(root / FOLDER)
    name = f"folder:{root / FOLDER}"

    def lay_out(figure: Figure, target: Path, **options: Any) -> None:
        figure.draw_without_rendering()
        drawn.extend(figure.findobj(Text))
        target.touch()

    screen = io.StringIO()
    console = Terminal(file=screen, width=10000)
    explainers = ["softcam", "gradcam", "random", "mask_oracle"]
    config = tiny_config(datasets=[name], explainers=explainers, metrics=["pixel_auroc", "audc@zero", "gini"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", lay_out)
        patched.setattr(style, "write_png", lay_out)
        patched.setattr(style, "write_pdf", lambda figure, target: target.touch())
        plan = make_plan(config, root)
        request = request_for(plan.datasets[name], plan.configs[name].data, root, skip_bad=True, splits=None)
        assert check_dataset(plan.datasets[name], request, root / "check", console)
        options = RunOptions(root, root / "run [/z]", torch.device("cpu"), precision="float32")
        outcome = run(config, plan, options, console, [])
        assert outcome.problems == []
        assert build_report(options.out, console) == []
        key = RunStore(options.out).record.cells[0]
        export_cell(RunStore(options.out).cell(key).folder, root / "export", onnx=False)
    return Made(root, options.out, name, screen.getvalue(), drawn)


class Page(HTMLParser):
    """Tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.texts = set[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_data_set_has_the_classes_of_its_folders(made: Made) -> None:
    ((name, facts),) = RunStore(made.folder).record.datasets.items()
    assert name == made.name  # with its @a=b, which is not a parameter
    assert set(facts.classes) == set(CLASSES)


def test_the_terminal_shows_names_as_they_are(made: Made) -> None:
    assert all(name in made.screen for name in (*CLASSES, made.name, f"page: {made.folder / 'report.html'}"))


def test_figures_parse_no_text_as_mathematics(made: Made) -> None:
    assert not any(text.get_parse_math() for text in made.drawn)
    shown = "\n".join(text.get_text() for text in made.drawn)
    assert made.name in shown
    assert all(part in shown for part in ("$a_$b^{%}", "<nasty>&amp;"))


def test_the_page_has_the_names_as_text(made: Made) -> None:
    page = Page((made.folder / "report.html").read_text("utf-8"))
    assert "nasty" not in page.tags
    whole = "".join(page.texts)
    assert all(name in whole for name in (*CLASSES, made.name))


def test_the_data_of_the_page_has_the_names_as_text(made: Made) -> None:
    text = (made.folder / "report.html").read_text("utf-8")
    blocks = re.findall(r'<script type="application/json" id="data-(\w+)">(.*?)</script>', text, re.DOTALL)
    data = {name: json.loads(block) for name, block in blocks}
    assert not any("<" in block for _, block in blocks)
    assert {row["dataset"] for row in data["leaderboard"]["rows"]} == {made.name}


def test_tables_of_markdown_keep_their_columns(made: Made) -> None:
    files = [*(made.folder / "tables").rglob("*.md"), made.root / "export" / "README.md"]
    assert len(files) > 5
    for file in files:
        text = file.read_text("utf-8")
        assert not re.search(r"(?<!\\)<nasty", text), file
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(counts) == 1, (file, block)


def test_latex_has_no_sign_of_theirs(made: Made) -> None:
    files = list((made.folder / "tables").rglob("*.tex"))
    assert len(files) > 5
    for file in files:
        text = re.sub(r"\$(?:\\[a-z]+|\^\{[^}]*\}|_\{0\})\$", "", file.read_text("utf-8"))  # mathematics of ours
        text = re.sub(r"\\[\\&%_#${}]", "", text)
        assert not re.search(r"[$#%~_^|<>]", text), file
        assert text.count("{") == text.count("}"), file


def test_no_cell_of_a_csv_file_is_a_formula(made: Made) -> None:
    files = [*made.folder.rglob("tables/**/*.csv"), *made.root.glob("*.csv")]
    assert len(files) > 5
    for file in files:
        for row in csv.reader(io.StringIO(file.read_text("utf-8"))):
            assert not any(cell[:1] in tuple("=+-@") and not is_number(cell) for cell in row if cell), file


def is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*(e[-+]?\d+)?|inf)", text) is not None


def test_every_file_has_a_short_name_below_the_run_folder(made: Made) -> None:
    names = [part for file in made.folder.rglob("*") for part in file.relative_to(made.folder).parts]
    assert len(names) > 20
    assert all(len(name.encode()) < 200 and not set(name) & set("|<>[]$&'") for name in names)


def test_an_error_with_such_a_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no class folder") as caught:
        make_plan(tiny_config(datasets=[f"folder:{tmp_path}/\x1b[2J\n[/x]"]), tmp_path)
    line = line_of(caught.value)
    assert line is not None
    screen = io.StringIO()
    Terminal(file=screen, width=10000).print(line[0])
    assert screen.getvalue().count("\n") == 1
    assert "\x1b" not in screen.getvalue()
