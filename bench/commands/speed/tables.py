"""Table (CSV, Markdown) and bars (PNG, PDF) of the measured times and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.commands.speed.scene import Maker, Task
from bench.commands.speed.targets import FORWARD, Target
from bench.commands.speed.timing import multiples
from bench.report.figures.style import GREY, WIDTH, legend_below, log_axis, paper_style, save
from bench.report.tables.writers import number
from bench.statistics.intervals import Floats
from bench.store.manifest import Manifest
from bench.text.media import csv_frame

FILES = ("speed.csv", "speed.md", "speed.png", "speed.pdf")
#: Blue and orange of Okabe and Ito, distinct under every kind of colour blindness, and grey.
COLORS: dict[Maker, str] = {"limit": GREY, "ours": "#0072B2", "peer": "#E69F00"}
LABELS: dict[Maker, str] = {"limit": "bare network", "ours": "this benchmark", "peer": "other code"}


def rows(
    tasks: Sequence[Task], seconds: Mapping[str, Floats], goals: Sequence[Target], memory: Mapping[str, float]
) -> pd.DataFrame:
    """Returns one row per task: seconds per image and multiples of the float32 forward (median, lowest, highest)."""
    records = []
    for task in tasks:
        own = [goal for goal in goals if goal.task == task.name]
        records.append(
            {
                "work": task.group,
                "what": task.what,
                "by": task.maker,
                **_spread("seconds", seconds[task.name]),
                **_spread("x_forward", multiples(seconds, task.name, FORWARD)),
                "peak_memory_mib": memory.get(task.name, np.nan),
                "target": "; ".join(goal.text() for goal in own),
                "met": "; ".join(f"{_yes(goal.is_met(seconds))} ({goal.ratio(seconds):.2f})" for goal in own),
            }
        )
    return pd.DataFrame(records)


def _spread(name: str, values: Floats) -> dict[str, float]:
    return {name: float(np.median(values)), f"{name}_low": values.min(), f"{name}_high": values.max()}


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def markdown(table: pd.DataFrame, caption: str, notes: Sequence[str]) -> str:
    """Formats caption, pipe table and notes as Markdown."""
    header = ["group", "task", "by", "ms per image", "× forward", "peak MiB", "target", "met (measured)"]
    lines = [header, ["---", "---", "---", "---:", "---:", "---:", "---", "---"]]
    for row in table.to_dict("records"):
        spread = (
            f"{number(row['seconds'] * 1e3)} [{number(row['seconds_low'] * 1e3)}, {number(row['seconds_high'] * 1e3)}]"
        )
        multiple = f"{number(row['x_forward'])} [{number(row['x_forward_low'])}, {number(row['x_forward_high'])}]"
        memory = "–" if np.isnan(row["peak_memory_mib"]) else f"{row['peak_memory_mib']:.0f}"
        maker = LABELS[row["by"]]
        lines.append([row["work"], row["what"], maker, spread, multiple, memory, row["target"], row["met"]])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{caption}\n\n{body}\n\n" + "".join(f"- {note}\n" for note in notes)


def write(table: pd.DataFrame, caption: str, notes: Sequence[str], files: Manifest) -> None:
    """Writes ``speed.csv``, ``speed.md``, ``speed.png`` and ``speed.pdf``."""
    with files.replacing("speed.csv") as temporary:
        csv_frame(table).to_csv(temporary, index=False)
    with files.replacing("speed.md") as temporary:
        temporary.write_text(markdown(table, caption, notes), encoding="utf-8")
    with paper_style():
        save(bars(table, caption), files, "speed")


def bars(table: pd.DataFrame, caption: str) -> Figure:
    """Draws multiples of the float32 forward on a log axis, with their range, one panel per group of tasks.

    Tasks below a hundredth (controls that do not use the network) are left out, because they would stretch the axis.
    """
    table = table[table["x_forward"] >= 0.01]
    groups = list(dict.fromkeys(table["work"]))
    counts = [int((table["work"] == group).sum()) for group in groups]
    height = 0.155 * sum(counts) + 0.42 * len(groups) + 0.8
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=[count + 0.6 for count in counts])
    for axis, group in zip(axes[:, 0], groups, strict=True):
        _panel(axis, table[table["work"] == group])
        axis.set_title(group, loc="left")
    axes[-1, 0].set_xlabel("seconds per image, as multiples of a float32 forward pass of the same run (log scale)")
    axes[0, 0].set_xlim(table["x_forward_low"].min() / 1.5, table["x_forward_high"].max() * 2.5)
    figure.suptitle(caption, fontsize=7, wrap=True)
    shown = [Patch(color=COLORS[maker], label=LABELS[maker]) for maker in COLORS if maker in set(table["by"])]
    legend_below(figure, {"": shown})
    return figure


def _panel(axis: Axes, group: pd.DataFrame) -> None:
    places = np.arange(len(group))[::-1]
    median = group["x_forward"].to_numpy()
    reach = np.stack([median - group["x_forward_low"], group["x_forward_high"] - median])
    log_axis(axis)
    axis.barh(places, median, color=[COLORS[maker] for maker in group["by"]], height=0.72)
    axis.errorbar(median, places, xerr=reach, fmt="none", ecolor="black", elinewidth=0.6)
    axis.set_yticks(places, group["what"].tolist())
    axis.set_ylim(-0.6, len(group) - 0.4)
    axis.axvline(1, color="black", linewidth=0.7, linestyle=(0, (4, 2)))
    for place, value, end in zip(places, median, group["x_forward_high"], strict=True):
        axis.annotate(number(value), (end, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axis.grid(visible=False, axis="y")
