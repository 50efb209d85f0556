"""Attention explainers against implementations written out from the weights, and what the hook layer owes a model."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.token_attention import AttentionRecorder, attend, prepared
from bench.contracts import Classifier, NotApplicable
from bench.evaluation.predictor import explained_as, fold_for_inference
from bench.given.models.adapt import adapt
from bench.registry import EXPLAINERS
from tests.baselines import literal_vit as oracles
from tests.baselines.small_vits import CLASSES, KINDS, SIDE, classifier, excited, images, literal, network
from tests.bench.given.user_model import same_state, state_of
from tests.support.tiny import timm_model, tiny_classifiers

NAMES = ("attention_rollout", "chefer", "legrad")
TARGETS = torch.tensor([0, 2, 1])


def written_out(name: str, kind: str) -> Tensor:
    """Maps (3,4,4) of the oracles."""
    model, maps = literal(kind), []
    for image, target in zip(images().double(), TARGETS.tolist(), strict=True):
        heads = 2
        passed = oracles.run(model.embed(image), model.blocks, heads)
        logit = model.logits(passed.tokens[-1])[target]
        if name == "attention_rollout":
            tokens = oracles.rollout(passed, model.read)
        elif name == "chefer":
            tokens = oracles.chefer(passed, logit, model.read)
        else:
            tokens = oracles.legrad(passed, lambda tokens, target=target: model.logits(tokens)[target])
        maps.append(tokens[model.prefix :].reshape(4, 4).detach())
    return torch.stack(maps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_computes_the_logits_of_the_network(kind: str) -> None:
    model = literal(kind)
    for image, logits in zip(images().double(), network(kind).double()(images().double()), strict=True):
        passed = oracles.run(model.embed(image), model.blocks, 2)
        torch.testing.assert_close(model.logits(passed.tokens[-1]), logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_maps_are_those_that_are_written_out(name: str, kind: str) -> None:
    found, expected = EXPLAINERS[name]().explain(classifier(kind), images().double(), TARGETS), written_out(name, kind)
    assert expected.flatten(1).std(dim=1).min() > 1e-6, "a constant map would prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_map_depends_on_no_other_image_and_not_on_the_batch_size(name: str, kind: str) -> None:
    model, batch = classifier(kind), images().double()
    together = EXPLAINERS[name]().explain(model, batch, TARGETS)
    alone = [EXPLAINERS[name]().explain(model, batch[[at]], TARGETS[[at]]) for at in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(
        EXPLAINERS[name](batch_size=2).explain(model, batch, TARGETS), together, rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_rollout_ignores_the_target(kind: str) -> None:
    model, batch = classifier(kind), images().double()
    for name in NAMES:
        maps = [EXPLAINERS[name]().explain(model, batch, torch.full((3,), target)) for target in (0, 1)]
        assert torch.equal(*maps) == (name == "attention_rollout")


@pytest.mark.parametrize("fused", [True, False])
def test_probabilities_are_those_that_the_network_multiplies(fused: bool) -> None:
    """In timm with and without fused attention; the logits do not change."""
    net, model = network("class token").double(), literal("class token")
    for block in net.blocks:
        block.attn.fused_attn = fused
    with prepared(net):
        logits, found = attend(net, images().double())
    torch.testing.assert_close(logits, net(images().double()), rtol=1e-12, atol=1e-12)
    for number, image in enumerate(images().double()):
        passed = oracles.run(model.embed(image), model.blocks, 2)
        for ours, theirs in zip(found, passed.attention, strict=True):
            torch.testing.assert_close(ours[number], theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.7},
        {"attn_mask": torch.arange(25).reshape(5, 5) % 4 != 1},
        {"attn_mask": torch.arange(25.0).reshape(5, 5) / 9},
        {"enable_gqa": True},
    ],
    ids=["plain", "causal", "scale", "bool", "float", "grouped"],
)
def test_recorded_attention_computes_what_the_fused_function_computes(options: dict[str, Any]) -> None:
    generator, noted = torch.Generator().manual_seed(0), list[Tensor]()
    heads = (4, 2, 2) if "enable_gqa" in options else (4, 4, 4)
    query, key, value = (torch.randn(2, count, 5, 6, generator=generator) for count in heads)
    with AttentionRecorder(noted.append):
        recorded = F.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(recorded, F.scaled_dot_product_attention(query, key, value, **options))
    (found,) = noted
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("needed", [{"need_weights": False}, {}, {"average_attn_weights": False}])
def test_multi_head_attention_returns_what_its_caller_asked_for(needed: dict[str, bool]) -> None:
    layer, noted = excited(nn.MultiheadAttention(12, 3, batch_first=True)), list[Tensor]()
    tokens = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected, shown = layer(tokens, tokens, tokens, **needed)
    with AttentionRecorder(noted.append):
        output, weights = layer(tokens, tokens, tokens, **needed)
    torch.testing.assert_close(output, expected)
    assert (weights is None) == (shown is None)
    if shown is not None:
        torch.testing.assert_close(weights, shown)
    (found,) = noted
    (gradient,) = torch.autograd.grad(output.sum(), [found])  # the output depends on what was noted
    assert gradient.abs().max() > 0
    assert found.shape == (6, 5, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_behind_also_by_a_failure(name: str, kind: str) -> None:
    model = classifier(kind, torch.float32).requires_grad_(True).train()
    next(model.parameters()).requires_grad_(False)
    last = list(model.parameters())[-1]
    last.grad = torch.ones_like(last)
    before = state_of(model)
    with torch.no_grad():
        EXPLAINERS[name]().explain(model, images(), TARGETS)
    assert same_state(state_of(model), before)
    places = [part for part in model.modules() if isinstance(part, nn.LayerNorm) or type(part) is nn.Linear]
    for number, place in enumerate(places):  # each in turn raises, where the method gets that far
        handle = place.register_forward_hook(_raise)
        before = state_of(model)
        with pytest.raises(RuntimeError, match="out of order"):
            EXPLAINERS[name]().explain(model, images(), TARGETS)
        assert same_state(state_of(model), before), number
        handle.remove()


def _raise(module: nn.Module, given: Any, output: Any) -> None:
    raise RuntimeError("out of order")


def test_a_failure_while_layers_are_replayed_puts_the_blocks_back() -> None:
    model = classifier("class token", torch.float32)
    passes = []

    def third(module: nn.Module, given: Any, output: Any) -> None:
        passes.append(len(output))
        if len(passes) == 4:
            raise RuntimeError("out of order")

    last = next(part for part in model.head.modules() if isinstance(part, nn.Linear))
    handle, before = last.register_forward_hook(third), state_of(model)
    with pytest.raises(RuntimeError, match="out of order"):
        EXPLAINERS["legrad"]().explain(model, images(), TARGETS)
    assert same_state(state_of(model), before)
    handle.remove()
    maps = EXPLAINERS["legrad"]().explain(model, images(), TARGETS)
    torch.testing.assert_close(maps.double(), written_out("legrad", "class token"), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_the_harness_explains_is_explained(name: str, kind: str) -> None:
    """The copy that is prepared for inference, and its contrasts, in single and half precision."""
    plain = classifier(kind, torch.float32)
    model = explained_as("contrast", fold_for_inference(plain, images(1)))
    assert EXPLAINERS[name]().applies_to(model) == ""
    maps = EXPLAINERS[name]().explain(model, images(), TARGETS)
    assert maps.dtype == torch.float32
    assert tuple(maps.shape[1:]) == tuple(model.forward_features(images(1)).shape[2:])
    assert maps.min() >= 0
    double = explained_as("contrast", classifier(kind))
    expected = EXPLAINERS[name]().explain(double, images().double(), TARGETS)
    torch.testing.assert_close(maps.double(), expected, rtol=1e-3, atol=1e-5 * expected.max().item())
    half = EXPLAINERS[name]().explain(plain.to(torch.bfloat16), images().to(torch.bfloat16), TARGETS)
    assert half.dtype == torch.float32
    assert half.isfinite().all()


@cache
def refused() -> tuple[Classifier, Classifier, Classifier]:
    """Networks with attention between channels, within windows, and of one query that pools the patches."""
    small = {"window_size": 4, "depths": (1, 1), "num_heads": (1, 2), "embed_dim": 8}
    pooled = {"depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": CLASSES}
    channels = timm_model("ecaresnet26t", num_classes=CLASSES)
    swin = timm_model("swin_tiny_patch4_window7_224", img_size=SIDE, **small)
    siglip = timm_model("vit_base_patch16_siglip_224", img_size=SIDE, **pooled)
    return adapt(channels, size=SIDE), adapt(swin, size=SIDE), adapt(siglip, size=SIDE)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_attention_between_patches_is_refused_by_name(name: str) -> None:
    explainer, cnn = EXPLAINERS[name](), tiny_classifiers()["black box"]
    assert explainer.applies_to(cnn) == "the classifier has no attention between patches"
    with pytest.raises(NotApplicable, match="has no attention between patches"):
        explainer.explain(cnn, torch.rand(1, 3, 32, 32), TARGETS[:1])
    channels, swin, siglip = refused()
    assert explainer.applies_to(channels) == "the classifier has no attention between patches"
    reason = "SwinTransformer attends within windows of 16 tokens, and not between all patches"
    assert explainer.applies_to(swin) == reason
    with pytest.raises(NotApplicable, match=reason):
        explainer.explain(swin, images(1), TARGETS[:1])
    assert "do not all relate the same tokens (sizes 1×16, 16×16)" in explainer.applies_to(siglip)


class Layers(nn.Module):
    """Patches and one encoder layer, which runs some times: images (N,3,64,64) -> map (N,12,4,4)."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 16, 16)
        self.layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        self.times = times

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        for _ in range(self.times):
            tokens = self.layer(tokens)
        return tokens.transpose(1, 2).unflatten(2, (4, 4))


