"""Content of the gallery: the images that the run kept, and each method's raw maps as colours over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.outputs import outputs_of
from bench.plain.interpolation import drawn, drawn_by
from bench.report.figures.looks import Method
from bench.report.frames.load import Frames
from bench.specs import parse_spec
from bench.statistics.bootstrap.names import one_of
from bench.statistics.intervals import Floats
from bench.store.cell_facts import GeometryFacts
from bench.store.folders import CellStore
from bench.store.maps import read_arrays
from bench.text.media import figure_text, visible

SIGNED, UNSIGNED = "RdBu_r", "Purples"  # both white at 0, so that no evidence leaves the image as it is
SCALE = 0.995
_NOT_FINITE = 0.8  # grey
_MOST_PIXELS = 160  # a side of a tile; more is invisible at its printed size


@dataclass(frozen=True)
class Images:
    """The kept images of a data set.

    Attributes:
        images: (N,3,H,W) in [0, 1]. masks: (N,H,W) bool, lesions. tags: (N,H,W) bool, planted shortcuts.
        labels: (N,) class. ids: N names.
    """

    images: Floats
    masks: NDArray[np.bool_]
    tags: NDArray[np.bool_]
    labels: NDArray[np.int64]
    ids: list[str]

    @property
    def thinning(self) -> int:
        """Step between the pixels that a tile shows."""
        return int(-(-max(self.images.shape[2:]) // _MOST_PIXELS))

    @property
    def tiles(self) -> Floats:
        """The images themselves as tiles (N,H',W',3)."""
        return self.images.transpose(0, 2, 3, 1)[:, :: self.thinning, :: self.thinning]

    def take(self, order: NDArray[np.int64]) -> Images:
        """Returns the images at these positions, in this order."""
        names = [self.ids[at] for at in order]
        return Images(self.images[order], self.masks[order], self.tags[order], self.labels[order], names)


def load_images(frames: Frames, dataset: str) -> Images | None:
    """Loads the kept images of a data set; None if there are none."""
    kept = frames.store.files.read(frames.store.images_file(dataset), read_arrays)
    if kept is None:
        return None
    masks = kept["masks"]
    tags = kept.get("tags", np.zeros_like(masks))  # a run of before there were any
    images = Images(kept["images"] / 255.0, masks, tags, kept["labels"], kept["ids"].tolist())
    return images if len(images.ids) else None


@dataclass(frozen=True)
class Maps:
    """Raw maps (h,w) of the kept images, and the geometry that draws them; None = evenly over the image."""

    maps: list[Floats]
    geometry: GeometryFacts | None


def load_maps(frames: Frames, dataset: str, method: Method, count: int) -> Maps | None:
    """Loads the raw maps of the kept images by the first seed that has them; None if no seed has all ``count``."""
    for cell in cells_of(frames, dataset, method.head):
        kept = cell.files.read(cell.gallery_file(method.explainer), read_arrays) or {}
        if len(kept) == count:
            return Maps([kept[f"arr_{index}"] for index in range(count)], geometry_of(frames, cell, method))
    return None


def geometry_of(frames: Frames, cell: CellStore, method: Method) -> GeometryFacts | None:
    """Returns the geometry that draws a method's maps of a cell; None = evenly over the image."""
    record = cell.record
    return drawn_by(frames.record.explainers[method.explainer].grid, record.geometry, record.align)


def cells_of(frames: Frames, dataset: str, head: str) -> Iterator[CellStore]:
    """Yields the finished cells of a head, one per seed; with cross-validation their first folds, which it shows."""
    cells = frames.cells
    for row in cells[(cells["dataset"] == dataset) & (cells["head"] == head) & (cells["status"] == "ok")].itertuples():
        yield frames.cell(row).first


def overlay(native: Floats, image: Floats, signed: bool, geometry: GeometryFacts | None = None) -> Floats:
    """Paints one raw map (h,w) over its image (``overlays``). Colours of different maps must not be compared."""
    painted: Floats = overlays(native[None], image, signed, geometry)[0]
    return painted


