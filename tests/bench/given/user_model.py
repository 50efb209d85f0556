"""A small trained model of a user, and images to evaluate it on: bright squares on noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

SIDE = 32


def user_images(count: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N,3,32,32) in [0, 1], masks (N,32,32) and labels (N,): every second image holds a bright square."""
    draw = torch.Generator().manual_seed(seed)
    images = (torch.rand(count, 3, SIDE, SIDE, generator=draw) * 127).round() / 255
    masks, labels = torch.zeros(count, SIDE, SIDE, dtype=torch.bool), torch.arange(count) % 2
    for place in range(1, count, 2):
        row, column = torch.randint(0, SIDE - 8, (2,), generator=draw).tolist()
        masks[place, row : row + 8, column : column + 8] = True
        images[place][:, masks[place]] = 230 / 255
    return images, masks, labels


class UserNet(nn.Module):
    """A small CNN whose output has one of the forms that libraries use."""

    def __init__(self, channels: int = 3, form: str = "tensor", outputs: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
            )
            self.fc = nn.Linear(8, outputs)
        self.form = form

    def forward(self, images: Tensor) -> Any:
        features = self.body(images)
        logits = self.fc(features.mean(dim=(2, 3)))
        forms: dict[str, Any] = {
            "tensor": logits,
            "tuple": (logits, features),
            "dict": {"out": logits, "map": features},
        }
        forms |= {"object": SimpleNamespace(logits=logits, loss=None), "probabilities": logits.softmax(dim=1)}
        return forms[self.form]


class LikeTransformers(nn.Module):
    """A model as the library transformers has them: checks its input, and returns an object with ``logits``."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UserNet()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
        if pixel_values.shape[1] != 3:
            raise ValueError("expected three channels")
        return SimpleNamespace(logits=self.net(pixel_values), loss=labels)


def trained_net() -> UserNet:
    """The network after some steps on its images: it gets all of them right."""
    net, (images, _, labels) = UserNet(), user_images(32, seed=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return net.eval()


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that an evaluation must leave as it is."""
    facts: dict[str, Any] = {
        name: (one.detach().clone(), one.requires_grad, one.grad, one.dtype, one.device)
        for name, one in (*model.named_parameters(), *model.named_buffers())
    }
    for name, part in model.named_modules():
        hooks = [len(getattr(part, table)) for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
        facts[f"module {name}"] = part.training, hooks, sorted(vars(part))
    return facts


def same_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results of ``state_of`` agree."""
    if one.keys() != other.keys():
        return False
    for name, fact in one.items():
        first, *rest = fact
        if isinstance(first, Tensor):
            if not torch.equal(first, other[name][0]) or rest[1] is not other[name][2] or rest[0] != other[name][1]:
                return False
            if rest[2:] != list(other[name][3:]):
                return False
        elif fact != other[name]:
            return False
    return True
