"""ONNX files of several architectures, and of a classifier whose export differs from it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.commands.export.onnx import write_onnx
from bench.contracts import Classifier, UserError
from bench.data.split import normalise
from bench.files import replacing
from bench.registry import BACKBONES, HEADS
from softcam import SoftCAM
from tests.support.tiny import excite, small_vgg, unpretrained

onnxruntime, *_ = [pytest.importorskip(name) for name in ("onnxruntime", "onnx", "onnxscript")]

ABOUT = {"size": 96, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "classes": ["a", "b", "c"]}


@pytest.mark.parametrize("backbone", ["resnet18", "vgg"])
def test_onnx_of_other_backbones(tmp_path: Path, backbone: str) -> None:
    """A ResNet, and VGG's head of several 1×1 convolutions."""
    torch.manual_seed(0)
    plain = small_vgg() if backbone == "vgg" else BACKBONES[backbone].build(False)[0]
    model = SoftCAM.from_classifier(plain, 3)
    excite(model, torch.randn(4, 3, 96, 96))
    model.eval()
    said = write_onnx(model, ABOUT, replacing(tmp_path / "model.onnx"))
    assert "batches of 1 and 3" in said
    images = torch.randn(2, 3, 96, 96)
    logits, evidence = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = model.forward_evidence(images).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(evidence, expected, atol=1e-4)
    np.testing.assert_allclose(logits, expected.mean(axis=(2, 3)), atol=1e-4)


class _OtherWhenExported(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * (2 if torch.compiler.is_exporting() else 1)


def test_file_that_differs_is_not_kept(tmp_path: Path) -> None:
    wrong = Classifier(_OtherWhenExported(), nn.Flatten(), 3 * 96 * 96).eval()
    with pytest.raises(UserError, match="its logits differ from PyTorch's"):
        write_onnx(wrong, ABOUT, replacing(tmp_path / "model.onnx"))
    assert list(tmp_path.iterdir()) == []


#: Backbones whose layers another one of the list has, too: exporting them takes minutes and finds nothing else.
SIBLINGS = {
    "bagnet_compact_17",
    "bagnet_compact_9",
    "bagnet33",
    "resnet34",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "vgg16_bn",
    "efficientnet_v2_m",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKBONES))
def test_onnx_of_every_backbone_that_list_names(tmp_path: Path, name: str) -> None:
    """The file is kept only if onnxruntime gives PyTorch's logits and evidence, one and three images at a time."""
    if name in SIBLINGS and os.environ.get("EXPORT") != "all":
        pytest.skip("another backbone has the same layers; EXPORT=all exports every one")
    torch.manual_seed(0)
    plain = unpretrained(name)
    head = HEADS["bcos"]() if name.startswith("bcos") else HEADS["softcam-dense"]()
    model = head.build(plain, 3).eval()
    about = ABOUT | {"size": 64}
    if not name.startswith("bcos"):  # its norms have no bias
        # Of few or other images, the statistics make a deep network that float32 itself computes 12 % off float64.
        pixels = torch.randint(0, 256, (16, 3, 64, 64), dtype=torch.uint8)
        excite(model.features, normalise(pixels, ABOUT["mean"], ABOUT["std"]))
    said = write_onnx(model.eval(), about, replacing(tmp_path / "model.onnx"))
    assert "largest difference logits" in said
    assert (tmp_path / "model.onnx").stat().st_size > 1000