def overlays(
    natives: Floats, image: Floats, signed: bool, geometry: GeometryFacts | None = None, thinning: int = 1
) -> Floats:
    """Paints raw maps of one image as colours that tint a lightened grey version of it, all on one scale.

    The scale ends at the ``SCALE`` quantile of the maps' own absolute values, because a few extreme pixels would leave
    a gradient map blank; so only colours of these maps may be compared. Signed maps are blue below 0, red above; of
    unsigned ones the values below 0 (bicubic overshoots) are cut.

    Args:
        natives: (n,h,w) raw maps.
        image: (3,H,W) in [0, 1].
        signed: True for maps with a sign.
        geometry: draws the maps; None = evenly over the image.
        thinning: step between the painted pixels; all of them decide on the scale.

    Returns:
        (n,H',W',3) in [0, 1]; a map that is not finite is uniformly grey and has no part in the scale.
    """
    height, width = image.shape[1:]
    grey = image[:, ::thinning, ::thinning].mean(axis=0)
    painted = np.full((len(natives), *grey.shape, 3), _NOT_FINITE)
    is_finite = np.isfinite(natives).all(axis=(1, 2))
    if not is_finite.any():
        return painted
    values = drawn(natives[is_finite].astype(float), (height, width), geometry)
    scale = np.quantile(np.abs(values), SCALE) or np.abs(values).max() or 1.0  # a map may be 0 nearly everywhere
    values = (values[:, ::thinning, ::thinning] / scale).clip(-1, 1)
    position = (values + 1) / 2 if signed else values.clip(0)
    colours = matplotlib.colormaps[SIGNED if signed else UNSIGNED](position)[..., :3]
    painted[is_finite] = colours * (0.5 + 0.5 * grey[..., None])
    return painted


def tiles(frames: Frames, dataset: str, images: Images, methods: list[Method]) -> dict[Method, Floats]:
    """Returns method -> overlays (N,H',W',3), thinned; methods without maps of exactly these images are left out."""
    thin = images.thinning
    found: dict[Method, Floats] = {}
    for method in methods:
        kept = load_maps(frames, dataset, method, len(images.ids))
        if kept is not None:
            pairs = zip(kept.maps, images.images, strict=True)
            painted = [overlays(one[None], image, method.signed, kept.geometry, thin) for one, image in pairs]
            found[method] = np.concatenate(painted)
    return found


def short_name(image: str, dataset: str, label: str = "") -> str:
    """Returns an image id without the leading name of the data set or of its class, because a row has little room."""
    return visible(image.removeprefix(f"{parse_spec(dataset).base}-").removeprefix(f"{label}/"))


def row_names(frames: Frames, dataset: str, images: Images, head: str, targets: pd.Series) -> list[list[str]]:
    """Returns for each image its id, its class and, for a test image, the head's probability of the explained class.

    Args:
        frames: the run.
        dataset: name.
        images: the kept images.
        head: whose probability is shown.
        targets: explained class, by image id.
    """
    facts = frames.record.datasets[dataset]
    classes, outputs = facts.classes, outputs_of(facts)
    of_pair = [name.rpartition(" [")[0] if facts.multilabel else name for name in images.ids]  # image and finding
    known = frames.predictions.where(dataset=[dataset], head=[head]).rows()
    known = known[one_of(known["image"], of_pair)].astype({"image": str}).drop_duplicates("image").set_index("image")
    logits = known.filter(like="logit_").iloc[:, : len(classes)]
    names = []
    for name, image, index in zip(images.ids, of_pair, images.labels, strict=True):
        label = facts.label_name(index)
        lines = [short_name(image, dataset, label), *([] if facts.regression else [figure_text(label)])]
        if image in logits.index and name in targets.index:
            target = int(targets[name])
            value = outputs.probabilities(logits.loc[[image]].to_numpy(dtype=float))[0, target]
            output = figure_text(classes[target])
            lines.append(f"{output} = {value:.3g}" if outputs.relative else f"p({output}) = {value:.2f}")
        names.append(lines)
    return names
