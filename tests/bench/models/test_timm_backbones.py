"""timm models: black box and conversion against timm's own logits, refusals, and the order of the tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bench.models.timm_backbones  # noqa: F401
import softcam
from bench.contracts import Classifier, UserError
from bench.files import read_json
from bench.models.eval_mode import evaluating
from bench.models.feature_extraction import split_classifier
from bench.registry import BACKBONES, EXPLAINERS, HEADS
from bench.report.frames.load import load_frames
from tests.support.files import ROOT
from tests.support.made import registered_squares, run_tiny, tiny_config
from tests.support.tiny import excite

timm = pytest.importorskip("timm")

#: Name -> image side, constructor arguments; "" or a part of the reason why it is no exact SoftCAM.
MODELS: dict[str, tuple[int, dict[str, Any], str]] = {
    "resnet10t": (64, {}, ""),
    "resnet18": (64, {"drop_rate": 0.2}, ""),
    "resnetv2_18": (64, {}, ""),  # its last layer is a 1×1 convolution
    "regnetx_002": (64, {}, ""),
    "test_efficientnet": (64, {}, ""),
    "efficientnet_lite0": (64, {}, ""),
    "convnext_atto": (64, {}, "LayerNorm2d 'head.norm'"),
    "mobilenetv3_small_050": (64, {}, "Conv2d 'conv_head'"),
    "mambaout_femto": (64, {"depths": (1, 1, 1, 1)}, "LayerNorm 'head.norm'"),
    "resnet10t max": (64, {"global_pool": "max"}, "AdaptiveMaxPool2d 'global_pool.pool'"),
    "swin_tiny_patch4_window7_224": (64, {"depths": (1, 1, 2, 1), "embed_dim": 24, "dynamic_img_size": True}, ""),
    "vit_medium_patch16_gap_256": (64, {"depth": 2, "embed_dim": 64, "num_heads": 4, "dynamic_img_size": True}, ""),
    "vit_tiny_patch16_224": (64, {"depth": 2, "dynamic_img_size": True}, "class or register token"),
    "vit_tiny_patch16_224 avg": (64, {"depth": 2, "img_size": 64, "global_pool": "avg"}, "LayerNorm 'fc_norm'"),
    "vit_tiny_patch16_224 exact": (64, {"depth": 2, "img_size": 64, "global_pool": "avg", "fc_norm": False}, ""),
}
EXACT = [name for name, (*_, reason) in MODELS.items() if not reason]
CLASS_TOKEN = "vit_tiny_patch16_224"


def create(name: str) -> tuple[nn.Module, Tensor]:
    """A small model with random weights that all matter, in eval mode, and two images for it."""
    side, arguments, _ = MODELS[name]
    torch.manual_seed(1)
    model = timm.create_model(name.split()[0], num_classes=5, **arguments)
    excite(model, torch.randn(4, 3, side, side))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight) * (weight.ndim < 2))  # what starts at 0 or 1 says something
        last = model.get_classifier()
        nn.init.normal_(last.weight, std=0.3)
    return model.eval(), torch.randn(2, 3, side, side)


def assert_tells_images_apart(logits: Tensor) -> None:
    assert logits.std(dim=0).max() > 1e-3, "a constant model would prove nothing"


@pytest.mark.parametrize("name", MODELS)
def test_parts_compose_to_the_model(name: str) -> None:
    model, images = create(name)
    parts = split_classifier(model)
    reason = MODELS[name][2]
    assert reason in parts.not_linear
    assert bool(parts.not_linear) == bool(reason)
    with torch.no_grad():
        logits = model(images)
        assert_tells_images_apart(logits)
        torch.testing.assert_close(parts.classifier(5)(images), logits, rtol=1e-5, atol=1e-5)
        assert parts.features(images).ndim == 4
    ours = {id(p): p for part in (parts.features, parts.head) for p in part.parameters()}
    assert {id(p) for p in model.parameters()} == set(ours), "weights are shared, and each is in one part"
    assert not {id(p) for p in parts.features.parameters()} & {id(p) for p in parts.head.parameters()}


@pytest.mark.parametrize("name", MODELS)
def test_black_box_is_the_model_with_a_fresh_last_layer(name: str) -> None:
    model, images = create(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    classifier = HEADS["blackbox"]().build(model, 3)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    fresh = [part for part in classifier.head.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    old = model.get_classifier()
    place = next(place for place, part in model.named_modules() if part is old)
    model.set_submodule(place, fresh)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), model(images), rtol=1e-5, atol=1e-5)
    assert classifier(images).shape == (2, 3)
    assert_tells_images_apart(classifier(images).detach())
    weights = [weight.data_ptr() for weight in classifier.state_dict().values() if weight.numel()]
    assert len(weights) == len(set(weights)), "safetensors saves no tensor twice"


@pytest.mark.parametrize("name", EXACT)
def test_conversion_is_exact(name: str) -> None:
    model, images = create(name)
    for source in (model, HEADS["blackbox"]().build(model, 4).eval()):
        converted = softcam.convert(source)
        with torch.no_grad():
            logits, evidence = source(images), converted.forward_evidence(images)
        assert_tells_images_apart(logits)
        torch.testing.assert_close(converted(images), logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, rtol=1e-5, atol=1e-5)
        assert evidence.flatten(2).std(dim=2).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in MODELS if name not in EXACT])
def test_conversion_refuses_with_the_reason(name: str) -> None:
    model, _ = create(name)
    with pytest.raises(ValueError, match=r"cannot be converted exactly.*from_classifier") as caught:
        softcam.convert(model)
    assert MODELS[name][2] in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="class or register token" if name == CLASS_TOKEN else "converted exactly"):
        softcam.convert(HEADS["blackbox"]().build(model, 2))


@pytest.mark.parametrize("name", MODELS)
def test_fresh_evidence_on_every_model(name: str) -> None:
    model, images = create(name)
    classifier = softcam.SoftCAM.from_classifier(model, 2).eval()
    features, evidence = split_classifier(model).features(images), classifier.forward_evidence(images)
    assert evidence.shape[2:] == features.shape[2:]
    layer = classifier.head.layers[-1]
    cell = features[:, :, 1, 0] @ layer.weight[:, :, 0, 0].T + layer.bias
    torch.testing.assert_close(evidence[:, :, 1, 0], cell, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier(images), evidence.mean(dim=(2, 3)))


def test_class_token_decides_beside_the_map() -> None:
    """CAMs do not apply, with the reason; whatever reads images only does."""
    model, images = create(CLASS_TOKEN)
    classifier = HEADS["blackbox"]().build(model, 3).eval()
    features = classifier.forward_features(images)
    assert features.shape == (2, 192, 4, 4)
    for name in ("gradcam", "layercam", "eigencam"):
        assert "class or register token" in EXPLAINERS[name]().applies_to(classifier)
    with pytest.raises(ValueError, match="class or register token"):
        classifier.forward_head(features)
    assert EXPLAINERS["integrated_gradients"]().applies_to(classifier) == ""
    tokens = model.forward_features(images)
    torch.testing.assert_close(features[:, :, 2, 3], tokens[:, 1 + 2 * 4 + 3])


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_medium_patch16_gap_256", "swin_tiny_patch4_window7_224"])
def test_tokens_lie_where_their_patches_do(name: str) -> None:
    """Without attention a token knows its own patch only; so a patch that changes shows where its token is."""
    model, _ = create(name)
    for block in (part for part in model.modules() if hasattr(part, "attn")):
        block.attn = nn.Module()
        block.attn.forward = lambda x, *rest, **named: torch.zeros_like(x)
    features = split_classifier(model).features.eval()
    images = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        before = features(images)
        rows, columns = before.shape[2:]
        patch = 96 // rows
        assert (rows, columns) == (96 // patch, 160 // patch)
        for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1), (1, 2)):
            other = images.clone()
            other[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] += 2 * torch.randn(
                3, patch, patch
            )
            changed = (features(other) - before).abs().amax(dim=(0, 1)) > 1e-4
            assert changed.nonzero().tolist() == [[row, column]]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("crossvit_9_240", {"depth": ((1, 1, 0),) * 3}, "returns a list as features"),
        ("deit_tiny_distilled_patch16_224", {"depth": 1}, "2 classifiers"),
        ("pit_ti_224", {}, "one feature vector"),
        ("resnet10t", {"num_classes": 0}, "no linear layer as its classifier"),
    ],
)
def test_what_has_no_map_is_refused(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        split_classifier(timm.create_model(name, **arguments))
    assert "\n" not in str(caught.value)


def test_a_forward_that_is_more_than_its_parts_is_refused() -> None:
    model, _ = create("resnet10t")
    plain = type(model).forward
    model.__class__ = type("Scaled", (type(model),), {"forward": lambda self, x: 2 * plain(self, x)})
    with pytest.raises(ValueError, match="the head of Scaled on its features does not give the logits"):
        split_classifier(model)


def test_dissection_leaves_the_random_state_and_the_modes() -> None:
    model, _ = create("resnet10t")
    model.train()
    model.bn1.eval()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    parts = split_classifier(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.bn1.training
    assert not parts.features.native.model.bn1.training
    assert parts.features.native.model.layer1.training


def test_twins_start_from_the_same_function() -> None:
    images = torch.randn(2, 3, 64, 64)
    model, _ = create("resnet10t")
    twins: list[Classifier] = []
    for name in ("blackbox", "softcam-dense"):
        torch.manual_seed(7)
        twins.append(HEADS[name]().build(model, 2))
    torch.testing.assert_close(twins[0](images), twins[1](images))


def test_transformers_read_any_size_of_whole_patches() -> None:
    model, _ = BACKBONES["timm:test_vit"].build(False)
    classifier = HEADS["softcam-dense"]().build(model, 2).eval()
    assert classifier.forward_evidence(torch.randn(1, 3, 64, 96)).shape == (1, 2, 4, 6)
    with pytest.raises(UserError, match="cannot read images of 70×64 pixels") as caught:
        classifier(torch.randn(1, 3, 70, 64))
    assert "\n" not in str(caught.value)


def test_every_row_of_the_table_in_the_documents() -> None:
    text = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `timm:(\S+)` \| (\d+)×(\d+) \| (\w+) \| (.*) \|$", text, flags=re.MULTILINE)
    assert len(rows) > 7
    for name, height, width, exact, reason in rows:
        model, _ = BACKBONES[f"timm:{name}"].build(False)
        parts = split_classifier(model)
        with evaluating(parts.features), torch.no_grad():
            assert parts.features(torch.randn(1, 3, 224, 224)).shape[2:] == (int(height), int(width)), name
        assert (exact, reason) == (("no", parts.not_linear) if parts.not_linear else ("yes", "")), name


def test_a_vision_transformer_goes_through_the_harness(tmp_path: Path) -> None:
    with registered_squares():
        config = tiny_config(backbones=["timm:test_vit"], explainers=["all"], on_inherent=[], metrics=["evidence_gap"])
        coarse = config.explain.model_copy(update={"smallest_grid": 2})
        config = config.model_copy(update={"explain": coarse})
        assert run_tiny(tmp_path / "run", config).problems == []
    black_box = read_json(next((tmp_path / "run").glob("cells/squares/*blackbox*/cell.json")))
    skipped = {name for name, one in black_box["explainers"].items() if "token" in one.get("reason", "")}
    assert skipped == {"gradcam", "gradcam++", "layercam", "hirescam", "xgradcam", "eigencam"}
    frames = load_frames(tmp_path / "run")
    assert frames.rows().query("metric == 'evidence_gap' and explainer == 'softcam'")["value"].max() < 1e-4
