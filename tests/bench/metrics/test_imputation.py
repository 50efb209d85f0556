"""Noisy linear imputation against a dense system, another implementation and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from bench import metrics
from bench.metrics.imputation import NOISE, LinearImputation
from tests.bench.metrics.test_faithfulness import PATCH, N, expected_predictions, left_half, predict, scene
from tests.oracles import faithfulness as curve_oracle
from tests.oracles import imputation as oracle

H, W, STEPS = 12, 15, 6


def patches(seed=0, patch=3):
    """An image, and patches of a grid in random order, the neighbours of many missing too."""
    source = torch.Generator().manual_seed(seed)
    image = torch.randn(3, H, W, generator=source, dtype=torch.float64)
    order = torch.randperm((H // patch) * (W // patch), generator=source).view(H // patch, W // patch)
    return image, order.repeat_interleave(patch, 0).repeat_interleave(patch, 1)


def disc():
    row, column = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return (row - 5.5) ** 2 + (column - 7) ** 2 < 36


@pytest.mark.parametrize("fov", [None, disc()])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_step_is_the_dense_system(fov, dtype):
    image, ranks = patches()
    ours = metrics.impute_steps(image.to(dtype), ranks, STEPS, fov)
    for step in range(STEPS + 1):
        expected = oracle.impute(image.numpy(), (ranks < step).numpy(), None if fov is None else fov.numpy())
        np.testing.assert_allclose(ours[step], expected, atol=1e-10 if dtype == torch.float64 else 2e-4)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")  # theirs
def test_every_step_is_what_pytorch_grad_cam_imputes():
    image, ranks = patches(seed=1)
    ours = metrics.impute_steps(image, ranks, STEPS)
    for step in range(1, STEPS + 1):
        theirs = NoisyLinearImputer(noise=0.0)(image.float(), (ranks >= step).float())
        torch.testing.assert_close(ours[step].float(), theirs, atol=1e-5, rtol=0)


def test_a_plane_is_imputed_exactly_away_from_the_border():
    row, column = torch.meshgrid(torch.arange(20).double(), torch.arange(20).double(), indexing="ij")
    plane = (row * 0.1 - column * 0.2 + 1).expand(3, 20, 20)
    ranks = torch.full((20, 20), 9)
    ranks[4:11, 5:17], ranks[11:16, 5:9] = 0, 1
    holes = torch.where(ranks < 2, 7.0, plane)
    np.testing.assert_allclose(metrics.impute_steps(holes, ranks, 2)[2], plane, atol=1e-9)


def test_what_is_missing_is_never_read():
    image, ranks = patches()
    other = torch.where(ranks < STEPS, torch.rand(3, H, W, dtype=torch.float64), image)
    ends = [metrics.impute_steps(one, ranks, STEPS)[-1] for one in (image, other)]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_nothing_known_touches_is_its_mean(dtype):
    """The whole image, and an island of the field of view."""
    image = patches()[0].to(dtype)
    everything = metrics.impute_steps(image, torch.zeros(H, W, dtype=torch.int32), 1)[1]
    mean = image.mean(dim=(1, 2))
    torch.testing.assert_close(everything, mean.view(3, 1, 1).expand(3, H, W), atol=0.05, rtol=0)
    fov, ranks = torch.zeros(H, W, dtype=torch.bool), torch.full((H, W), 5)
    fov[:3, :3], fov[6:, 6:], ranks[:3, :3] = True, True, 0
    island = metrics.impute_steps(image, ranks, 1, fov)[1]
    mean = image[:, :3, :3].mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(island[:, :3, :3], mean.expand(3, 3, 3), atol=0.05, rtol=0)
    assert torch.equal(island[:, 3:], image[:, 3:])


def dense(imputation, at, images):
    """All steps (K+1,3,H,W) of an image."""
    missing, values = imputation.of(at)
    whole = images[at].expand(len(values), -1, -1, -1).flatten(2).clone()
    whole[:, :, missing] = values.transpose(1, 2)
    return whole.unflatten(2, images.shape[2:])


def test_the_noise_hangs_on_the_id_alone():
    images = torch.zeros(3, 3, 40, 40)
    ranks = torch.full((3, 40, 40), 2)
    ranks[:, :20], ranks[:, 20:30] = 0, 1
    imputation = LinearImputation(images, ranks, 2, ["a", "b", "a"], None)
    filled = torch.stack([dense(imputation, at, images) for at in range(3)])
    assert torch.equal(filled[0], filled[2])
    assert not torch.allclose(filled[0], filled[1])
    assert torch.equal(filled[0, 1, :, :20], filled[0, 2, :, :20])  # the same draw at every step
    assert filled[:2, 2, :, :30].std().item() == pytest.approx(NOISE, rel=0.05)
    assert filled[0, 0].count_nonzero() == filled[0, 1, :, 20:].count_nonzero() == 0  # none on what is not missing
    alone = LinearImputation(images[1:2], ranks[1:2], 2, ["b"], None)
    assert torch.equal(dense(alone, 0, images[1:2]), filled[1])


def test_no_noise_outside_the_field_of_view():
    image, ranks = patches()
    missing, _ = LinearImputation(image[None], ranks[None], STEPS, ["a"], disc()[None]).of(0)
    expected = (disc() & (ranks < STEPS)).flatten().nonzero().squeeze(1)
    assert torch.equal(missing.sort().values, expected)


@pytest.mark.parametrize("fov", [None, left_half()])
@pytest.mark.parametrize("least_first", [False, True])
def test_curves_impute_all_that_is_missing_at_each_step(fov, least_first, monkeypatch):
    """Not patch after patch: what was imputed before is guessed anew when its neighbours go."""
    monkeypatch.setattr("bench.metrics.imputation.NOISE", 0.0)
    images, maps, targets = scene()
    options = {"steps": 5, "patch": PATCH, "fill": "noise", "fov": fov, "batch_size": 4}
    ours = metrics.deletion_curve(predict, images, maps, targets, **options, least_first=least_first)
    for at in range(N):
        inside = None if fov is None else fov[at].numpy()
        order = curve_oracle.ranked(maps[at].numpy(), PATCH, inside, least_first)
        places = curve_oracle.grid(*maps.shape[1:], PATCH)
        missing, expected = np.zeros(maps.shape[1:], dtype=bool), [images[at].numpy()]
        for index in order[:5]:
            top, bottom, left, right = places[index]
            missing[top:bottom, left:right] = True
            expected.append(oracle.impute(images[at].numpy(), missing, inside))
        np.testing.assert_allclose(ours[at], expected_predictions(expected, targets[at]), atol=1e-6)


def test_nothing_can_be_imputed_where_all_is_missing():
    images, maps, targets = scene()
    with pytest.raises(ValueError, match="no fixed fill 'noise'"):
        metrics.insertion_curve(predict, images, maps, targets, steps=3, patch=PATCH, fill="noise")
    assert "noise" not in metrics.FIXED
