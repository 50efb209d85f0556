"""Other libraries' maps against ours and against literal formulas: what differs, and that nothing else does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.config import parse_config
from bench.contracts import Classifier
from bench.maps import positive
from bench.models.shared_features import SharedFeatures
from bench.registry import EXPLAINERS, HEADS
from bench.run.plan import make_plan
from tests.support.made import registered_squares
from tests.support.tiny import small_vgg, tiny_classifiers

TARGETS = torch.tensor([0, 2, 1])
METHODS = ("gradcam", "gradcam++", "layercam", "scorecam")
ALSO_OF_PYTORCH_GRAD_CAM = ("hirescam", "xgradcam", "eigencam")
needs_torchcam = pytest.mark.skipif(not importlib.util.find_spec("torchcam"), reason="torchcam is not installed")


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def classifier_of(kind: str) -> Classifier:
    if kind != "vgg":
        return tiny_classifiers()[kind]
    torch.manual_seed(2)
    return HEADS["blackbox"]().build(small_vgg().eval(), 3)


def maps_of(name: str, kind: str) -> Tensor:
    return EXPLAINERS[name]().explain(classifier_of(kind), images(), TARGETS)


def enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("kind", ["vgg", "black box"])
@pytest.mark.parametrize("name", METHODS + ALSO_OF_PYTORCH_GRAD_CAM)
def test_pytorch_grad_cam_is_ours_bilinear_and_scaled(name: str, kind: str) -> None:
    theirs = maps_of(f"{name}@pytorch-grad-cam", kind)
    assert theirs.shape == (3, 32, 32)
    torch.testing.assert_close(theirs, positive(enlarged(maps_of(name, kind).relu())), rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", ["vgg", "black box"])
def test_captum_is_ours_without_relu(kind: str) -> None:
    theirs = maps_of("gradcam@captum", kind)
    assert theirs.min() < 0
    torch.testing.assert_close(theirs.relu(), maps_of("gradcam", kind), rtol=1e-5, atol=1e-6)


@needs_torchcam
@pytest.mark.parametrize("kind", ["vgg", "black box"])
@pytest.mark.parametrize("name", ["gradcam", "layercam"])
def test_torchcam_is_ours_scaled_on_the_grid(name: str, kind: str) -> None:
    theirs = maps_of(f"{name}@torchcam", kind)
    assert theirs.shape == (3, 7, 7) or kind == "vgg"
    torch.testing.assert_close(theirs, positive(maps_of(name, kind)), rtol=1e-3, atol=1e-4)


@needs_torchcam
def test_gradcam_plus_plus_of_torchcam_has_no_denominator() -> None:
    """Σ relu(g)·g² is what weighs its channels, where eq. 19 divides by 2g² + ΣA·g³, as ours does.

    Cubes are small: the 1e-8 of its scaling keeps the maps below 1.
    """
    classifier = classifier_of("vgg")
    shared = SharedFeatures(classifier, images())
    features, gradients = shared.features.numpy(), shared.gradients(TARGETS).numpy()
    weights = (np.maximum(gradients, 0) * gradients**2).sum(axis=(2, 3))
    cam = torch.from_numpy(np.maximum((weights[:, :, None, None] * features).sum(axis=1), 0))
    lowest, highest = (end(cam, dim=(1, 2), keepdim=True) for end in (torch.amin, torch.amax))
    theirs = EXPLAINERS["gradcam++@torchcam"]().explain(classifier, images(), TARGETS)
    torch.testing.assert_close(theirs, (cam - lowest) / (highest - lowest + 1e-8), rtol=1e-3, atol=1e-4)
    assert theirs.amax(dim=(1, 2)).min() < 0.97
    assert not torch.allclose(theirs, positive(maps_of("gradcam++", "vgg")), atol=0.01)


@needs_torchcam
def test_scorecam_of_torchcam_scales_before_it_enlarges() -> None:
    classifier, x = classifier_of("vgg"), images()
    theirs = EXPLAINERS["scorecam@torchcam"]().explain(classifier, x, TARGETS)
    for index, target in enumerate(TARGETS.tolist()):
        with torch.no_grad():
            features = classifier.forward_features(x[index : index + 1])[0]
            scores = []
            for channel in features:
                mask = (channel - channel.min()) / (channel.max() - channel.min() + 1e-8)
                scores.append(classifier(x[index : index + 1] * enlarged(mask[None]))[0, target])
        cam = (torch.stack(scores).softmax(dim=0)[:, None, None] * features).sum(dim=0)
        torch.testing.assert_close(theirs[index], positive(cam[None])[0], rtol=1e-3, atol=1e-4)


def test_variants_state_whose_they_are() -> None:
    variants = {name: EXPLAINERS[name] for name in EXPLAINERS if "@" in name}
    assert len(variants) == 12
    for name, one in variants.items():
        assert one.variant_of == name.split("@")[0]
        assert one.paper == EXPLAINERS[one.variant_of].paper
        maps = maps_of(name, "black box") if one().applies_to(classifier_of("black box")) == "" else torch.zeros(1)
        assert not one.scaled or (maps.min() >= 0 and maps.max() <= 1)


def test_a_library_that_is_absent_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reasons = {name: EXPLAINERS[f"{name}@torchcam"]().applies_to(classifier_of("black box")) for name in METHODS}
    assert set(reasons.values()) == {"torchcam is not installed: pip install -e '.[compare]' (or pip install torchcam)"}
    assert EXPLAINERS["gradcam@captum"]().applies_to(classifier_of("black box")) == ""


def test_all_leaves_variants_out_and_their_names_bring_them_in() -> None:
    with registered_squares():
        values = {"run": {"datasets": ["squares"], "explainers": ["all", "gradcam@captum"]}}
        plan = make_plan(parse_config(values, "made"), Path("nowhere"))
    assert [name for name in plan.explainers if "@" in name] == ["gradcam@captum"]
    assert set(METHODS) < set(plan.explainers)
