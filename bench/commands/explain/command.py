"""The command ``explain``: what people first want to see, one image with all maps, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.commands.explain.maps import explain
from bench.commands.explain.picture import picture
from bench.commands.export.command import find_cell, read_cell
from bench.errors import UserError
from bench.report.figures.style import write_png
from bench.store.manifest import Manifest


def explain_image(
    image: Path, folder: Path, target: str | None, explainers: Sequence[str] | None, out: Path | None
) -> list[str]:
    """Writes a PNG of an image with all its maps.

    Args:
        image: the image file.
        folder: folder of the cell, inside a run folder.
        target: explained class by name or index; None = the predicted one.
        explainers: names; None = those of the run without controls.
        out: PNG file to write; None for ``explain/<data set>/<cell>/<image>.png`` in the run folder.

    Returns:
        Lines for the user: the prediction and the file, explainers without a map, and what was not done to the image.

    Raises:
        UserError: the folder is not a finished cell, the image cannot be read, or the file cannot be written.
    """
    if out is not None and out.suffix != ".png":
        raise UserError(f"--out {out}: the picture is a PNG file; give a name that ends with .png")
    run, key = find_cell(folder.resolve())
    cell = read_cell(run, key)
    file = out or run.folder / "explain" / folder.resolve().parent.name / folder.resolve().name / f"{image.stem}.png"
    files = Manifest(file.parent)
    files.require(file.name)
    explained = explain(image, cell, key, target, explainers)
    with files.replacing(file.name) as temporary:
        write_png(picture(explained), temporary)
    lines = [f"{', '.join(explained.title)}: {len(explained.maps)} maps in {file}", *explained.lines]
    if about := cell.frames.record.datasets[key.dataset].preprocessing:
        lines.append(f"not done to this image: {about}")
    return lines
