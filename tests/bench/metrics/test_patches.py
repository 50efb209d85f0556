"""Scores of patches and their order, against loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import metrics
from bench.metrics import patch_at, stride_at
from tests.oracles import faithfulness, patches


def signed_maps(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def starts(side: int, patch: int, stride: int | None) -> list[int]:
    return list(range(0, side if stride is None else side - patch + 1, stride or patch))


@pytest.mark.parametrize("rule", metrics.RULES)
@pytest.mark.parametrize("with_ignored", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "patch", "stride"),
    [
        (17, 23, 5, 3),
        (16, 16, 4, 1),
        (19, 14, 6, 5),
        (7, 30, 7, 2),
        (17, 23, 5, None),
        (13, 20, 4, None),
        (5, 9, 8, None),
    ],
)
def test_scores_are_the_oracle(
    height: int, width: int, patch: int, stride: int | None, with_ignored: bool, rule: str
) -> None:
    maps = signed_maps(2, height, width)
    ignored = signed_maps(2, height, width, seed=3) > 0.8 if with_ignored else None
    ours = metrics.patch_scores(maps, patch, stride, rule, ignored)
    rows, columns = starts(height, patch, stride), starts(width, patch, stride)
    assert ours.shape == (2, len(rows), len(columns))
    for at, image in enumerate(maps.numpy()):
        unknown = None if ignored is None else ignored[at].numpy()
        expected = [
            [patches.score(image, y, min(y + patch, height), x, min(x + patch, width), rule, unknown) for x in columns]
            for y in rows
        ]
        np.testing.assert_allclose(ours[at], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 3, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_map_is_constant(dtype: torch.dtype, stride: int | None) -> None:
    """Exactly: a last digit that differed would decide the order of patches that tie."""
    for value in (0.1, 1 / 3, 1e-20, 7e20):
        maps = torch.full((1, 47, 31), value, dtype=dtype)
        for rule in ("mean", "max", "point"):
            scores = metrics.patch_scores(maps, 6, stride, rule)
            torch.testing.assert_close(scores, torch.full_like(scores, value), rtol=1e-6, atol=0)
        whole = metrics.patch_scores(maps, 6, stride or 6)
        assert whole.unique().numel() == 1
        assert (metrics.patch_scores(-maps, 6, stride) == 0).all()


@pytest.mark.parametrize("patch", [4, 5])
def test_a_single_positive_pixel_has_its_share_of_just_its_patches(patch: int) -> None:
    """Beside far larger values, whose rounding a difference of cumulative sums would leave in every patch."""
    maps = torch.zeros(1, 21, 18)
    maps[0, 0, :] = 1e8 / 3
    maps[0, 12, 7] = 0.125
    scores = metrics.patch_scores(maps, patch, 1)[0, 1:]
    touches = torch.zeros_like(scores, dtype=torch.bool)
    touches[12 - patch : 12, 8 - patch : 8] = True
    assert (scores[touches] == np.float32(0.125 / patch**2)).all()
    assert (scores[~touches] == 0).all()


def test_equal_patches_tie_wherever_they_are() -> None:
    """Blocks of one pattern: rounding must not prefer a place."""
    block = signed_maps(1, 5, 7, seed=8).float() * 10.0 ** signed_maps(1, 5, 7, seed=9).float()
    maps = block.repeat(1, 6, 4)
    maps[0, :5, :7] *= 1e6
    tiles = torch.stack([metrics.patch_scores(maps[:, y : y + 5, x : x + 5], 5) for y in (5, 20) for x in (0, 14)])
    inside = metrics.patch_scores(maps, 5, 1)[0, [5, 5, 20, 20], [0, 14, 0, 14]]
    assert torch.equal(tiles.flatten(), inside)
    assert inside.unique().numel() == 1


@pytest.mark.parametrize("least_first", [False, True])
@pytest.mark.parametrize("rule", metrics.RULES)
@pytest.mark.parametrize(("height", "width", "patch"), [(14, 18, 4), (15, 9, 5), (12, 12, 3)])
def test_the_order_is_the_oracle(height: int, width: int, patch: int, rule: str, least_first: bool) -> None:
    maps = signed_maps(4, height, width, seed=2)
    fov = torch.zeros(height, width, dtype=torch.bool)
    fov[:, 3:] = True
    for inside in (None, fov.expand_as(maps)):
        order = metrics.patch_order(maps, patch, fov=inside, least_first=least_first, rule=rule)
        for image, ranked in zip(maps.numpy(), order.tolist(), strict=True):
            expected = faithfulness.ranked(image, patch, None if inside is None else fov.numpy(), least_first, rule)
            assert [one for one in ranked if one >= 0] == expected


def test_each_rule_puts_another_patch_first() -> None:
    """Patches of 4 × 4 in a row: a wide weak one, one strong pixel, a value at the centre, and many negative pixels."""
    maps = torch.zeros(1, 4, 16)
    maps[0, :, :4] = 1.0
    maps[0, 0, 4] = 9.0
    maps[0, 1:3, 9:11] = 3.0
    maps[0, :, 12:] = torch.tensor([6.0, -9.0, -9.0, 6.0])
    first = {rule: metrics.patch_order(maps, 4, rule=rule)[0, 0].item() for rule in metrics.RULES}
    assert first == {"mean": 3, "max": 1, "point": 2, "sum": 0}


def test_evidence_against_the_class_ties_with_none() -> None:
    """The mean counts evidence for the class; only the signed sum tells negative patches apart."""
    maps = torch.arange(-6.0, 0).repeat_interleave(3).expand(30, 3, 18)
    ids = list(range(30))
    assert len({tuple(row) for row in metrics.patch_order(maps, 3, ids).tolist()}) > 20
    assert metrics.patch_order(maps, 3, ids, rule="sum").tolist() == [[5, 4, 3, 2, 1, 0]] * 30


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no patch rule 'median'; known: mean, max, point, sum"):
        metrics.patch_order(torch.rand(1, 8, 8), 2, rule="median")


def test_a_variant_names_an_operator_or_a_rule() -> None:
    assert [metrics.fill_and_rule(name) for name in metrics.FILLS] == [(name, "mean") for name in metrics.FILLS]
    assert [metrics.fill_and_rule(name) for name in metrics.RULES[1:]] == [
        ("zero", name) for name in ("max", "point", "sum")
    ]


def test_patch_and_stride_scale_with_the_image():
    assert (patch_at(512), stride_at(512)) == (33, 8)
    assert (patch_at(128), stride_at(128)) == (8, 2)
    assert (patch_at(8), stride_at(8)) == (1, 1)
