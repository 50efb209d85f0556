"""The command ``evaluate``: explanations of a trained model, without any training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from bench.cli.early import check_lists, refuse_early
from bench.errors import UserError


def _option(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def evaluate(
    context: typer.Context,
    model: Annotated[str, _option("torchvision:NAME, timm:NAME, FILE.py:FUNCTION, or a file that export wrote")],
    datasets: Annotated[str | None, _option("data sets, comma separated; folder:PATH")] = None,
    data: Annotated[Path | None, _option("instead: table of images and labels, such as PATH/labels.csv")] = None,
    labels: Annotated[str | None, _option("labels per image that the data must have: single or multi")] = None,
    weights: Annotated[Path | None, _option("weights of the model (.safetensors, .pt)")] = None,
    classes: Annotated[int | None, _option("number of outputs of the model")] = None,
    mean: Annotated[str | None, _option("mean of pixels in [0, 1]: one number or three, comma separated")] = None,
    std: Annotated[str | None, _option("standard deviation, as --mean")] = None,
    size: Annotated[int | None, _option("side of the images in pixels [as the model states; 224]")] = None,
    feature_layer: Annotated[str | None, _option("layer whose output is the feature map [found]")] = None,
    explainers: Annotated[str | None, _option("explainers, comma separated; all")] = None,
    metrics: Annotated[str | None, _option("metrics, comma separated; all; name@operator")] = None,
    expected_auc: Annotated[float | None, _option("AUC that the model is known to have on such images")] = None,
    images: Annotated[int | None, _option("diseased, and healthy, images to explain [all]")] = None,
    plugins: Annotated[str | None, _option("Python files that add methods, metrics or data sets")] = None,
    data_root: Annotated[Path, _option("folder of the downloaded data sets [data]")] = Path("data"),
    out: Annotated[Path, _option("run folder [results/evaluate]")] = Path("results/evaluate"),
    device: Annotated[str, _option("cpu, cuda or auto [auto]")] = "auto",
    batch_size: Annotated[int | None, _option("images per forward pass")] = None,
    precision: Annotated[str, _option("precision under occlusion: float32, bf16, auto")] = "auto",
) -> None:
    """Explain and score a trained model; nothing is trained."""
    console = Console(highlight=False)
    names = {"explainers": _names(explainers, "--explainers"), "metrics": _names(metrics, "--metrics")}
    asked_data = [name for name in _datasets(datasets, data) if not Path(name).exists()]  # a folder or a table
    refuse_early(context.obj, plugins, partial(check_lists, names, [] if data else asked_data))
    context.obj()
    from bench.cli.plugins import load_plugins
    from bench.given.command import Asked, run_evaluation

    for problem in load_plugins([Path(file) for file in _names(plugins, "--plugins") or []]):
        console.print(Text(problem, style="red"))
    asked = Asked(
        model=model,
        weights=weights,
        classes=classes,
        datasets=_datasets(datasets, data),
        labels=labels,
        root=data_root,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        size=size,
        feature_layer=feature_layer,
        explainers=names["explainers"],
        metrics=names["metrics"],
        expected_auc=expected_auc,
        images=images,
        out=out,
        device=device,
        batch_size=batch_size,
        precision=precision,
    )
    raise typer.Exit(run_evaluation(asked, console))


def _datasets(datasets: str | None, data: Path | None) -> list[str]:
    if (datasets is None) == (data is None):
        raise UserError("give either --datasets or --data: names of data sets, or a table of images and labels")
    return [str(data)] if data is not None else _names(datasets, "--datasets") or []


def _names(text: str | None, flag: str) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{flag} is empty; name at least one, or omit the flag")
    return names


def _numbers(text: str | None, flag: str) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{flag} {text}: give one number or three, such as 0.485,0.456,0.406") from None
