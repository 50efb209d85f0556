"""Small networks whose cut is known, and the check that their parts make the whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import softcam


class Net(nn.Module):
    """Convolutions, a way to the pooled features, and what follows."""

    def __init__(self, pool: nn.Module | None = None, fc: nn.Module | None = None, channels: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.pool = pool or nn.AdaptiveAvgPool2d(1)
        self.fc = fc or nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.body(x)).flatten(1))


def assert_exact(model: nn.Module, images: Tensor, converted: softcam.SoftCAM | None = None) -> None:
    converted = converted or softcam.convert(model)
    with torch.no_grad():
        expected = model.eval()(images)
        assert expected.std() > 1e-4, "a constant model would prove nothing"
        torch.testing.assert_close(converted.eval()(images), expected, rtol=1e-4, atol=1e-5)
        evidence = converted.forward_evidence(images)
        assert min(evidence.shape[2:]) >= 4
        torch.testing.assert_close(evidence.mean((2, 3)), expected, rtol=1e-4, atol=1e-5)
