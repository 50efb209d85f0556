"""Training loop of every classifier.

Black box and SoftCAM share it, so that they differ only in the head and in the penalty that the head adds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.contracts import Channels, Classifier, Head
from bench.data.split import Split, normalise
from bench.devices import training_autocast
from bench.errors import UserError
from bench.memory import is_out_of_memory
from bench.models.eval_mode import evaluating
from bench.seeds import seed_of
from bench.training.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from bench.configs.sections import TrainingSection
    from bench.data.prepare import TrainingData  # not at run time: how images are read does not change the weights
    from bench.training.augmentation import Augmentation


def learning_rate(step: int, steps: int, recipe: TrainingSection) -> float:
    """Computes the learning rate of a step: half a cosine from ``lr`` to 0 over all steps, at least ``final_lr``."""
    return max(recipe.final_lr, recipe.lr * (1 + math.cos(math.pi * step / steps)) / 2)


def penalty_share(position: float, start: float, ramp: float) -> float:
    """Computes the share in [0, 1] of the penalty at a position in epochs: 0 before ``start``, then a linear ramp."""
    if position < start:
        return 0.0
    return 1.0 if position >= start + ramp else (position - start) / ramp


def train(
    loop: TrainingLoop,
    seed_names: tuple[object, ...],
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None],
) -> pd.DataFrame:
    """Trains a classifier and loads the weights of the epoch with the best validation AUC (on ties, the later one).

    Epochs before the full penalty of a penalised head do not compete: the classifier without the penalty would
    otherwise be kept. The images of an epoch, their order and their augmentation depend on ``seed_names`` only,
    whatever a head draws (dropout) in between.

    Every epoch ends with a checkpoint. A second call with the same file continues after the last finished epoch and
    gives the same weights as an uninterrupted one, because each epoch draws its random numbers from its own seed.

    Args:
        loop: the classifier, its data and recipe; the classifier is trained in place.
        seed_names: the names that seed the order of the images and the augmentation.
        checkpoint: file that holds the state between epochs; the caller removes it once the result is stored.
        on_epoch: called with each row of the history.

    Returns:
        One row per epoch: epoch, lr, train_loss (with penalty), penalty, penalty_share (of its weight, at the start of
        the epoch), val_loss, val_auc, val_accuracy, seconds.

    Raises:
        UserError: The loss, a weight or a validation logit is no longer finite.
    """
    classifier, recipe = loop.classifier, loop.recipe
    history, best = loop.resume(checkpoint)
    for epoch in range(len(history), recipe.epochs):
        torch.manual_seed(seed_of(*seed_names, "epoch", epoch))
        started = time.perf_counter()
        row = {"epoch": epoch} | loop.run_epoch(epoch)
        require_finite(classifier, epoch)
        row |= validate(classifier, loop.data, loop.device, recipe.batch_size)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        if not best or best_row(history) == len(history) - 1:
            best = {name: value.detach().clone() for name, value in classifier.state_dict().items()}
        loop.save(checkpoint, history, best)
        on_epoch(row)
    classifier.load_state_dict(best)
    return pd.DataFrame(history)


def require_finite(classifier: Classifier, epoch: int) -> None:
    """Raises ``UserError`` if a weight or statistic is NaN or infinite, which the loss shows one step late."""
    for name, value in classifier.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise _diverged(epoch, f"{name} is NaN or infinite")


def _diverged(epoch: float, why: str) -> UserError:
    return UserError(f"training diverged in epoch {epoch:.0f} ({why}); try a smaller lr or penalty")


def best_row(history: Sequence[Mapping[str, float]]) -> int:
    """Returns the row whose weights are kept: best validation AUC under the full penalty; on ties, the later one."""

    def rank(index: int) -> tuple[bool, float, int]:
        row = history[index]
        auc_or_worst = -1.0 if math.isnan(row["val_auc"]) else row["val_auc"]
        return row["penalty"] > 0 and row["penalty_share"] == 1, auc_or_worst, index

    return max(range(len(history)), key=rank)


class TrainingLoop:
    """A classifier in training: optimiser, data and recipe. An epoch can be run, and timed, on its own."""

    def __init__(
        self, classifier: Classifier, head: Head, data: TrainingData, recipe: TrainingSection, device: torch.device
    ) -> None:
        """Moves the classifier to the device; it is trained in place.

        Args:
            classifier: the classifier to train.
            head: adds its penalty on the evidence to the loss; its schedule replaces that of the recipe.
            data: training and validation images.
            recipe: optimiser, epochs, augmentation and class weights.
            device: device to train on.
        """
        self.classifier = classifier.to(device).to(memory_format=torch.channels_last)
        self.head, self.data, self.recipe, self.device = head, data, recipe, device
        self.optimizer = torch.optim.SGD(
            classifier.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        self.augment: Augmentation = nn.Identity()
        if recipe.augmentation != "none":
            from bench.training.augmentation import augmentation  # imports torchvision, which a finished run spares

            self.augment = augmentation(data.modality, recipe.augmentation)
        self.class_weights = self._class_weights() if recipe.class_weights else None
        self.penalty_start = recipe.penalty_start if head.penalty_start is None else head.penalty_start
        self.penalty_ramp = recipe.penalty_ramp if head.penalty_ramp is None else head.penalty_ramp
        self.share = 1.0  # of the penalty, in the current step
        self.parts = 1  # each batch is processed in this many parts, more when memory runs out

    def _class_weights(self) -> Tensor:
        labels = self.data.train.labels
        return self.data.outputs.class_weights(labels, self.classifier.num_classes).to(self.device)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Trains on every image once.

        Returns:
            lr of the last step, means over the images of train_loss (with penalty) and penalty, and the share of the
            penalty at the start of the epoch.

        Raises:
            UserError: The loss is no longer finite.
        """
        self.classifier.train()
        images = len(self.data.train)
        order = torch.randperm(images)
        # A last batch of one image has no batch statistics, so this epoch leaves it out.
        batches = [batch for batch in torch.split(order, self.recipe.batch_size) if len(batch) > 1 or images == 1]
        seen = sum(map(len, batches))
        # A head may draw random numbers, which must not change the next batches of heads with the same seed.
        seeds = torch.randint(2**62, (len(batches),)).tolist()
        sums, rate = torch.zeros(2, dtype=torch.float64, device=self.device), 0.0
        for number, indices in enumerate(batches):
            rate = learning_rate(epoch * len(batches) + number, self.recipe.epochs * len(batches), self.recipe)
            self.share = self._share(epoch + number / len(batches))
            torch.manual_seed(seeds[number])
            sums += self._step(indices, rate) * len(indices)
        total, penalties = sums.tolist()  # only once per epoch, because it waits for the device
        if not math.isfinite(total):
            raise _diverged(epoch, f"loss is {total}")
        share = self._share(epoch)
        return {"lr": rate, "train_loss": total / seen, "penalty": penalties / seen, "penalty_share": share}

    def _share(self, position: float) -> float:
        return penalty_share(position, self.penalty_start, self.penalty_ramp)

    def _step(self, indices: Tensor, rate: float) -> Tensor:
        images = self.augment(self.data.train.batch(indices).to(self.device, non_blocking=True))
        images = normalise(images, self.data.mean, self.data.std).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(self.data.train.labels[indices.numpy()]).to(self.device, non_blocking=True)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        while True:
            try:
                losses = self._backward(images, labels)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.parts >= len(indices):
                    raise
                self.parts *= 2
        self.optimizer.step()
        return losses

    def _backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Computes the gradient of the mean loss in ``parts`` -> loss and penalty (2,) float64."""
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for part, targets in zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True):
            weight = len(part) / len(images)
            with training_autocast(self.device):
                logits, evidence = self.classifier.forward_training(part)
            penalty = torch.as_tensor(self.head.penalty(None if evidence is None else evidence.float()))
            penalty = penalty.to(self.device, non_blocking=True) * self.share
            loss = self.data.outputs.loss(logits.float(), targets, self.class_weights) + penalty
            torch.autograd.backward(loss * weight)
            sums += torch.stack([loss.detach(), penalty.detach()]).double() * weight
        return sums

    def save(self, path: Path, history: list[dict[str, float]], best: dict[str, Tensor]) -> None:
        """Writes weights, momentum, best weights and history to one file, atomically."""
        tensors = {f"model.{name}": value for name, value in self.classifier.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors[f"momentum.{number}"] = state["momentum_buffer"]
        tensors["history"] = torch.tensor(pd.DataFrame(history).to_numpy(dtype=np.float64))
        write_tensors(path, tensors, {"columns": ",".join(history[0])})

    def resume(self, path: Path) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Loads a file of ``save`` -> history and best weights, both empty if there is no file or a damaged one."""
        found = read_tensors(path, str(self.device))
        if found is None:
            return [], {}
        tensors, columns = found[0], found[1]["columns"].split(",")
        history = [dict(zip(columns, row.tolist(), strict=True)) for row in tensors.pop("history")]
        self.classifier.load_state_dict(_with_prefix(tensors, "model."))
        state = self.optimizer.state_dict()
        state["state"] = {
            int(number): {"momentum_buffer": value} for number, value in _with_prefix(tensors, "momentum.").items()
        }
        self.optimizer.load_state_dict(state)
        return history, _with_prefix(tensors, "best.")


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def validate(classifier: Classifier, data: TrainingData, device: torch.device, batch_size: int) -> dict[str, float]:
    """Computes loss, AUC and accuracy on the validation images in float32 -> val_loss, val_auc, val_accuracy."""
    logits = predict_split(classifier, data.val, np.arange(len(data.val)), data.mean, data.std, device, batch_size)
    labels, outputs = data.val.labels, data.outputs
    loss = outputs.loss(torch.from_numpy(logits), torch.as_tensor(labels)).item()
    return {"val_loss": loss, "val_auc": outputs.auc(logits, labels), "val_accuracy": outputs.accuracy(logits, labels)}


