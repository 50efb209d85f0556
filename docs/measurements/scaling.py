"""Growth of time, memory and storage with images, methods, classes and input size: fits and extrapolation.

    python docs/measurements/scaling.py --out results/scaling

It explains and occludes noise with an untrained network, as a cell does, each point in a fresh process. One axis varies
at a time, the others stay at their first value. It takes a few minutes and writes scaling.csv, scaling.md, scaling.png
and scaling.pdf.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))
import run_benchmark
from bench.commands.speed.memory import in_fresh_process
from bench.commands.speed.scene import synthetic_split
from bench.configs.sections import ExplainSection
from bench.data.selection import Selection
from bench.devices import describe_machine
from bench.evaluation.context import EvaluationContext
from bench.evaluation.explainer_jobs import ExplainerJob, Shares
from bench.evaluation.requests import resolve_metrics
from bench.memory import PeakMemory
from bench.models.factory import build_classifier
from bench.progress import RunProgress
from bench.registry import EXPLAINERS, HEADS
from bench.report.figures.style import WIDTH, paper_style, save
from bench.report.tables.writers import number
from bench.store.folders import CellStore
from bench.store.manifest import Manifest

#: Methods whose maps rank patches differently: equal rankings would share their occluded passes.
METHODS = ("gradcam", "saliency", "edges", "random")
METRICS = ("audc@zero", "gini", "entropy")
GRID: dict[str, tuple[int, ...]] = {
    "images": (32, 64, 128, 256),
    "methods": (1, 2, 3, 4),
    "classes": (2, 4, 8, 16),
    "size": (64, 96, 128, 192),
}
BACKBONE = "compact"
MEASURES = {"seconds": "s", "memory_mib": "MiB", "scores_bytes": "B", "maps_bytes": "B"}
LARGE = (100_000, 10_000_000)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Point:
    """One point: every method explains every image for every class, with the deletion curve of each map."""

    images: int = GRID["images"][0]
    methods: int = GRID["methods"][0]
    classes: int = GRID["classes"][0]
    size: int = GRID["size"][0]


def measure(point: Point) -> dict[str, float]:
    """Measures ``MEASURES`` at one point; memory is the peak above a process that has done two images."""
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as name:
        score(make_context(replace(point, images=2), Path(warm)), point.methods, Path(warm))  # warms up the libraries
        folder = Path(name)
        context = make_context(point, folder)
        with PeakMemory(torch.device("cpu")) as memory:
            started = time.perf_counter()
            score(context, point.methods, folder)
            seconds = time.perf_counter() - started
        sizes = {kind: sum(file.stat().st_size for file in folder.glob(f"{kind}/*")) for kind in ("scores", "maps")}
    return dict(zip(MEASURES, (seconds, memory.mebibytes, sizes["scores"], sizes["maps"]), strict=True))


def score(context: EvaluationContext, methods: int, folder: Path) -> None:
    """Explains and occludes as a cell does; writes scores and maps to a folder."""
    metrics = resolve_metrics(METRICS)
    names = {request.name: "" for request in metrics}
    jobs = [ExplainerJob(name, name, EXPLAINERS[name](), "", metrics, names) for name in METHODS[:methods]]
    shares = Shares(context, CellStore(folder), RunProgress(Console(quiet=True), []), "scaling", save_maps=True)
    for share in shares.missing(jobs):
        shares.score(jobs, share)
    shares.finish(jobs)
    if failed := [job.failed.reason for job in jobs if job.failed]:
        raise RuntimeError("; ".join(failed))


def make_context(point: Point, folder: Path) -> EvaluationContext:
    """Builds the context of images of noise that are on the disk, like decoded images."""
    shape = (point.images, 3, point.size, point.size)
    pixels = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    for index in range(point.images):
        pixels[index] = np.random.default_rng(index).integers(0, 256, shape[1:], dtype=np.uint8)
    pixels.flush()
    names = ("scaling", BACKBONE, "blackbox", 0)
    classifier, _ = build_classifier(names, HEADS["blackbox"](), point.classes, pretrained=False)
    maps = point.images * point.classes
    return EvaluationContext(
        classifier=classifier.eval().requires_grad_(False).to(memory_format=torch.channels_last),
        split=synthetic_split(np.load(folder / "images.npy", mmap_mode="r"), point.classes),
        explained=Selection(np.repeat(np.arange(point.images), point.classes), np.ones(maps, dtype=bool), maps),
        section=ExplainSection(),
        logits=np.zeros((maps, point.classes), dtype=np.float32),
        targets=np.tile(np.arange(point.classes), point.images),
        mean=_HALF,
        std=_HALF,
        device=torch.device("cpu"),
        gallery=[],
        healthy=None,
        seed_names=names,
        classes=point.classes,
    )


def growth(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Fits the slope of log y over log x by least squares -> slope (1 = proportional, 0 = constant), standard error."""
    design = np.stack([np.log(x), np.ones(len(x))], axis=1)
    target = np.log(y)
    coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
    residual = target - design @ coefficients
    variance = residual @ residual / (len(x) - 2) * np.linalg.inv(design.T @ design)[0, 0]
    return float(coefficients[0]), float(np.sqrt(variance))


