"""BagNets: what a cell sees, the published layout, and that the heads make of it what the papers describe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.bagnet import BagNet, CompactBagNet
from bench.contracts import Classifier, EvidenceClassifier
from bench.registry import BACKBONES, EXPLAINERS, HEADS


def pixels_seen(features: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the pixels on which the middle cell depends: where the gradient is not zero."""
    seen = torch.zeros(side, side, dtype=torch.bool)
    for seed in range(4):
        images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        cells = features(images)
        middle = cells[0, :, cells.shape[2] // 2, cells.shape[3] // 2]
        (gradient,) = torch.autograd.grad(middle.sum(), images)
        seen |= gradient[0].abs().sum(dim=0) > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize("size", [9, 17, 33])
@pytest.mark.parametrize("network", [CompactBagNet, BagNet])
def test_a_cell_sees_exactly_its_receptive_field(network: type[nn.Module], size: int) -> None:
    torch.manual_seed(0)
    model = network(size).eval()
    assert pixels_seen(nn.Sequential(model.stem, model.stages), 96) == (size, size)


def test_the_compact_backbone_sees_more() -> None:
    """The oracle is not blind: the residual network of the same size reads 71 pixels."""
    torch.manual_seed(0)
    model = BACKBONES["compact"].build(False)[0].eval()
    assert pixels_seen(nn.Sequential(model.stem, model.stages), 128) == (71, 71)


def test_published_layout() -> None:
    """16 bottlenecks, of which four have a 3×3 convolution; parameters by hand, and the paper's grid at 224 pixels."""
    model = BagNet(33)
    kernels = [part.kernel_size for part in model.modules() if isinstance(part, nn.Conv2d)]
    assert kernels.count((3, 3)) == 5
    assert len(kernels) == 2 + 3 * 16 + 4
    parameters, channels = 3 * 64 + 9 * 64 * 64 + 2 * 64, 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        out = 4 * width
        parameters += channels * out + 2 * out  # the shortcut of the first block
        for block in range(blocks):
            kernel = 9 if block == 0 else 1
            parameters += channels * width + kernel * width**2 + width * out + 2 * (2 * width + out)
            channels = out
    assert sum(weight.numel() for weight in model.parameters()) == parameters + 2048 * 1000 + 1000
    with torch.no_grad():
        features = nn.Sequential(model.stem, model.stages).eval()(torch.rand(1, 3, 224, 224))
    assert features.shape == (1, 2048, 24, 24)


@pytest.mark.parametrize("backbone", ["bagnet_compact", "bagnet_compact_17", "bagnet_compact_9"])
def test_evidence_is_that_of_the_square_alone(backbone: str) -> None:
    """A change outside a cell's square leaves its evidence as it is; the logit is the mean over the squares."""
    torch.manual_seed(1)
    classifier = HEADS["softcam-sparse"]().build(BACKBONES[backbone].build(False)[0], 2).eval()
    assert isinstance(classifier, EvidenceClassifier)
    images, targets = torch.rand(2, 3, 112, 112), torch.tensor([0, 1])
    changed = images.clone()
    changed[:, :, :, 72:] = torch.rand(2, 3, 112, 40)
    evidence, other = (EXPLAINERS["softcam"]().explain(classifier, x, targets) for x in (images, changed))
    assert evidence.shape == (2, 14, 14)
    torch.testing.assert_close(evidence.mean(dim=(1, 2)), classifier(images)[torch.arange(2), targets])
    torch.testing.assert_close(evidence[:, :, :7], other[:, :, :7], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(evidence[:, :, 9:], other[:, :, 9:])


def test_training_free_conversion_is_exact() -> None:
    torch.manual_seed(2)
    trained: Classifier = HEADS["blackbox"]().build(BACKBONES["bagnet_compact"].build(False)[0], 3).eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(HEADS["tte"]().convert(trained)(images), trained(images), rtol=1e-5, atol=1e-6)


def test_origin_is_honest() -> None:
    assert BACKBONES["bagnet_compact"].build(False)[1] == "random initialisation"
    assert BACKBONES["bagnet33"].build(True)[1] == "random initialisation (no pretrained BagNet is shipped)"