def predict_split(
    classifier: nn.Module,
    split: Split,
    indices: np.ndarray,
    mean: Channels,
    std: Channels,
    device: torch.device,
    batch_size: int,
) -> np.ndarray:
    """Computes logits (N,C) float32 of the images of a split with indices (N,)."""
    batches = (split.batch(part) for part in torch.split(torch.from_numpy(indices), batch_size))
    return predict_batches(classifier, batches, mean, std, device)


def predict_batches(
    classifier: nn.Module, batches: Iterable[Tensor], mean: Channels, std: Channels, device: torch.device
) -> np.ndarray:
    """Computes logits (N,C) float32 of batches of images (n,3,H,W), uint8 or float in [0, 1], in evaluation mode.

    Raises:
        UserError: a logit is NaN or infinite, so that no score could rank the images.
    """
    rows = []
    with evaluating(classifier), torch.inference_mode():
        for pixels in batches:
            images = normalise(pixels.to(device), mean, std)
            rows.append(classifier(images.contiguous(memory_format=torch.channels_last)).float().cpu())
    logits = torch.cat(rows)
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise UserError(
            f"the logits of {bad} of {len(logits)} images are NaN or infinite; the classifier diverged, try a smaller "
            "lr or penalty"
        )
    return logits.numpy()
