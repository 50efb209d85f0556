"""The occlusion engine and what is read from its curves, against loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench import metrics
from tests.oracles import faithfulness as oracle

N, H, W, PATCH = 5, 14, 18, 4  # a grid of 4 × 5 patches, those at the bottom and right smaller
WEIGHTS = torch.randn(3, 3 * H * W, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 0.2


def predict(images):
    """Three classes, not linear in the pixels."""
    return torch.tanh(images.double()).flatten(1) @ WEIGHTS.T


def predict_one(image):
    return [float(row @ np.tanh(image).ravel()) for row in WEIGHTS.numpy()]


def scene(seed=0):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(N, 3, H, W, generator=source, dtype=torch.float64)
    maps = torch.randn(N, H, W, generator=source, dtype=torch.float64)
    return images, maps, torch.tensor([0, 1, 2, 1, 0])


def expected_predictions(images, target):
    """Probability of the target on each of these images."""
    return [oracle.softmax(predict_one(image))[target] for image in images]


def left_half():
    fov = torch.zeros(N, H, W, dtype=torch.bool)
    fov[:, 2:, :9] = True
    return fov


def expected_curves(images, maps, targets, steps, filled, fov=None, **options):
    fovs = [None] * N if fov is None else fov.numpy()
    rows = zip(images.numpy(), maps.numpy(), targets.tolist(), filled.numpy(), fovs, strict=True)
    return [oracle.curve(predict_one, x, m, t, steps, PATCH, f, v, **options) for x, m, t, f, v in rows]


@pytest.mark.parametrize("steps", [6, 26])
@pytest.mark.parametrize("fov", [None, left_half()])
@pytest.mark.parametrize("mode", ["deletion", "reverse", "insertion"])
def test_curves_are_the_oracle(mode, fov, steps):
    images, maps, targets = scene()
    fill = torch.randn(images.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    options = {"steps": steps, "patch": PATCH, "fill": fill, "fov": fov, "batch_size": 7}
    oracle_options = {"reveal": mode == "insertion", "least_first": mode == "reverse"}
    if mode == "insertion":
        ours = metrics.insertion_curve(predict, images, maps, targets, **options)
    else:
        ours = metrics.deletion_curve(predict, images, maps, targets, **options, least_first=mode == "reverse")
    filled = fill if fov is None else torch.where(fov.unsqueeze(1), fill, images)
    expected = expected_curves(images, maps, targets, steps, filled, fov, **oracle_options)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("fill", ["zero", "black", "blur"])
def test_fills(fill):
    images, _, _ = scene()
    black = torch.tensor([-1.0, -2.0, -3.0])
    filled = metrics.fill_images(images, fill, PATCH, black)
    assert filled.shape == images.shape
    if fill == "blur":
        expected = np.array([[oracle.blur(c, PATCH / 2, PATCH) for c in image] for image in images.numpy()])
        np.testing.assert_allclose(filled, expected, atol=1e-6)
    else:
        values = {"zero": [0, 0, 0], "black": [-1, -2, -3]}[fill]
        assert filled.amin(dim=(0, 2, 3)).tolist() == filled.amax(dim=(0, 2, 3)).tolist() == values


@pytest.mark.parametrize("fill", ["zero", "black", "blur", torch.full((3, 1, 1), 7.0)])
def test_outside_the_field_of_view_nothing_is_filled_and_nothing_is_read(fill):
    images, _, _ = scene()
    fov = left_half()
    dark = torch.where(fov.unsqueeze(1), images, torch.full_like(images, -50.0))
    filled = metrics.fill_images(images, fill, PATCH, torch.ones(3), fov)
    other = metrics.fill_images(dark, fill, PATCH, torch.ones(3), fov)
    outside = ~fov.unsqueeze(1).expand_as(images)
    assert torch.equal(filled[outside], images[outside])
    torch.testing.assert_close(filled[~outside], other[~outside])
    if isinstance(fill, str) and fill == "blur":
        flat = metrics.fill_images(torch.where(fov.unsqueeze(1), 3.0, images), fill, PATCH, None, fov)
        torch.testing.assert_close(flat[~outside], torch.full_like(flat[~outside], 3.0))


def test_blur_of_an_image_smaller_than_the_patch():
    assert metrics.fill_images(torch.rand(1, 3, 5, 6), "blur", 33).shape == (1, 3, 5, 6)


def test_fills_that_cannot_be():
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="no fixed fill 'noise'; known: zero, black, blur"):
        metrics.fill_images(images, "noise", 4)
    with pytest.raises(ValueError, match="-mean / std"):
        metrics.fill_images(images, "black", 4)


def test_closed_form_deletion():
    """Four patches of ones, logits (0, patches left − 2): after k patches p = sigmoid(2 − k)."""
    images, targets = torch.ones(1, 3, 4, 16), torch.tensor([1])
    maps = torch.arange(4.0).repeat_interleave(4).expand(1, 4, 16)

    def predict_sum(x):
        return torch.stack([torch.zeros(len(x)), x.sum(dim=(1, 2, 3)) / 48 - 2], dim=1)

    curve = metrics.deletion_curve(predict_sum, images, maps, targets, steps=6, patch=4)
    expected = [1 / (1 + math.exp(-(left - 2))) for left in (4, 3, 2, 1, 0, 0, 0)]
    assert curve[0].tolist() == pytest.approx(expected)
    insertion = metrics.insertion_curve(predict_sum, images, maps, targets, steps=4, patch=4)
    assert insertion[0].tolist() == pytest.approx(expected[4::-1])


def test_the_target_is_followed_and_not_the_top_class():
    """Trap 10."""
    images, maps, _ = scene()
    targets = predict(images).argmin(dim=1)
    curve = metrics.deletion_curve(predict, images, maps, targets, steps=3, patch=PATCH)
    intact = predict(images).softmax(dim=1)
    assert torch.allclose(curve[:, 0].double(), intact.amin(dim=1))
    assert (curve[:, 0] < intact.amax(dim=1)).all()


def test_the_best_patch_goes_first_by_row_and_column():
    """Trap 10: x and y are not exchanged."""
    maps = torch.zeros(1, 8, 12)
    maps[0, 1, 8:] = 5.0
    maps[0, 4:, :4] = 1.0
    assert metrics.patch_order(maps, 4)[0, :2].tolist() == [2, 3]
    assert metrics.patch_order(maps, 4, least_first=True)[0, -2:].tolist() == [3, 2]


def test_ties_are_broken_at_random_by_the_id_alone():
    maps = torch.zeros(40, 12, 12)
    ids = [f"image {i}" for i in range(40)]
    order = metrics.patch_order(maps, 4, ids)
    assert order.sort(dim=1).values.tolist() == [list(range(9))] * 40
    assert len({tuple(row) for row in order.tolist()}) == 40
    assert set(order[:, 0].tolist()) == set(range(9))  # not in raster order
    assert torch.equal(order.flip(0), metrics.patch_order(maps, 4, ids[::-1]))
    assert torch.equal(order[7:8], metrics.patch_order(maps[7:8], 4, ids[7:8]))


def test_without_ids_the_batch_does_not_matter():
    maps = torch.zeros(3, 12, 12)
    order = metrics.patch_order(maps, 4)
    assert order.tolist() == metrics.patch_order(maps[:1], 4).tolist() * 3


def test_patches_outside_the_field_of_view_are_left_out():
    order = metrics.patch_order(scene()[1], PATCH, fov=left_half())
    assert order.shape == (N, 20)
    inside = [row * 5 + column for row in range(4) for column in range(3)]
    for row in order.tolist():
        assert sorted(row[:12]) == inside
        assert row[12:] == [-1] * 8


def test_few_patches_pad_the_curve_with_its_last_value():
    images, maps, targets = scene()
    curve = metrics.deletion_curve(predict, images, maps, targets, steps=30, patch=9)  # 2 × 2 patches
    assert torch.equal(curve[:, 4:], curve[:, 4:5].expand(-1, 27))
    empty = predict(torch.zeros_like(images)).softmax(dim=1).gather(1, targets.unsqueeze(1))
    torch.testing.assert_close(curve[:, 4:5].double(), empty, rtol=1e-6, atol=1e-6)


def test_deletion_and_insertion_meet():
    """All patches filled is where deletion ends and insertion starts, field of view or not."""
    images, maps, targets = scene()
    for fov in (None, left_half()):
        options = {"steps": 20, "patch": PATCH, "fov": fov}
        deletion = metrics.deletion_curve(predict, images, maps, targets, **options)
        insertion = metrics.insertion_curve(predict, images, maps, targets, **options)
        assert torch.allclose(deletion[:, -1], insertion[:, 0])
        assert torch.allclose(deletion[:, 0], insertion[:, -1])


def test_a_batch_is_its_images_one_by_one():
    images, maps, targets = scene()
    maps[3] = maps[3].round()  # ties
    ids, options = list("abcde"), {"steps": 8, "patch": PATCH, "fill": "blur"}
    for curve in (metrics.deletion_curve, metrics.insertion_curve):
        together = curve(predict, images, maps, targets, ids=ids, **options)
        for i in range(N):
            row = slice(i, i + 1)
            alone = curve(predict, images[row], maps[row], targets[row], ids=ids[row], **options)
            torch.testing.assert_close(together[row], alone)


def test_never_more_images_than_the_batch_size_and_none_twice():
    images, maps, targets = scene()
    seen = []

    def counting(x):
        seen.append(len(x))
        return predict(x)

    metrics.deletion_curve(counting, images, maps, targets, steps=30, patch=PATCH, batch_size=8)
    assert set(seen) == {8}
    assert len(seen) == -(-N * 21 // 8)  # intact and 20 patches each; the padded steps cost nothing


def test_a_map_that_is_not_finite_has_no_curve():
    """Trap 3: nan and never a hit; its neighbours are as they were."""
    images, maps, targets = scene()
    maps[2, 0, 0] = torch.nan
    options = {"steps": 4, "patch": PATCH}
    for curve in (metrics.deletion_curve, metrics.insertion_curve):
        values = curve(predict, images, maps, targets, **options)
        assert values[2].isnan().all()
        assert torch.equal(values[[0, 1, 3, 4]].isnan(), torch.zeros(4, 5, dtype=torch.bool))
    order = metrics.patch_order(maps, PATCH)
    logits = metrics.occlusion_logits(predict, images, order, 4, PATCH, torch.zeros_like(images))
    hits = metrics.still_target(logits, targets)
    assert hits[2].isnan().all()
    assert metrics.audc_accuracy(hits)[2].isnan()


def test_inputs_stay_as_they_are_and_no_gradient_is_kept():
    images, maps, targets = scene()
    before = images.clone(), maps.clone()
    curve = metrics.deletion_curve(predict, images.requires_grad_(), maps, targets, steps=3, patch=PATCH)
    assert not curve.requires_grad
    assert torch.equal(images, before[0])
    assert torch.equal(maps, before[1])


def test_a_map_of_another_resolution_is_refused():
    images, maps, targets = scene()
    with pytest.raises(ValueError, match="upsample"):
        metrics.deletion_curve(predict, images, maps[:, :7], targets)


def test_areas_by_hand():
    curve = torch.tensor([[0.8, 0.4, 0.0], [0.5, 0.5, 0.5], [0.2, 0.4, 0.6], [0.0, 0.1, 0.2]])
    np.testing.assert_allclose(metrics.audc(curve), [0.5, 1.0, 2.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(metrics.auic(curve), [0.4, 0.5, 0.4, 0.1], rtol=1e-6)
    np.testing.assert_allclose(metrics.srg(curve[:1], curve[2:3]), [1.5], rtol=1e-6)


def test_areas_are_the_oracle():
    curve = torch.rand(4, 31, generator=torch.Generator().manual_seed(3)) + 0.01
    relative = [oracle.area([v / row[0] for v in row]) for row in curve.tolist()]
    np.testing.assert_allclose(metrics.audc(curve), relative, rtol=1e-5)
    np.testing.assert_allclose(metrics.auic(curve), [oracle.area(row) for row in curve.tolist()], rtol=1e-5)


def test_accuracy_area_is_that_of_the_data_set():
    """The mean over images is the area under the accuracy of those that are classified right when intact."""
    hits = torch.rand(50, 11, generator=torch.Generator().manual_seed(6)) < 0.6
    right = hits[hits[:, 0]].double()
    accuracy = [right[:, k].mean().item() for k in range(11)]
    areas = metrics.audc_accuracy(hits)
    assert torch.equal(areas.isnan(), ~hits[:, 0])
    assert areas.nanmean().item() == pytest.approx(oracle.area(accuracy))


def test_hits_are_about_the_target():
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[2.0, 1.0], [torch.nan, 1.0]]])
    hits = metrics.still_target(logits, torch.tensor([0, 1]))
    assert hits.nan_to_num(-1).tolist() == [[1, 0], [0, -1]]


def test_a_faithful_map_beats_a_random_and_an_inverted_one():
    """A linear model whose map is its own contributions: the most faithful map there is for filling with zero."""
    source = torch.Generator().manual_seed(8)
    images, weight = torch.rand(100, 3, 16, 16, generator=source), torch.randn(16, 16, generator=source) / 20
    maps = (images * weight).sum(dim=1)
    maps = maps.unfold(1, 4, 4).unfold(2, 4, 4).sum(dim=(3, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    targets = torch.ones(100, dtype=torch.long)

    def linear(x):
        return torch.stack([torch.zeros(len(x)), (x.sum(dim=1) * weight).sum(dim=(1, 2))], dim=1)

    def scores(maps):
        options = {"steps": 16, "patch": 4, "ids": range(100), "rule": "sum"}  # contributions are signed
        deletion = metrics.deletion_curve(linear, images, maps, targets, **options)
        reverse = metrics.deletion_curve(linear, images, maps, targets, **options, least_first=True)
        insertion = metrics.insertion_curve(linear, images, maps, targets, **options)
        return metrics.audc(deletion), metrics.auic(insertion), metrics.srg(deletion, reverse)

    random = torch.randn(100, 16, 16, generator=source)
    audc, auic, srg = zip(*(scores(each) for each in (maps, random, -maps)), strict=True)
    assert audc[0].mean() < audc[1].mean() < audc[2].mean()
    assert auic[0].mean() > auic[1].mean() > auic[2].mean()
    torch.testing.assert_close(srg[0], -srg[2])
    assert srg[0].min() > 0
    assert srg[1].mean().abs() < 4 * srg[1].std() / 10
    assert scores(torch.zeros_like(maps))[2].tolist() == [0] * 100
