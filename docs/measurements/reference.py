"""Reference run: copies tables and figures of a run to results/reference, and their numbers into the documents.

    python docs/measurements/reference.py results/quick    # copy, then fill in
    python docs/measurements/reference.py results/grid grid          # its tables go to tables/grid
    python docs/measurements/reference.py results/control control
    python docs/measurements/reference.py                  # fill in from results/reference

The function NAME below writes what README.md and docs have between ``<!-- numbers: NAME -->`` and ``<!-- end -->``.
A test asserts that filling in changes nothing.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
import run_benchmark
from bench.models.feature_extraction import split_classifier
from bench.models.geometry import compute_geometry
from bench.registry import BACKBONES
from bench.report.comparisons.choices import leading
from bench.report.comparisons.verdict_lines import lines

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"
GALLERY = "gallery_cxr-phantom.jpg"
_BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_QUALITY = 90  # of a JPEG whose text has no visible artefacts
#: Folders of ``tables`` with other runs.
VARIANTS = ("grid", "control")
#: Shown method -> explainer and head of its row.
METHODS = {
    "SoftCAM, dense": ("softcam", "softcam-dense"),
    "SoftCAM, sparse": ("softcam", "softcam-sparse"),
    "TTE-CAM (no training)": ("softcam", "tte"),
    "Grad-CAM": ("gradcam", "blackbox"),
    "Saliency": ("saliency", "blackbox"),
    "Integrated Gradients": ("integrated_gradients", "blackbox"),
    "random map (floor)": ("random", "blackbox"),
    "mask on the grid (ceiling of a coarse map)": ("grid_oracle", "blackbox"),
    "mask (ceiling)": ("mask_oracle", "blackbox"),
}
#: Column of docs/results.md -> table and column.
SCORES = {
    "test AUC ↑": ("classification", "auc"),
    "activation precision ↑": ("localisation", "activation_precision"),
    "top-k precision ↑": ("localisation", "topk_precision"),
    "pixel AUROC ↑": ("localisation", "pixel_auroc"),
    "AUDC, right (zero) ↓": ("faithfulness", "audc_right@zero"),
    "SRG, right (zero) ↑": ("faithfulness", "srg_right@zero"),
}


def main() -> None:
    """Copies from the run that is named, if any, and fills in the numbers."""
    if sys.argv[1:]:
        copy(Path(sys.argv[1]), *sys.argv[2:])
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")


def pages() -> list[Path]:
    """Returns the documents that may hold numbers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """Returns a document with its blocks written anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block[2]]()}\n{block[3]}", text)


def copy(run: Path, variant: str = "") -> None:
    """Replaces every file of results/reference that the run has; of verdicts.csv, the leading metrics only.

    Args:
        run: run folder.
        variant: folder of ``tables`` whose files are replaced instead, from the tables of the run.
    """
    variants = [one for one in (REFERENCE / "tables").iterdir() if one.is_dir() and one.name in VARIANTS]
    for file in [one for one in REFERENCE.rglob("*") if one.is_file()]:
        if (file.parent.name if file.parent in variants else "") != variant:
            continue
        source = run / "tables" / file.name if variant else run / file.relative_to(REFERENCE)
        if file.name == GALLERY:
            picture = Image.open(source.with_suffix(".png")).convert("RGB")
            picture.save(file, quality=_QUALITY, optimize=True)
        elif file.name == "verdicts.csv":
            leading(pd.read_csv(source, keep_default_na=False, na_values=[""])).to_csv(file, index=False)
        elif source.exists():
            shutil.copyfile(source, file)


def table(name: str) -> pd.DataFrame:
    """Reads a table of the reference run."""
    return pd.read_csv(REFERENCE / "tables" / f"{name}.csv")


def scores() -> str:
    """Scores of some methods, all data sets."""
    rows = [["data set", "method", *SCORES]]
    tables = {name: table(name) for name, _ in SCORES.values()}
    for dataset in tables["localisation"]["dataset"].drop_duplicates():
        for method, (explainer, head) in METHODS.items():
            values = [_value(tables[name], dataset, explainer, head, column) for name, column in SCORES.values()]
            rows.append([dataset if len(rows) % len(METHODS) == 1 else "", method, *values])
    return markdown(rows)


def glance() -> str:
    """Top-k precision and test AUC of some methods, one column per data set."""
    localisation, classification = table("localisation"), table("classification")
    datasets = list(localisation["dataset"].drop_duplicates())
    rows = [["top-k precision ↑", *datasets]]
    for method, (explainer, head) in METHODS.items():
        if method not in ("Saliency", "mask (ceiling)"):
            values = [_value(localisation, one, explainer, head, "topk_precision") for one in datasets]
            rows.append([method, *values])
    aucs = [
        [_value(classification, one, "", head, "auc") for head in ("blackbox", "softcam-sparse")] for one in datasets
    ]
    rows.append(["*test AUC: black box, SoftCAM sparse*", *(f"*{one}, {other}*" for one, other in aucs)])
    return markdown(rows)


def verdicts() -> str:
    """Lines of the terminal about the leading metrics of the phantoms."""
    rows = pd.read_csv(REFERENCE / "tables" / "verdicts.csv", keep_default_na=False, na_values=[""])
    found = []
    for _, part in rows.groupby("dataset", sort=False):
        first, *rest = lines(part)
        found.append("\n".join([f"**{first}**", "", *rest]))
    return "\n\n".join(found)


def geometry() -> str:
    """Pixels between where the middle cell of a map looks and where even spacing draws it, at 224 pixels."""
    side = 224
    run_benchmark.register()
    rows = [["backbone", "cells", "stride", "centre of the first cell", "even spacing draws the middle cell off by"]]
    for name in ("compact", "resnet18", "resnet50", "densenet121", "efficientnet_b0", "vgg16"):
        with torch.device("meta"):  # layers are counted, and hold no weights
            features = split_classifier(BACKBONES[name].build(False)[0]).features
        found = compute_geometry(features, (side, side))
        if found is None:
            raise ValueError(f"the geometry of {name} is unknown")
        cells = side // int(found.stride[0])
        off = max(map(abs, found.beside_convention((cells, cells), (side, side))))
        rows.append([name, f"{cells}×{cells}", f"{found.stride[0]:g} px", f"{found.start[0]:g} px", f"{off:.1f} px"])
    return markdown(rows)


def alignment() -> str:
    """Localisation of feature maps that are drawn where their cells look, and evenly over the image."""
    even, true = table("grid/localisation"), table("localisation")
    columns = {"top-k precision": "topk_precision", "pixel AUPRC": "pixel_auprc", "pointing game": "pointing_game"}
    rows = [["data set", "method", *(f"{name}: even, true" for name in columns)]]
    for dataset in _datasets(true):
        for method in ("SoftCAM, dense", "SoftCAM, sparse", "Grad-CAM", "Saliency"):
            own = dataset, *METHODS[method]
            pairs = [f"{_value(even, *own, one)}, {_value(true, *own, one)}" for one in columns.values()]
            rows.append([dataset, method, *pairs])
    return markdown(rows)


def readout() -> str:
    """Top-k precision by the rule that reads a patch."""
    found, rules = table("operators"), ["@point", "@resize", "@sum", "@max", ""]
    rows = [["data set", "method", "point", "resize", "signed sum", "maximum", "mean of the positive part"]]
    for dataset in _datasets(found):
        for method in ("SoftCAM, dense", "Grad-CAM", "Saliency", "Integrated Gradients"):
            values = [_value(found, dataset, *METHODS[method], f"topk_precision{rule}") for rule in rules]
            rows.append([dataset, method, *values])
    return markdown(rows)


def areas() -> str:
    """AUDC under three estimands, with the number of images of each."""
    found, columns = table("estimands"), ["all images", "curve", "right"]
    found = found[found["metric"].str.startswith("audc@zero")]
    rows = [
        ["data set", "method", "mean ratio, all images", "ratio of mean curves", "mean ratio, images it gets right"]
    ]
    for dataset in _datasets(found):
        for method in ("SoftCAM, dense", "Grad-CAM", "random map (floor)", "mask (ceiling)"):
            values = []
            for column in columns:
                count = _cell(found, dataset, *METHODS[method], f"{column}_n")
                values.append(f"{_value(found, dataset, *METHODS[method], column)} (n = {count:g})")
            rows.append([dataset, method, *values])
    return markdown(rows)


def sparse() -> str:
    """Share of near-zero evidence by head, and the weights that were searched."""
    found = table("sparsity")
    rows = [["data set", "head", "λ₁", "near-zero evidence", "times dense"]]
    for row in found.to_dict("records"):
        weight = str(row["lambda"]).removeprefix("l1 ")
        rows.append(
            [row["dataset"], row["head"], weight, number(row["near_zero_mean"]), number(row["times_dense_mean"])]
        )
    return markdown(rows)


def control() -> str:
    """Sparse against dense heads, and against dense heads that were trained as long."""
    classification, localisation = table("control/classification"), table("control/localisation")
    heads = {
        "dense": "softcam-dense",
        "dense, trained once more": "softcam-dense@start=dense",
        "sparse": "softcam-sparse",
    }
    columns = {
        "activation precision": "activation_precision",
        "top-k precision": "topk_precision",
        "pixel AUPRC": "pixel_auprc",
    }
    rows = [["data set", "head", "test AUC", *columns]]
    for dataset in _datasets(localisation):
        for name, head in heads.items():
            values = [_value(localisation, dataset, "softcam", head, column) for column in columns.values()]
            rows.append([dataset, name, _value(classification, dataset, "", head, "auc"), *values])
    return markdown(rows)


BLOCKS: dict[str, Callable[[], str]] = {
    one.__name__: one for one in (scores, glance, verdicts, geometry, alignment, readout, areas, sparse, control)
}


def _datasets(rows: pd.DataFrame) -> list[str]:
    return [one for one in rows["dataset"].drop_duplicates() if one.endswith("-phantom")]


def _value(rows: pd.DataFrame, dataset: str, explainer: str, head: str, column: str) -> str:
    return number(_cell(rows, dataset, explainer, head, f"{column}_mean"))


def _cell(rows: pd.DataFrame, dataset: str, explainer: str, head: str, column: str) -> float:
    """Returns the only entry of a method in a column; nan if it has none."""
    own = rows[(rows["dataset"] == dataset) & (rows["head"] == head)]
    if "explainer" in own:
        own = own[own["explainer"] == explainer]
    return float(own[column].item()) if len(own) else float("nan")


def number(value: float) -> str:
    """Returns three decimals with a minus sign; a dash for nan."""
    return "–" if pd.isna(value) else f"{value:.3f}".replace("-", "−")


def markdown(rows: list[list[str]]) -> str:
    """Returns a table, whose first row is its header."""
    header, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|---" * len(rows[0]) + "|", *rest])


if __name__ == "__main__":
    main()
