"""Small files in the layouts of HEI-MED, CODRAS and the COVID-19 chest radiographs."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.datasets.fundus import disc, photograph, save, table

#: Photographs 2 and 3, and 4 and 5, are of one person each.
SAME_PERSON = (2, 4)
STRUCTURE = "#,Template Name,Filename,Mask,Resolution,Top,Left,Width,Height"
FACTS = "patientid,filename,license"
GROUND_GLASS, CONSOLIDATION = "Ground Glass Opacities", "Consolidation"


def write_map(file: Path, lesion: np.ndarray) -> None:
    """The number of a lesion per pixel, after a mark, the columns and the rows."""
    rows, columns = lesion.shape
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(np.concatenate([[-43, columns, rows], lesion.ravel()]).astype("<i4").tobytes()))


def lesion_hei() -> np.ndarray:
    """(40,60): wide, low, left of and above the centre, so that a mirrored or transposed map is another one."""
    lesion = np.zeros((40, 60), dtype=np.int32)
    lesion[10:14, 20:28] = 7
    return lesion


def make_hei(root: Path, count: int = 36) -> None:
    """Photographs of 40×60 pixels; odd ones have a lesion."""
    folder = root / "DMED"
    for number in range(count):
        stem = folder / f"({number:08}).jpg"
        save(stem, photograph(disc(40, 60, 20, 30, 18), (90 + 4 * number, 60, 40)))
        write_map(stem.with_suffix(".map.gz"), lesion_hei() * (number % 2))
        names = ["Exudate 1"] * (number % 2)
        first = ["GNDVERSION2.0 (INCLUDES NOTES AT THE END OF THE FILE)"] * (number % 4 == 0)
        table(stem.with_suffix(".GND"), *first, str(len(names)), *names, "0", "0")
        person = number - 1 if number - 1 in SAME_PERSON else number
        facts = (f"~ImageName:~{stem.name}", f"~PatientDOB~1/{1 + person % 28}/{1950 + person}", "~PatientGender~F")
        stem.with_suffix(".meta").write_bytes("\r\n".join((*facts, "~PatientRace~UNKNOWN", "")).encode())
        save(stem.with_name(f"{stem.stem}_vess.png"), np.zeros((40, 60), dtype=np.uint8))


def make_codras(root: Path, count: int = 36) -> None:
    """Photographs of 40×60 pixels; odd ones have a box of a lesion, all have one of the optic disc."""
    for number in range(1, count + 1):
        file = root / f"images/{number:04}.jpg"
        save(file, photograph(disc(40, 60, 20, 30, 18), (90 + 4 * number, 60, 40)))
        lesion = [f"{1 + number % 4 // 2} 0.4 0.3 0.1 0.2"] * (number % 2)
        table(file.with_suffix(".txt"), "0 0.6 0.6 0.1 0.1", *lesion)
    table(root / "retinal.names", "optic_disc", "hard_exudates", "haemorrhage")


def outline(root: Path, number: int, finding: str, box: tuple[int, int, int, int]) -> str:
    """Writes the mask file of a finding, which covers its box of an image of 60×50 pixels -> row of the table."""
    left, top, width, height = box
    mask = np.zeros((height, width, 4), dtype=np.uint8)
    mask[..., 3] = 255
    mask[1:, :, 0] = 200  # all but the first row
    name = f"masks/{number}_{finding[:3]}.png"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(root / name)
    return f"{number},{finding},x{number}.png,{name},60x50,{top},{left},{width},{height}"


def make_covid(root: Path, count: int = 40) -> None:
    """Radiographs of 60×50 pixels of 20 patients: ground glass unless the number modulo 5 is 0, consolidation if even.

    Every fourth row states no licence.
    """
    rows, facts = [STRUCTURE], [FACTS]
    noise = np.random.default_rng(0)
    for number in range(count):
        save(root / f"images/x{number}.png", noise.integers(0, 255, (50, 60), dtype=np.uint8))
        rows.append(f"{number},Right Lung,x{number}.png,masks/none.png,60x50,0,0,30,50")
        if number % 5:
            rows.append(outline(root, number, GROUND_GLASS, (10, 20, 12, 6)))
        if number % 2 == 0:
            rows.append(outline(root, number, CONSOLIDATION, (40, 5, 8, 10)))
        facts.append(f"{number // 2},x{number}.png,{'CC BY-NC-SA' if number % 4 else ''}")
    table(root / "structure.csv", *rows)
    table(root / "metadata.csv", *facts)
