"""Logits of images while more and more patches are filled, or revealed.

All faithfulness metrics are computed from these logits, which cost more than everything else in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from math import ceil
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import UserError
from bench.maps import exact
from bench.memory import with_smaller_batches
from bench.metrics.fills import fill_images
from bench.metrics.imputation import LinearImputation
from bench.metrics.patches import Fill, Schedule, deletion, insertion
from bench.outputs import SOFTMAX, Outputs
from bench.seeds import generator

Predict = Callable[[Tensor], Tensor]


class Occluder:
    """Logits of some images while patches are filled; variants that schedules have in common are computed once.

    A variant of an image is identified by the set of its filled patches and the operator: that of the intact image
    serves all schedules, and explainers that agree on the first patches share those steps. Variants are built on
    demand in one buffer that is reused, and a batch mixes images, steps and operators. Every batch is full, the last
    one with leftover images, because rounding depends on the size of a batch and must not depend on the variants that
    are cached. If memory runs out, the batch is halved for good.

    Args:
        predict: (n,3,H,W) in channels_last -> logits (n,C). It must not keep its argument.
        images: (N,3,H,W) normalised.
        patch: side of a patch in pixels.
        black: (3,) normalised value of a black pixel.
        donors: returns the images (N,3,H,W) whose pixels the fill "donor" uses; None = there are none.
        ids: (N) image ids, which seed the noise.
        fov: (N,H,W) bool, field of view: pixels outside are unchanged. None = the whole image.
        batch_size: images per call of ``predict``.
        dtype: type of the images passed to ``predict``; None = that of ``images``.

    Example:
        >>> occluder = Occluder(lambda images: images.sum(dim=(2, 3)), torch.ones(1, 3, 1, 2), patch=1)
        >>> occluder.logits(deletion(torch.tensor([[1, 0]]), steps=2, fill="zero"))[0][0, :, 0]
        tensor([2., 1., 0.])
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
        """Computes the logits (N,K+1,C) of each schedule; all have the same number of steps.

        An image without a patch in its order has nan logits.
        """
        keys = torch.stack([self._keys_of(one) for one in schedules])
        self._compute(schedules, keys)
        assert self._logits is not None  # there is at least the intact image
        logits = self._logits[torch.searchsorted(self._keys, keys)]
        empty = torch.stack([one.order[:, :1] < 0 for one in schedules])
        return list(logits.masked_fill(empty.unsqueeze(3), torch.nan))

    def _keys_of(self, schedule: Schedule) -> Tensor:
        """Returns a number (N,K+1) per variant: the sum of random 64-bit numbers of the image and its filled patches.

        Two different sets share a number with a probability of 2⁻⁶⁴ (Zobrist hashing). A fill without a name shares
        only the intact image. The imputation of a set by "noise" depends on the order only by rounding.
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
        """Computes the logits of the variants (S,N,K+1) that are not cached yet, each once."""
        unique, inverse = torch.unique(keys.flatten(), return_inverse=True)
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
        if not bool(found.isfinite().all()):
            raise UserError("logits of occluded images are NaN or infinite; try --precision float32")
        known = [] if self._logits is None else [self._logits]
        self._keys, ranked = torch.cat([self._keys, unique[is_new][order]]).sort()
        self._logits = torch.cat([*known, found])[ranked]

    def _predict(self, schedules: Sequence[Schedule], rows: list[tuple[int, int, int]], size: int) -> Tensor:
        """Computes the logits (n,C) of variants, given by schedule, image and step, in a batch of this size."""
        buffer, start = self._buffer[:size], 0
        for (which, at), run in groupby(rows, key=itemgetter(0, 1)):
            steps = [step for _, _, step in run]
            self._build(schedules[which], at, steps, buffer[start : start + len(steps)])
            start += len(steps)
        return self.predict(buffer.permute(0, 3, 1, 2))[:start].float()

    def _build(self, schedule: Schedule, at: int, steps: list[int], rows: Tensor) -> None:
        """Writes one image after these steps to rows (n,H,W,3): the common patches first, then the others."""
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
        """Returns the rows and columns of the pixels of a patch."""
        row, column = divmod(patch, ceil(self.images.shape[3] / self.patch))
        return slice(row * self.patch, (row + 1) * self.patch), slice(column * self.patch, (column + 1) * self.patch)

    def _source(self, schedule: Schedule, at: int, steps: list[int]) -> Tensor:
        """Returns the pixels (1 or n,H,W,3) that fill patches after these steps."""
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
        """Returns the noisy linear imputation along a schedule; the last one is cached."""
        if getattr(self, "_last", (None,))[0] is not schedule:
            ranks = torch.stack([self._ranks(order) for order in schedule.order]).squeeze(3)
            steps = schedule.filled.shape[1] - 1
            self._last = schedule, LinearImputation(self.images, ranks, steps, self.ids, self.fov)
        return self._last[1]

    def _ranks(self, order: Tensor) -> Tensor:
        """Returns the rank (H,W,1), in an order (P,), of the patch of each pixel; P if the order lacks the patch."""
        patches = len(order)
        ranks = torch.full((patches + 1,), patches, dtype=torch.int32, device=order.device)
        place = torch.arange(patches, dtype=torch.int32, device=order.device)
        ranks[order] = place  # -1 writes to the spare last entry
        return ranks[:patches][self._patch_of_pixel].unsqueeze(2)

    @cached_property
    def _patch_of_pixel(self) -> Tensor:
        """Number (H,W) of the patch of each pixel."""
        rows, columns = (torch.arange(side, device=self.images.device) // self.patch for side in self.images.shape[2:])
        return rows.unsqueeze(1) * (columns[-1] + 1) + columns

    @cached_property
    def _pixels(self) -> Tensor:
        """The images as (N,H,W,3)."""
        return self._channels_last(self.images)

    @cached_property
    def _buffer(self) -> Tensor:
        return self._pixels.new_zeros(self.batch_size, *self._pixels.shape[1:])

    def _channels_last(self, images: Tensor) -> Tensor:
        """Lays images (n,3,H,W) out as contiguous (n,H,W,3), which the network reads without another copy."""
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
    """Computes the logits of every image after 0, 1, …, ``steps`` of its patches are filled, or revealed.

    An image with fewer patches than steps keeps the logits of its last one. Patches that are not in ``order`` remain
    intact. ``Occluder`` is faster for several orders of the same images.

    Args:
        predict: (n,3,H,W) -> logits (n,C).
        images: (N,3,H,W).
        order: (N,P) from ``patch_order``.
        steps: K.
        patch: side of a patch in pixels.
        fill: (N,3,H,W) from ``fill_images``, or a function.
        reveal: start with all patches filled and reveal them in this order.
        batch_size: images per call of ``predict``.

    Returns:
        (N,K+1,C), nan for an image without a patch in its order (its map is not finite).

    Example:
        >>> images, order = torch.ones(1, 3, 1, 2), torch.tensor([[1, 0]])
        >>> occlusion_logits(lambda x: x.sum(dim=(2, 3)), images, order, steps=2, patch=1, fill=0 * images)[0, :, 0]
        tensor([2., 1., 0.])
    """
    schedule = (insertion if reveal else deletion)(order, steps, fill)
    return Occluder(predict, images, patch, batch_size=batch_size).logits(schedule)[0]


def target_probability(
    logits: Tensor, targets: Tensor, outputs: Outputs = SOFTMAX, intact: Tensor | None = None
) -> Tensor:
    """Computes the probability (N,K+1) of targets (N,), not of the top class, from logits (N,K+1,C).

    It is the softmax, or with several labels per image (``outputs``) the sigmoid of the target's logit. In a regression
    it is 1 plus the change of the output from ``intact`` (N,C), by default the first column, in units of ``outputs``.

    Raises:
        ValueError: there is one logit per image, whose softmax is always 1.

    Example:
        >>> target_probability(torch.zeros(1, 3, 2), targets=torch.tensor([0]))
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    logits = exact(logits)
    _require_classes(logits, outputs)
    return outputs.of_target(logits, targets, logits[:, 0] if intact is None else exact(intact))


def still_target(logits: Tensor, targets: Tensor, outputs: Outputs = SOFTMAX) -> Tensor:
    """Returns (N,K+1): 1 if the target (N,) is the top class of logits (N,K+1,C), otherwise 0, nan for nan logits.

    With several labels per image (``outputs``), it is 1 if the probability of the target exceeds 0.5.

    Raises:
        ValueError: there is one logit per image, which is always the highest.

    Example:
        >>> still_target(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]), targets=torch.tensor([0]))
        tensor([[1., 0.]])
    """
    logits = exact(logits)
    _require_classes(logits, outputs)
    hits = outputs.is_target(logits, targets).float()
    return hits.masked_fill(logits.isnan().any(dim=2), torch.nan)


def _require_classes(logits: Tensor, outputs: Outputs) -> None:
    if logits.shape[2] < outputs.fewest:
        raise ValueError(
            "the network returns one logit per image, whose softmax is always 1; wrap a network with a sigmoid behind "
            "its output by bench.as_two_classes, which makes it class 1 (target 1) and its absence class 0"
        )
