"""Pixels of which nobody can say whether they are lesion: out of every localisation score, from metric to run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from bench import metrics
from bench.contracts import Sample
from bench.data.prepare import facts, prepare
from bench.maps import upsample
from bench.metrics import patch_at, stride_at
from bench.registry import DATASETS
from bench.run.plan import make_plan
from bench.run.runner import RunOptions, run
from bench.store.folders import RunStore
from tests.bench.metrics.test_localisation import PIXELWISE, random_maps, random_masks
from tests.oracles import localisation as oracle
from tests.support.datasets.fundus import disc, load, photograph, save, table
from tests.support.made import SIZE, register_squares, registered_squares, squares, tiny_config


def random_regions(n: int = 6, height: int = 9, width: int = 11, share: float = 0.3) -> tuple[torch.Tensor, ...]:
    """Masks and ignored pixels: none, all but the lesion, all, and all of the lesion are among them."""
    masks, ignored = random_masks(n, height, width, share), random_masks(n, height, width, 0.25, seed=7)
    ignored[1] = False
    ignored[2] = ~masks[2]
    ignored[3] = True
    ignored[4] |= masks[4]
    return masks, ignored


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.equal(ours.isnan(), theirs.isnan()) and torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1))


@pytest.mark.parametrize("name", PIXELWISE)
@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("shift", [0, 5])
def test_pixelwise_metrics_are_the_oracle(name: str, levels: int, shift: float) -> None:
    """Shifted, all evidence is positive, so that the minimum of the pixels that count is not 0."""
    maps, (masks, ignored) = random_maps(levels=levels) + shift, random_regions()
    expected = [
        getattr(oracle, name)(*(part.numpy() for part in one)) for one in zip(maps, masks, ignored, strict=True)
    ]
    ours = getattr(metrics, name)(maps, masks, ignored)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert np.isnan(expected).sum() == (3 if name == "pixel_auroc" else 2)


@pytest.mark.parametrize("name", PIXELWISE)
def test_ignoring_a_border_is_cropping_it(name: str) -> None:
    """Truth without any definition of ours: the image could have been taken without these pixels."""
    maps, masks = random_maps(), random_masks()
    ignored = torch.zeros_like(masks)
    ignored[:, :, 7:] = ignored[:, :2] = True
    expected = getattr(metrics, name)(maps[:, 2:, :7], masks[:, 2:, :7])
    torch.testing.assert_close(getattr(metrics, name)(maps, masks, ignored), expected)


@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize(("patch", "stride", "threshold"), [(5, 2, 0.0), (4, 1, 0.3), (6, 6, -10.0)])
def test_topk_hits_and_their_chance_are_the_oracle(patch: int, stride: int, threshold: float, levels: int) -> None:
    maps, masks = random_maps(5, 30, 23, levels), random_masks(5, 30, 23, 0.01)
    ignored = random_masks(5, 30, 23, 0.004, seed=9)
    ignored[0] = False
    ignored[1, 5:15, 3:20] = True
    ours = metrics.topk_patch_hits(maps, masks, 12, patch, stride, threshold, ignored)
    chance = metrics.random_patch_hit_rate(masks, patch, stride, ignored)
    for image, mask, unknown, hits, rate in zip(maps.numpy(), masks, ignored, ours, chance, strict=True):
        regions = mask.numpy(), unknown.numpy()
        expected = oracle.topk_patch_hits(image, regions[0], 12, patch, stride, threshold, regions[1])
        np.testing.assert_array_equal(hits, expected)
        assert rate.item() == pytest.approx(oracle.random_patch_hit_rate(regions[0], patch, stride, regions[1]))
    assert not same(ours, metrics.topk_patch_hits(maps, masks, 12, patch, stride, threshold))


def test_patches_that_only_ignored_pixels_could_decide_do_not_exist() -> None:
    """Four patches in a row: unknown, lesion and unknown, healthy, lesion."""
    maps = torch.zeros(1, 4, 16)
    masks, ignored = torch.zeros(2, 1, 4, 16, dtype=torch.bool)
    for patch, height in enumerate((9.0, 1.0, 3.0, 2.0)):
        maps[0, :, 4 * patch : 4 * patch + 4] = height
    ignored[0, 0, 0] = ignored[0, 0, 4] = masks[0, 3, 7] = masks[0, 1, 14] = True
    hits = metrics.topk_patch_hits(maps, masks, k=5, patch=4, stride=4, ignored=ignored)
    assert hits.nan_to_num(-1).tolist() == [[0, 1, 1, -1, -1]]
    assert metrics.topk_precision(hits).item() == pytest.approx(2 / 3)
    assert metrics.random_patch_hit_rate(masks, 4, 4, ignored).item() == pytest.approx(2 / 3)
    known = metrics.topk_patch_hits(maps, masks, k=5, patch=4, stride=4)
    assert known.nan_to_num(-1).tolist() == [[0, 0, 1, 1, -1]]
    assert metrics.random_patch_hit_rate(masks, 4, 4).item() == 0.5


def test_evidence_on_ignored_pixels_is_neither_right_nor_wrong() -> None:
    maps = torch.tensor([[[4.0, 2.0, 9.0], [-8.0, 0.0, -9.0]]])
    masks = torch.tensor([[[True, False, False], [True, False, False]]])
    ignored = torch.tensor([[[False, False, True], [False, False, True]]])
    assert metrics.activation_precision(maps, masks, ignored).item() == pytest.approx(4 / 6)
    assert metrics.activation_precision(maps, masks).item() == pytest.approx(4 / 15)
    assert metrics.activation_sensitivity(maps, masks, ignored).item() == pytest.approx(0.5)
    assert metrics.pointing_game(maps, masks, ignored).item() == 1
    assert metrics.pointing_game(maps, masks).item() == 0
    assert metrics.iou_at_area(maps, masks, ignored).item() == pytest.approx(1 / 3)


def test_values_of_ignored_pixels_change_no_score() -> None:
    maps, (masks, ignored) = random_maps(6, 30, 23), random_regions(6, 30, 23, 0.02)
    for seed, scale in ((11, 1), (12, 1000)):
        other = torch.where(ignored, scale * random_maps(6, 30, 23, seed=seed), maps)
        for name in PIXELWISE:
            metric = getattr(metrics, name)
            assert same(metric(maps, masks, ignored), metric(other, masks, ignored))
        hits = [metrics.topk_patch_hits(one, masks, 8, 5, 2, ignored=ignored) for one in (maps, other)]
        assert same(*hits)


@pytest.mark.parametrize("name", PIXELWISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("levels", [0, 3])
def test_nothing_ignored_changes_no_bit(name: str, dtype: torch.dtype, levels: int) -> None:
    maps, masks = (10 * random_maps(levels=levels)).to(dtype), random_masks()
    masks[1] = False
    metric = getattr(metrics, name)
    without = metric(maps, masks)
    assert same(metric(maps, masks, None), without)
    assert same(metric(maps, masks, torch.zeros_like(masks)), without)
    mixed = torch.zeros_like(masks)
    mixed[0] = True  # another image's
    assert same(metric(maps, masks, mixed)[1:], without[1:])


def test_nothing_ignored_changes_no_patch() -> None:
    maps, masks = random_maps(5, 30, 23).float(), random_masks(5, 30, 23, 0.01)
    nothing = torch.zeros_like(masks)
    plain = metrics.topk_patch_hits(maps, masks, 12, 5, 2)
    assert same(metrics.topk_patch_hits(maps, masks, 12, 5, 2, ignored=nothing), plain)
    contains = torch.nn.functional.max_pool2d(masks[:, None].float(), 5, 2)[:, 0]
    for ignored in (None, nothing):
        assert same(metrics.random_patch_hit_rate(masks, 5, 2, ignored), contains.mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("maps", "ignored", "words"),
    [
        (torch.rand(2, 8, 8), torch.zeros(2, 8, 8), "ignored must be bool"),
        (torch.rand(2, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool), r"not torch.bool \(1, 8, 8\)"),
        (torch.rand(2, 4, 4), torch.zeros(2, 8, 8, dtype=torch.bool), r"must both be \(N,H,W\)"),
    ],
)
def test_regions_that_would_broadcast_are_refused(maps: torch.Tensor, ignored: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.topk_patch_hits(maps, torch.ones(2, 8, 8, dtype=torch.bool), patch=2, stride=1, ignored=ignored)


# --- Facts of a data set ---------------------------------------------------------------------------------------------


def with_ignored(root: Path, split: str) -> list[Sample]:
    """The squares, of which some have ignored columns where they hold no lesion."""
    samples = []
    for index, sample in enumerate(squares(root, split)):
        ignored = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        ignored[:, : 5 * (index % 4)] = True
        samples.append(
            Sample(sample.image, sample.label, sample.mask, sample.id, sample.group, None, ignored & ~sample.mask)
        )
    return samples


def only_healthy_annotated(root: Path, split: str) -> list[Sample]:
    """The squares, of which nobody has outlined the lesions."""
    return [Sample(s.image, s.label, None if s.label else s.mask, s.id, s.group) for s in squares(root, split)]


@pytest.fixture
def made_sets():
    """Both data sets under their function's names."""
    with registered_squares():
        for builder in (with_ignored, only_healthy_annotated):
            register_squares(builder.__name__)
            info = DATASETS[builder.__name__]
            DATASETS.remove(builder.__name__)
            DATASETS.add(builder.__name__, type(info)(**(vars(info) | {"builder": builder})))
        yield