def per_image(points: pd.DataFrame, measure_name: str) -> float:
    """Fits the increase per image: the slope of a straight line through the points along the images."""
    along = points[points["axis"] == "images"]
    return float(np.polyfit(along["images"], along[measure_name], 1)[0])


def measure_grid(repeats: int) -> pd.DataFrame:
    """Measures all points in turn -> one row per point: axis, coordinates, median of each measure over repeats."""
    points = [(axis, replace(Point(), **{axis: value})) for axis, values in GRID.items() for value in values]
    rounds = []
    for _ in range(repeats):
        for axis, point in points:
            rounds.append({"axis": axis, **asdict(point), **in_fresh_process(run_benchmark.register, measure, point)})
            print(rounds[-1], flush=True)
    return pd.DataFrame(rounds).groupby(["axis", *asdict(Point())], sort=False, as_index=False).median()


def report(points: pd.DataFrame) -> str:
    """Formats the growth along every axis, the points, and the extrapolation to many images."""
    machine = describe_machine(torch.device("cpu"))
    lines = [f"{BACKBONE}, {machine['cpu']}, {machine['threads']} threads, torch {torch.__version__}", ""]
    lines += [f"| axis | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for axis in GRID:
        along = points[points["axis"] == axis]
        fits = [growth(along[axis].tolist(), along[name].tolist()) for name in MEASURES]
        lines.append(f"| {axis} | " + " | ".join(f"{slope:.2f} ± {error:.2f}" for slope, error in fits) + " |")
    lines += ["", "Slope of log measure over log axis ± its standard error.", ""]
    lines += [f"| {' | '.join(map(str, points.columns))} |", "|---" * len(points.columns) + "|"]
    for row in points.itertuples(index=False):
        lines.append("| " + " | ".join([*map(str, row[:5]), *map(number, row[5:])]) + " |")
    lines += ["", "| images | hours | peak memory | scores | maps |", "|---|---|---|---|---|"]
    rise = {name: per_image(points, name) for name in MEASURES}
    for images in LARGE:
        lines.append(
            f"| {images:,} | {images * rise['seconds'] / 3600:,.1f} | {images * rise['memory_mib'] / 1024:,.1f} GiB "
            f"| {images * rise['scores_bytes'] / 1e9:,.1f} GB | {images * rise['maps_bytes'] / 1e9:,.1f} GB |"
        )
    lines += ["", f"Extrapolated along the images, for {Point()}."]
    return "\n".join(lines) + "\n"


def draw(points: pd.DataFrame) -> Figure:
    """Draws seconds and memory along each axis on log scales."""
    names = ("seconds", "memory_mib")
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots(len(names), len(GRID), sharex="col", sharey="row")
    for row, name in zip(axes, names, strict=True):
        for axis, along in zip(row, GRID, strict=True):
            part = points[points["axis"] == along]
            slope, error = growth(part[along].tolist(), part[name].tolist())
            axis.loglog(part[along], part[name], "o-", color="#0072B2", markersize=3)
            axis.set_title(f"slope {slope:.2f} ± {error:.2f}")
            axis.set_xticks(GRID[along], map(str, GRID[along]))
            axis.minorticks_off()
        row[0].set_ylabel("seconds" if name == "seconds" else "peak memory [MiB]")
    for axis, along in zip(axes[-1], GRID, strict=True):
        axis.set_xlabel("side [px]" if along == "size" else along)
    return figure


def main(
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path("results/scaling"),
    repeats: Annotated[int, typer.Option(min=1, help="timings of each point")] = 3,
) -> None:
    """Measures, fits and writes."""
    files = Manifest(out)
    files.require(*(f"scaling.{suffix}" for suffix in ("csv", "md", "png", "pdf")))
    points = measure_grid(repeats)
    with files.replacing("scaling.csv") as temporary:
        points.to_csv(temporary, index=False)
    with files.replacing("scaling.md") as temporary:
        temporary.write_text(report(points), encoding="utf-8")
    with paper_style():
        save(draw(points), files, "scaling")
    print(report(points))


if __name__ == "__main__":
    typer.run(main)