def layers(times: int) -> Classifier:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES))
    model: Any = excited(Classifier(Layers(times), head, CLASSES))
    return model


def test_legrad_needs_a_block_per_layer() -> None:
    assert EXPLAINERS["chefer"]().applies_to(layers(2)) == ""
    assert EXPLAINERS["legrad"]().applies_to(layers(2)) == "the attention layers of Layers are not in one block each"


def test_legrad_of_one_layer_is_the_gradient_of_its_attention() -> None:
    model = layers(1).double()
    assert EXPLAINERS["legrad"]().applies_to(model) == ""
    with prepared(model):
        logits, (attention,) = attend(model, images().double())
        (gradient,) = torch.autograd.grad(logits.gather(1, TARGETS[:, None]).sum(), [attention])
    expected = gradient.relu().reshape(3, 2, 16, 16).mean(dim=(1, 2)).reshape(3, 4, 4)
    torch.testing.assert_close(EXPLAINERS["legrad"]().explain(model, images().double(), TARGETS), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_named_layer_in_the_middle_does_not_change_the_map(name: str) -> None:
    """The features then end before the last blocks, and the head runs the others on an empty image."""
    model: Classifier = adapt(network("class token"), feature_layer="blocks.0", size=SIDE).double()
    assert EXPLAINERS[name]().applies_to(model) == ""
    found = EXPLAINERS[name]().explain(model, images().double(), TARGETS)
    torch.testing.assert_close(found, written_out(name, "class token"), rtol=1e-9, atol=1e-12)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of timm's ViT by the names of the library transformers."""
    outer = {"cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings"}
    outer |= {"patch_embed.proj": "vit.embeddings.patch_embeddings.projection", "norm": "vit.layernorm"}
    outer |= {"head": "classifier"}
    inner = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}
    found = {}
    for name, value in weights.items():
        layer, dot, kind = name.rpartition(".") if "." in name else (name, "", "")
        if not layer.startswith("blocks."):
            found[outer[layer] + dot + kind] = value
            continue
        _, number, part = layer.split(".", 2)
        start = f"vit.layers.{number}."
        if part == "attn.qkv":
            names = [f"{start}attention.{one}_proj.{kind}" for one in "qkv"]
            found |= dict(zip(names, value.chunk(3), strict=True))
        else:
            found[f"{start}{inner.get(part, part)}.{kind}"] = value
    return found


@pytest.mark.parametrize("way", ["eager", "sdpa"])
@pytest.mark.parametrize("name", NAMES)
def test_networks_of_the_library_transformers(name: str, way: str) -> None:
    """Whatever computes their attention, the map is that of the same weights."""
    library = pytest.importorskip("transformers", minversion="5")
    config = library.ViTConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96, image_size=SIDE,
        num_labels=CLASSES, layer_norm_eps=1e-6, attn_implementation=way,
    )  # fmt: skip
    model, source = library.ViTForImageClassification(config).eval(), network("class token")
    model.load_state_dict(renamed(source.state_dict()))
    torch.testing.assert_close(model(images()).logits, source(images()), rtol=1e-3, atol=1e-4)
    found = EXPLAINERS[name]().explain(adapt(model, size=SIDE).double(), images().double(), TARGETS)
    exact = {"rtol": 1e-9, "atol": 1e-12} if way == "sdpa" else {"rtol": 1e-4, "atol": 1e-6}  # a softmax in float32
    torch.testing.assert_close(found.double(), written_out(name, "class token"), **exact)
