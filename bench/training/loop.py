"""The one training loop: black box and SoftCAM differ only in the head and in the penalty that the head adds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.contracts import Channels, Classifier, Head, UserError
from bench.data.split import Split, normalise
from bench.devices import training_autocast
from bench.files import replacing
from bench.memory import is_out_of_memory
from bench.models.eval_mode import evaluating
from bench.seeds import seed_of
from bench.statistics.classification import auc, softmax
from bench.training.augmentation import Augmentation, augmentation

if TYPE_CHECKING:
    from bench.config import TrainingSection
    from bench.data.prepare import TrainingData  # not at run time: how images are read does not change the weights


def learning_rate(step: int, steps: int, recipe: TrainingSection) -> float:
    """Half a cosine from ``lr`` to 0 over all steps, clipped below at ``final_lr``."""
    return max(recipe.final_lr, recipe.lr * (1 + math.cos(math.pi * step / steps)) / 2)


def train(
    classifier: Classifier,
    head: Head,
    data: TrainingData,
    recipe: TrainingSection,
    seed_names: tuple[object, ...],
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None],
) -> pd.DataFrame:
    """Train in place and leave the weights of the epoch with the best validation AUC (the later one of equals).

    Every epoch ends with a checkpoint; a second call with the same file goes on behind the last finished epoch and
    ends with the same weights as an undisturbed one, because each epoch draws its random numbers from its own seed.

    Args:
        classifier: trained in place.
        head: adds its penalty on the evidence to the cross-entropy.
        seed_names: the names that seed the order of the images and the augmentation.
        checkpoint: file that holds the state between epochs; removed by the caller when the result is safe.
        on_epoch: called with each row of the history.

    Returns:
        One row an epoch: epoch, lr, train_loss (with penalty), penalty, val_loss, val_auc, val_accuracy, seconds.
    """
    classifier.to(device).to(memory_format=torch.channels_last)
    loop = TrainingLoop(classifier, head, data, recipe, device)
    history, best = loop.resume(checkpoint)
    for epoch in range(len(history), recipe.epochs):
        torch.manual_seed(seed_of(*seed_names, "epoch", epoch))
        started = time.perf_counter()
        row = {"epoch": epoch} | loop.run_epoch(epoch) | validate(classifier, data, device, recipe.batch_size)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        if not best or _rank(row) >= max(_rank(old) for old in history[:-1]):
            best = {name: value.detach().clone() for name, value in classifier.state_dict().items()}
        loop.save(checkpoint, history, best)
        on_epoch(row)
    classifier.load_state_dict(best)
    return pd.DataFrame(history)


def _rank(row: dict[str, float]) -> float:
    return -1.0 if math.isnan(row["val_auc"]) else row["val_auc"]


class TrainingLoop:
    """Optimiser state and what an epoch does with it; an epoch can be run, and timed, on its own."""

    def __init__(
        self, classifier: Classifier, head: Head, data: TrainingData, recipe: TrainingSection, device: torch.device
    ) -> None:
        self.classifier, self.head, self.data, self.recipe, self.device = classifier, head, data, recipe, device
        self.optimizer = torch.optim.SGD(
            classifier.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        self.augment: Augmentation = nn.Identity()
        if recipe.augmentation != "none":
            self.augment = augmentation(data.modality, recipe.augmentation)
        self.class_weights = self._class_weights() if recipe.class_weights else None
        self.parts = 1  # a batch is worked on in so many parts, more when memory runs out

    def _class_weights(self) -> Tensor:
        labels = torch.as_tensor(self.data.train.labels)
        counts = torch.bincount(labels, minlength=self.classifier.num_classes).clamp(min=1)
        return (len(labels) / (len(counts) * counts)).float().to(self.device)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images -> mean loss and penalty, and the last learning rate."""
        self.classifier.train()
        images = len(self.data.train)
        order = torch.randperm(images)
        # A last batch of one image has no batch statistics: it sits this epoch out.
        batches = [batch for batch in order.split(self.recipe.batch_size) if len(batch) > 1 or images == 1]
        seen = sum(map(len, batches))
        sums, rate = torch.zeros(2, dtype=torch.float64, device=self.device), 0.0
        for number, indices in enumerate(batches):
            rate = learning_rate(epoch * len(batches) + number, self.recipe.epochs * len(batches), self.recipe)
            sums += self._step(indices, rate) * len(indices)
        total, penalties = sums.tolist()  # once an epoch: it waits for the device
        if not math.isfinite(total):
            raise UserError(f"training diverged in epoch {epoch} (loss is {total}); try a smaller lr or penalty")
        return {"lr": rate, "train_loss": total / seen, "penalty": penalties / seen}

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
        """Gradient of the batch's mean loss, taken in ``parts``; returns loss and penalty (2,) float64."""
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for part, targets in zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True):
            share = len(part) / len(images)
            with training_autocast(self.device):
                logits, evidence = self.classifier.forward_training(part)
            penalty = torch.as_tensor(self.head.penalty(None if evidence is None else evidence.float()))
            penalty = penalty.to(self.device, non_blocking=True)
            loss = F.cross_entropy(logits.float(), targets, weight=self.class_weights) + penalty
            (loss * share).backward()
            sums += torch.stack([loss.detach(), penalty.detach()]).double() * share
        return sums

    def save(self, path: Path, history: list[dict[str, float]], best: dict[str, Tensor]) -> None:
        """Write weights, momentum, best weights and history to one file, atomically."""
        tensors = {f"model.{name}": value for name, value in self.classifier.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors[f"momentum.{number}"] = state["momentum_buffer"]
        tensors["history"] = torch.tensor(pd.DataFrame(history).to_numpy(dtype=np.float64))
        # torch keeps convolution weights in channels_last strides; the file holds them in the standard order.
        stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        with replacing(path) as temporary:
            save_file(stored, temporary, metadata={"columns": ",".join(history[0])})

    def resume(self, path: Path) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Load what ``save`` wrote -> history and best weights, both empty where there is no file."""
        if not path.exists():
            return [], {}
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            columns = file.metadata()["columns"].split(",")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
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
    """Loss, AUC and accuracy on the validation images, in float32."""
    logits = predict_split(classifier, data.val, np.arange(len(data.val)), data.mean, data.std, device, batch_size)
    labels = data.val.labels
    loss = F.cross_entropy(torch.from_numpy(logits), torch.as_tensor(labels)).item()
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return {"val_loss": loss, "val_auc": float(auc(softmax(logits), labels)[0]), "val_accuracy": accuracy}


def predict_split(
    classifier: nn.Module,
    split: Split,
    indices: np.ndarray,
    mean: Channels,
    std: Channels,
    device: torch.device,
    batch_size: int,
) -> np.ndarray:
    """Logits (N,C) float32 of the images of a split with these indices (N,)."""
    rows = []
    with evaluating(classifier), torch.inference_mode():
        for batch in torch.from_numpy(indices).split(batch_size):
            images = normalise(split.batch(batch).to(device), mean, std)
            rows.append(classifier(images.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(rows).numpy()