@pytest.mark.usefixtures("made_sets")
def test_chance_levels_leave_ignored_pixels_out(tmp_path: Path) -> None:
    for name in ("squares", "with_ignored"):
        prepared = prepare(DATASETS[name], tiny_config(datasets=[name]), tmp_path, tmp_path)
        split = prepared.explain
        shares, rates = [], []
        for at in prepared.explained.indices[prepared.explained.diseased]:
            ignored = np.zeros((SIZE, SIZE), bool) if split.ignored is None else split.ignored[at]
            shares.append(split.masks[at].sum() / (~ignored).sum())
            rates.append(oracle.random_patch_hit_rate(split.masks[at], patch_at(SIZE), stride_at(SIZE), ignored))
        found = facts(prepared, SIZE)
        assert found.prevalence == pytest.approx(np.mean(shares))
        assert found.topk_chance == pytest.approx(np.mean(rates))
        assert (split.ignored is None) == (name == "squares")


@pytest.mark.usefixtures("made_sets")
def test_masks_of_healthy_images_alone_give_no_chance_level_and_a_reason(tmp_path: Path) -> None:
    name = "only_healthy_annotated"
    config = tiny_config(datasets=[name], heads=["blackbox"], explainers=["random"])
    prepared = prepare(DATASETS[name], config, tmp_path, tmp_path)
    assert prepared.explain.masks is not None
    found = facts(prepared, SIZE)
    assert (found.prevalence, found.topk_chance) == (None, None)
    run(
        config,
        make_plan(config, tmp_path),
        RunOptions(tmp_path, tmp_path / "run", torch.device("cpu")),
        Console(quiet=True),
        [],
    )
    store = RunStore(tmp_path / "run")
    assert "NaN" not in (tmp_path / "run/run.json").read_text()
    (key,) = store.record.cells
    assert store.cell(key).record.metrics_skipped["topk_precision"] == "no masks of diseased images"
    assert "pixel_auroc" not in set(pd.read_parquet(store.cell(key).scores_file("random"))["metric"])


