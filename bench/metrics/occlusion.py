"""The engine of the faithfulness metrics: the logits while more and more patches are filled, or revealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import ceil
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.memory import with_smaller_batches
from bench.metrics.fills import fill_images
from bench.metrics.imputation import LinearImputation
from bench.seeds import generator

Predict = Callable[[Tensor], Tensor]
#: What stands in the place of removed patches: images (n,), steps (n,) -> (n,3,H,W).
Fill = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """Which patches of every image are filled after each step, and with what; see ``deletion`` and ``insertion``.

    Attributes:
        order: (N,P) indices into the flattened grid of patches, -1 behind the last.
        filled: (N,K+1) how many of the first patches of the order are filled: rising or falling from step to step.
        fill: a name in ``FILLS``, or (N,3,H,W), or a function.
    """

    order: Tensor
    filled: Tensor
    fill: str | Tensor | Fill

    @cached_property
    def orders(self) -> list[list[int]]:
        """``order`` on the host."""
        return self.order.tolist()

    @cached_property
    def counts(self) -> list[list[int]]:
        """``filled`` on the host."""
        return self.filled.tolist()


def deletion(order: Tensor, steps: int, fill: str | Tensor | Fill) -> Schedule:
    """Fill patches in this order (N,P), one a step; an image with fewer than K stays as it is after its last."""
    count = (order >= 0).sum(dim=1, keepdim=True)
    return Schedule(order, torch.arange(steps + 1, device=order.device).minimum(count), fill)


def insertion(order: Tensor, steps: int, fill: str | Tensor | Fill) -> Schedule:
    """All patches of this order (N,P) are filled, and revealed in it, one a step.

    Raises:
        ValueError: where all is missing there is nothing that "noise" could impute from.
    """
    if isinstance(fill, str) and fill == "noise":
        raise ValueError("no fixed fill 'noise': where every patch is filled there is nothing to impute from")
    count = (order >= 0).sum(dim=1, keepdim=True)
    place = count - 1 - torch.arange(order.shape[1], device=order.device)
    backwards = order.gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)
    return Schedule(backwards, (count - torch.arange(steps + 1, device=order.device)).clamp(min=0), fill)


class Occluder:
    """Logits of some images while patches are filled; what schedules have in common is computed once.

    A variant of an image is known by the set of its filled patches and the operator: that of the intact image serves
    all schedules, and explainers that agree on the first patches share those steps. Variants are built when they are
    needed, in one buffer that is used again, and a batch mixes images, steps and operators. Every batch is full, the
    last one with what was there before: rounding depends on the size of a batch, and must not on what is known already.
    Where memory runs out the batch is halved, and stays so.

    Args:
        predict: (n,3,H,W) in channels_last -> logits (n,C). It must not keep its argument.
        images: (N,3,H,W) normalised.
        patch: side of a patch in pixels.
        black: (3,) normalised value of a black pixel.
        donors: makes the images (N,3,H,W) whose pixels "donor" puts in; None where there are none.
        ids: (N) image ids, which seed the noise.
        fov: (N,H,W) bool, field of view: pixels outside stay as they are. None = everything.
        batch_size: images given to ``predict`` at a time.
        dtype: of the images that ``predict`` is given; None = that of ``images``.
    """

    def __init__(
        self,
        predict: Predict,
        images: Tensor,
        patch: int,
        *,
        black: Tensor | None = None,
        donors: Callable[[], Tensor] | None = None,
        ids: Sequence[object] | None = None,
        fov: Tensor | None = None,
        batch_size: int = 64,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.predict, self.images, self.patch = predict, images, patch
        self.black, self.donors, self.ids, self.fov = black, donors, ids, fov
        self.batch_size, self.dtype = batch_size, dtype or images.dtype
        self._fills: dict[str, Tensor] = {}
        self._numbers: dict[str, Tensor] = {}
        self._keys = torch.empty(0, dtype=torch.long, device=images.device)
        self._logits: Tensor | None = None

    @torch.no_grad()
    def logits(self, *schedules: Schedule) -> list[Tensor]:
        """Logits (N,K+1,C) of each schedule; nan throughout for an image without a single patch in its order.

        All schedules have the same number of steps.
        """
        keys = torch.stack([self._keys_of(one) for one in schedules])
        self._compute(schedules, keys)
        assert self._logits is not None  # there is at least the intact image
        logits = self._logits[torch.searchsorted(self._keys, keys)]
        empty = torch.stack([one.order[:, :1] < 0 for one in schedules])
        return list(logits.masked_fill(empty.unsqueeze(3), torch.nan))

    def _keys_of(self, schedule: Schedule) -> Tensor:
        """A number (N,K+1) for every variant: the sum of random 64-bit numbers of image and filled patches.

        Two different sets share a number with a probability of 2⁻⁶⁴ (Zobrist hashing). A fill without a name shares
        nothing but the intact image. What "noise" imputes for a set depends on the order by no more than rounding.
        """
        operator = schedule.fill if isinstance(schedule.fill, str) else f"unnamed {len(self._numbers)}"
        patches = F.pad(self._random("patches", operator, schedule.order.shape[1]), (0, 1))  # the last is for -1
        sums = F.pad(patches[schedule.order].cumsum(dim=1), (1, 0)).gather(1, schedule.filled)
        return sums + self._random("images", "", len(self.images)).unsqueeze(1)

    def _random(self, what: str, operator: str, count: int) -> Tensor:
        name = f"{what} {operator}"
        if name not in self._numbers:
            draw = generator("occluded", name)
            self._numbers[name] = torch.randint(-(2**63), 2**63 - 1, (count,), generator=draw).to(self.images.device)
        return self._numbers[name]

    def _compute(self, schedules: Sequence[Schedule], keys: Tensor) -> None:
        """Logits of the variants (S,N,K+1) that are not known yet, each once."""
        unique, inverse = keys.flatten().unique(return_inverse=True)
        place = torch.arange(keys.numel(), device=keys.device)
        first = torch.full_like(unique, keys.numel()).scatter_reduce(0, inverse, place, "amin")
        is_new = ~torch.isin(unique, self._keys)
        places, order = first[is_new].sort()
        if not len(places):
            return
        number, image, step = torch.unravel_index(places, keys.shape)
        rows = list(zip(number.tolist(), image.tolist(), step.tolist(), strict=True))

        def predict(size: int) -> Tensor:
            starts = range(0, len(rows), size)
            return torch.cat([self._predict(schedules, rows[at : at + size], size) for at in starts])

        found, self.batch_size = with_smaller_batches(predict, self.batch_size)
        known = [] if self._logits is None else [self._logits]
        self._keys, ranked = torch.cat([self._keys, unique[is_new][order]]).sort()
        self._logits = torch.cat([*known, found])[ranked]

    def _predict(self, schedules: Sequence[Schedule], rows: list[tuple[int, int, int]], size: int) -> Tensor:
        """Logits (n,C) of variants, given by schedule, image and step, in a batch of this size."""
        buffer, start = self._buffer[:size], 0
        for (which, at), run in groupby(rows, key=itemgetter(0, 1)):
            steps = [step for _, _, step in run]
            self._build(schedules[which], at, steps, buffer[start : start + len(steps)])
            start += len(steps)
        return self.predict(buffer.permute(0, 3, 1, 2))[:start].float()

    def _build(self, schedule: Schedule, at: int, steps: list[int], rows: Tensor) -> None:
        """Write one image after these steps to rows (n,H,W,3): what they have in common, then what differs."""
        intact = self._pixels[at]
        if schedule.fill == "noise":
            missing, values = self._imputed(schedule).of(at)
            rows.copy_(intact)
            rows.flatten(1, 2).index_copy_(1, missing, values[steps].to(rows))
            return
        source = self._source(schedule, at, steps)
        order, counts = schedule.orders[at], [schedule.counts[at][step] for step in steps]
        least = min(counts)
        rows.copy_(source.where(self._ranks(schedule.order[at]) < least, intact) if least else intact)
        source = source.expand_as(rows)
        for rank in range(least, max(counts)):
            those = [row for row, count in enumerate(counts) if count > rank]
            place = (slice(those[0], those[-1] + 1), *self._place_of(order[rank]))
            rows[place].copy_(source[place])

    def _place_of(self, patch: int) -> tuple[slice, slice]:
        """Rows and columns of the pixels of a patch."""
        row, column = divmod(patch, ceil(self.images.shape[3] / self.patch))
        return slice(row * self.patch, (row + 1) * self.patch), slice(column * self.patch, (column + 1) * self.patch)

    def _source(self, schedule: Schedule, at: int, steps: list[int]) -> Tensor:
        """The pixels (1 or n,H,W,3) that are put in after these steps."""
        fill = schedule.fill
        if callable(fill):
            step = torch.tensor(steps, device=self.images.device)
            return self._channels_last(fill(torch.full_like(step, at), step))
        if isinstance(fill, Tensor):
            one, fov = slice(at, at + 1), None if self.fov is None else self.fov[at : at + 1]
            return self._channels_last(
                fill_images(self.images[one], fill.expand_as(self.images)[one], self.patch, None, fov)
            )
        if fill not in self._fills:
            named = self.donors() if fill == "donor" and self.donors else fill
            self._fills[fill] = self._channels_last(fill_images(self.images, named, self.patch, self.black, self.fov))
        return self._fills[fill][at : at + 1]

    def _imputed(self, schedule: Schedule) -> LinearImputation:
        """Noisy linear imputation along a schedule; the last one is kept, with the images that it has solved."""
        if getattr(self, "_last", (None,))[0] is not schedule:
            ranks = torch.stack([self._ranks(order) for order in schedule.order]).squeeze(3)
            steps = schedule.filled.shape[1] - 1
            self._last = schedule, LinearImputation(self.images, ranks, steps, self.ids, self.fov)
        return self._last[1]

    def _ranks(self, order: Tensor) -> Tensor:
        """Order (P,) -> (H,W,1) rank of the patch that each pixel lies in; P where the patch is not in the order."""
        patches = len(order)
        ranks = torch.full((patches + 1,), patches, dtype=torch.int32, device=order.device)
        place = torch.arange(patches, dtype=torch.int32, device=order.device)
        ranks[order] = place  # the spare one at the end takes what belongs to -1
        return ranks[:patches][self._patch_of_pixel].unsqueeze(2)

    @cached_property
    def _patch_of_pixel(self) -> Tensor:
        """(H,W) number of the patch that each pixel lies in."""
        rows, columns = (torch.arange(side, device=self.images.device) // self.patch for side in self.images.shape[2:])
        return rows.unsqueeze(1) * (columns[-1] + 1) + columns

    @cached_property
    def _pixels(self) -> Tensor:
        """(N,H,W,3)"""
        return self._channels_last(self.images)

    @cached_property
    def _buffer(self) -> Tensor:
        return self._pixels.new_zeros(self.batch_size, *self._pixels.shape[1:])

    def _channels_last(self, images: Tensor) -> Tensor:
        """Images (n,3,H,W) -> (n,H,W,3), adjacent in memory: the layout of the network, seen without a copy."""
        return images.to(self.dtype).permute(0, 2, 3, 1).contiguous()


def occlusion_logits(
    predict: Predict,
    images: Tensor,
    order: Tensor,
    steps: int,
    patch: int,
    fill: Tensor | Fill,
    reveal: bool = False,
    batch_size: int = 64,
) -> Tensor:
    """Logits of every image after 0, 1, …, ``steps`` of its patches are filled, or revealed.

    An image with fewer patches than steps keeps the logits of its last one. Patches that are not in ``order`` stay
    intact throughout. See ``Occluder`` for how they are computed, and for several orders of the same images.

    Args:
        predict: (n,3,H,W) -> logits (n,C).
        images: (N,3,H,W).
        order: (N,P) from ``patch_order``.
        steps: K.
        patch: side of a patch in pixels.
        fill: (N,3,H,W) from ``fill_images``, or a function.
        reveal: start with all patches filled and reveal them in this order.
        batch_size: images given to ``predict`` at a time.

    Returns:
        (N,K+1,C); nan throughout for an image without a single patch in its order (its map is not finite).
    """
    schedule = (insertion if reveal else deletion)(order, steps, fill)
    return Occluder(predict, images, patch, batch_size=batch_size).logits(schedule)[0]


def target_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (N,K+1,C), targets (N,) -> softmax probability of the target (N,K+1), not of the top class."""
    index = targets.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
    return logits.softmax(dim=2).gather(2, index).squeeze(2)


def still_target(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (N,K+1,C), targets (N,) -> (N,K+1): 1 where the target is the top class, else 0, nan for nan logits."""
    hits = (logits.argmax(dim=2) == targets.unsqueeze(1)).float()
    return hits.masked_fill(logits.isnan().any(dim=2), torch.nan)
