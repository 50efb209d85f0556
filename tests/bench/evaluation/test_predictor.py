"""The inference copy is the same function; bf16 is used only where the scores agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from bench.contracts import EvidenceClassifier, UserError
from bench.evaluation.mixed_precision import agreement
from bench.evaluation.predictor import Predictor, batch_size_for, checked_precision, choices, fold_for_inference
from softcam import convert
from tests.support.tiny import excite, tiny_classifiers, tiny_net


@pytest.mark.parametrize("name", ["black box", "softcam", "bcos"])
def test_copy_is_the_same_function(name: str) -> None:
    classifier = tiny_classifiers()[name]
    images = torch.rand(4, 3, 32, 32)
    copied = fold_for_inference(classifier, images[:1])
    assert type(copied) is type(classifier)
    torch.testing.assert_close(copied(images), classifier(images), rtol=1e-4, atol=1e-5)
    if isinstance(copied, EvidenceClassifier) and isinstance(classifier, EvidenceClassifier):
        torch.testing.assert_close(copied.forward_evidence(images), classifier.forward_evidence(images))
    assert not any(weight.requires_grad for weight in copied.parameters())


def test_batch_norms_are_gone_and_the_original_keeps_its_own() -> None:
    model = resnet18(num_classes=2)
    excite(model, torch.randn(4, 3, 64, 64))
    classifier = convert(model.eval())
    copied = fold_for_inference(classifier, torch.randn(1, 3, 64, 64))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in copied.modules())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in classifier.modules()) == 20
    images = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(copied(images), classifier(images), rtol=1e-3, atol=1e-4)


class Branching(nn.Module):
    """Cannot be traced, as what it does depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)) * (2 if images.mean() > 0 else 1)


def test_what_cannot_be_traced_stays_as_it_is() -> None:
    classifier = tiny_classifiers()["black box"]
    classifier.features = Branching().eval()
    classifier.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    copied = fold_for_inference(classifier, torch.rand(1, 3, 32, 32))
    assert isinstance(copied.features, Branching)
    for images in (torch.rand(2, 3, 32, 32), -torch.rand(2, 3, 32, 32)):
        torch.testing.assert_close(copied(images), classifier(images))


def test_engine_predicts_what_its_network_does() -> None:
    net = tiny_classifiers()["black box"]
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(Predictor(net, "float32", 2).predict(images), tiny_net()(images))
    half = Predictor(net, "bf16", 2).predict(images)
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, tiny_net()(images), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("side", "size"), [(8, 128), (64, 128), (96, 32), (224, 8), (512, 4), (2000, 4)])
def test_batches_depend_on_the_size_of_images_alone(side: int, size: int) -> None:
    assert batch_size_for(torch.rand(1, 3, side, side)) == size
    assert batch_size_for(torch.rand(1, 3, side, side).half()) == size


def test_names_of_precisions() -> None:
    assert [choices(asked, torch.device("cpu"))[-1] for asked in ("float32", "bf16")] == ["float32", "bf16"]
    assert choices("auto", torch.device("cpu"))[0] == "float32"
    with pytest.raises(UserError, match="unknown precision 'fp16'"):
        checked_precision("fp16")


@pytest.mark.parametrize(
    ("change", "agree", "changed"),
    [
        ([[0.0005, -0.0005], [0.0, 0.0]], True, 0),
        ([[0.002, 0.002], [0.002, 0.002]], False, 0),  # mean difference
        ([[0.021, -0.021], [0.0, 0.0]], False, 0),  # worst difference, and mean
        ([[0.0018, 0.0018], [-0.0005, -0.0005]], False, 1),  # the order of the two
    ],
)
def test_agreement_by_hand(change: list[list[float]], agree: bool, changed: int) -> None:
    ours = np.array([[0.500, 0.700], [0.502, 0.702]])
    result = agreement(ours, ours + np.array(change))
    assert (result["agree"], result["changed_ranks"]) == (agree, changed)
    assert result["worst_difference"] == pytest.approx(np.abs(change).max())
    assert result["mean_difference"] == pytest.approx(np.abs(change).mean())


def test_methods_that_are_equal_may_change_places_and_undefined_ones_do_not_count() -> None:
    ours = np.array([[0.5, 0.7], [0.5004, 0.7004], [np.nan, 0.2]])
    assert agreement(ours, ours[[1, 0, 2]])["agree"]
    assert not agreement(ours[2:], ours[2:])["agree"]