# --- From the files of Retinal-Lesions to the scores of a run --------------------------------------------------------

RELEASE = "retinal-lesions/retinal-lesions-v20191227"
SIDE = 48


def blot(row: int, column: int, value: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[row : row + 6, column : column + 6] = value
    return mask


@pytest.fixture
def fundus(tmp_path: Path) -> Path:
    """Forty patients, every other one ill; each ill one with a lesion and an excluded one that overlaps it or not."""
    lines = ["image,level"]
    for patient in range(40):
        pixels = photograph(disc(SIDE, SIDE, 24, 24, 24), (120 + 3 * patient, 90, 40))
        lines.append(f"{patient}_left,{2 * (patient % 2)}")
        save(tmp_path / f"eyepacs/train/{patient}_left.jpeg", pixels)
        if patient % 2:
            save(tmp_path / RELEASE / f"images_896x896/{patient}_left.jpg", pixels)
            folder = tmp_path / RELEASE / f"lesion_segs_896x896/{patient}_left"
            save(folder / "microaneurysm.png", blot(20, 14, 255))
            save(folder / "neovascularization.png", blot(16 + patient % 10, 18 + patient % 8, 127))
    table(tmp_path / "eyepacs/trainLabels.csv", *lines)
    return tmp_path


@pytest.mark.slow
def test_scores_of_a_run_leave_the_excluded_pixels_out(fundus: Path) -> None:
    config = tiny_config(datasets=["fundus"], heads=["blackbox"], explainers=["random", "mask_oracle"])
    config = config.model_copy(update={"data": config.data.model_copy(update={"size": SIDE})})
    out = fundus / "run"
    options = RunOptions(fundus, out, torch.device("cpu"), save_maps=True)
    assert run(config, make_plan(config, fundus), options, Console(quiet=True), []).problems == []
    split, store = load(fundus, size=SIDE)["test"], RunStore(out)
    cell = store.cell(store.record.cells[0])
    geometry = cell.record.geometry
    rows = pd.read_parquet(cell.scores_file("random"))
    rows = rows[rows["diseased"] & rows["metric"].isin([*PIXELWISE, "topk_precision"]) & (rows["variant"] == "")]
    assert rows["image"].nunique() >= 3
    with np.load(cell.maps_file("random")) as maps:
        for row in rows.itertuples():
            at = split.ids.index(row.image)
            image = upsample(torch.from_numpy(maps[row.image])[None], SIDE, geometry)[0].double().numpy()
            assert split.ignored[at].sum() >= 12
            assert row.value == pytest.approx(expected(row.metric, image, split.masks[at], split.ignored[at]), abs=1e-5)
    oracle_rows = pd.read_parquet(cell.scores_file("mask_oracle"))
    assert oracle_rows[oracle_rows["metric"].isin(PIXELWISE)]["value"].dropna().eq(1).all()
    assert json.loads((out / "run.json").read_text())["datasets"]["fundus"]["prevalence"] > 36 / SIDE**2


def expected(name: str, image: np.ndarray, mask: np.ndarray, ignored: np.ndarray) -> float:
    if name in PIXELWISE:
        return getattr(oracle, name)(image, mask, ignored)
    return float(np.nanmean(oracle.topk_patch_hits(image, mask, 30, patch_at(SIDE), stride_at(SIDE), ignored=ignored)))
