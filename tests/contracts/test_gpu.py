"""The same numbers on a CUDA device as on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from bench.contracts import Batch
from bench.registry import EXPLAINERS, HEADS
from tests.support.tiny import tiny_classifiers, tiny_net

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
#: One of each way to make a map: evidence, gradients, perturbation, noise and controls.
EXPLAINED = [
    ("softcam", "softcam"), ("bcos", "bcos"), ("gradcam", "black box"), ("layercam", "softcam"),
    ("scorecam", "black box"), ("integrated_gradients", "black box"), ("guided_backprop", "black box"),
    ("smoothgrad", "softcam"), ("occlusion", "black box"), ("random", "black box"), ("mask_oracle", "black box"),
    ("grid_oracle", "black box"), ("attention_rollout", "transformer"), ("chefer", "transformer"),
    ("legrad", "transformer"),
]  # fmt: skip
HEADS_TRAINED = ["blackbox", "softcam-dense", "softcam-elastic"]


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single precision as the CPU has it: no TF32."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize(("name", "kind"), EXPLAINED)
def test_maps_are_those_of_the_cpu(name: str, kind: str) -> None:
    generator = torch.Generator().manual_seed(5)
    images, masks = torch.randn(3, 3, 32, 32, generator=generator), torch.rand(3, 32, 32, generator=generator) > 0.8
    targets, seeds, classifier = torch.arange(3), (10, 11, 12), tiny_classifiers()[kind]
    here = EXPLAINERS[name]().explain_batch(classifier, Batch(images, targets, masks, seeds))
    there = EXPLAINERS[name]().explain_batch(
        copy.deepcopy(classifier).to(CUDA), Batch(images.to(CUDA), targets.to(CUDA), masks.to(CUDA), seeds)
    )
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", HEADS_TRAINED)
def test_a_training_step_is_that_of_the_cpu(name: str) -> None:
    generator = torch.Generator().manual_seed(6)
    images, labels = torch.randn(8, 3, 32, 32, generator=generator), torch.arange(8) % 3
    torch.manual_seed(7)
    head = HEADS[name]()
    classifier = head.build(tiny_net(), 3).eval()  # in training mode its dropout would draw other numbers there
    weights = []
    for device in (torch.device("cpu"), CUDA):
        copied = copy.deepcopy(classifier).to(device)
        logits, evidence = copied.forward_training(images.to(device))
        loss = F.cross_entropy(logits, labels.to(device)) + head.penalty(evidence)
        loss.backward()
        torch.optim.SGD(copied.parameters(), lr=0.1).step()
        weights.append({key: value.cpu() for key, value in copied.state_dict().items()})
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(value, weights[0][key]) for key, value in classifier.state_dict().items())
