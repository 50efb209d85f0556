"""What schedules have in common is predicted once, and is what each alone would give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench import metrics
from bench.metrics import Occluder, deletion, insertion

N, SIDE, PATCH, P, STEPS = 3, 20, 5, 16, 6
FOV = torch.ones(N, SIDE, SIDE, dtype=torch.bool)
FOV[1, :, 12:] = False


class Counting:
    """Three logits that depend on every pixel, and how many batches were asked for."""

    def __init__(self) -> None:
        self.weights = torch.randn(3, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(1))
        self.batches = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.batches += 1
        return images.float().flatten(1) @ self.weights.T


def images() -> Tensor:
    return torch.randn(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def orders(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(P, generator=draw) for _ in range(N)])


def occluder(predict: Counting, **options: object) -> Occluder:
    facts = {"black": -torch.ones(3), "donors": lambda: images().flip(0), "ids": list("abc"), "batch_size": 4}
    return Occluder(predict, images(), PATCH, **(facts | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("fov", [None, FOV])
def test_together_as_each_alone(fov: Tensor | None) -> None:
    """Every operator, deletion and insertion, of two explainers at once."""
    ranked = [metrics.patch_order(torch.rand(N, SIDE, SIDE), PATCH, fov=fov) for _ in range(2)]
    schedules = [deletion(order, STEPS, fill) for order in ranked for fill in metrics.FILLS]
    schedules += [insertion(order, STEPS, fill) for order in ranked for fill in metrics.FIXED]
    shared = occluder(Counting(), fov=fov)
    together = [*shared.logits(*schedules[:7]), *shared.logits(*schedules[7:])]
    alone = [occluder(Counting(), fov=fov).logits(one)[0] for one in schedules]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_two_schedules_share_is_predicted_once() -> None:
    first, second = orders(0), orders(0)
    second[:, 3:] = second[:, 3:].flip(1)  # the first three patches agree
    predict = Counting()
    shared = occluder(predict, batch_size=1)
    shared.logits(deletion(first, STEPS, "zero"))
    assert predict.batches == N * (STEPS + 1)
    shared.logits(deletion(second, STEPS, "zero"))
    assert predict.batches == N * (STEPS + 1) + N * (STEPS - 3)
    shared.logits(deletion(first, STEPS, "zero"), deletion(second, STEPS, "zero"))
    assert predict.batches == N * (STEPS + 1) + N * (STEPS - 3)
    shared.logits(deletion(first, STEPS, "black"))  # another operator shares the intact image alone
    assert predict.batches == N * (STEPS + 1) + N * (STEPS - 3) + N * STEPS


def test_the_same_set_in_another_order_is_the_same_image() -> None:
    first = orders(0)
    second = torch.cat([first[:, :4].flip(1), first[:, 4:]], dim=1)
    predict = Counting()
    ours, theirs = occluder(predict, batch_size=1).logits(deletion(first, 4, "blur"), deletion(second, 4, "blur"))
    assert predict.batches == N * (1 + 4 + 3)  # intact; 1, 2, 3, 4 patches; 1, 2, 3 others, for all four are the same
    torch.testing.assert_close(ours[:, 4], theirs[:, 4])
    assert not torch.allclose(ours[:, 1], theirs[:, 1])


def test_fills_without_a_name_are_not_taken_for_each_other() -> None:
    order, shared = orders(0), occluder(Counting())
    (ones,) = shared.logits(deletion(order, STEPS, torch.ones(N, 3, SIDE, SIDE)))
    (twos,) = shared.logits(deletion(order, STEPS, 2 * torch.ones(N, 3, SIDE, SIDE)))
    assert torch.equal(ones[:, 0], twos[:, 0])
    assert not torch.isclose(ones[:, 1:], twos[:, 1:]).any()


def test_images_are_built_in_the_type_asked_for() -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    counting = Counting()

    def predict(batch: Tensor) -> Tensor:
        seen.append((batch.dtype, batch.is_contiguous(memory_format=torch.channels_last)))
        return counting(batch)

    half = Occluder(predict, images(), PATCH, dtype=torch.bfloat16).logits(deletion(orders(0), STEPS, "zero"))[0]
    assert set(seen) == {(torch.bfloat16, True)}
    rounded = images().bfloat16().float()
    whole = Occluder(counting, rounded, PATCH).logits(deletion(orders(0), STEPS, "zero"))[0]
    torch.testing.assert_close(half, whole)


def test_batches_shrink_where_memory_ends() -> None:
    class Small(Counting):
        def __call__(self, images: Tensor) -> Tensor:
            if len(images) > 2:
                raise torch.OutOfMemoryError("made up")
            return super().__call__(images)

    schedules = [deletion(orders(seed), STEPS, "zero") for seed in range(2)]
    shrunk, whole = occluder(Small(), batch_size=8), occluder(Counting(), batch_size=8)
    for ours, theirs in zip(shrunk.logits(*schedules), whole.logits(*schedules), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (shrunk.batch_size, whole.batch_size) == (2, 8)
