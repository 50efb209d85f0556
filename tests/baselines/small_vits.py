"""Small vision transformers with random weights, and how each of them embeds an image and reads its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from bench.contracts import Classifier
from bench.given.models.adapt import adapt
from tests.baselines import literal_vit as oracles
from tests.support.tiny import timm_model

SIDE, CLASSES, HEADS = 64, 3, 2
_SMALL = {"img_size": SIDE, "depth": 3, "embed_dim": 24, "num_heads": HEADS, "num_classes": CLASSES}
_TIMM = {
    "class token": ("vit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"patch_size": 16}),
    "average": ("vit_medium_patch16_gap_256", {"qkv_bias": True, "init_values": None}),
}
KINDS = (*_TIMM, "torchvision")


def excited(model: nn.Module) -> nn.Module:
    """The model with weights so large that every token and head matters, in eval mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.ndim == 1) * 0.2)
    return model.eval()


def network(kind: str) -> Any:
    """A network of 16 patches, three blocks and two heads."""
    if kind == "torchvision":
        return excited(VisionTransformer(SIDE, 16, 3, HEADS, 24, 48, num_classes=CLASSES))
    name, options = _TIMM[kind]
    return excited(timm_model(name, **_SMALL, **options))


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def classifier(kind: str, dtype: torch.dtype = torch.float64) -> Classifier:
    return adapt(network(kind), size=SIDE).to(dtype)


@dataclass
class Literal:
    """A network in float64, written out.

    Attributes:
        embed: image (3,H,W) -> tokens (L,D) before the first block.
        blocks: weights of its blocks.
        logits: tokens (L,D) -> logits (C,).
        read: tokens that the logits read.
        prefix: tokens before the patches.
    """

    embed: Callable[[Tensor], Tensor]
    blocks: list[oracles.Block]
    logits: Callable[[Tensor], Tensor]
    read: list[int]
    prefix: int


def literal(kind: str) -> Literal:
    net = network(kind).double()
    if kind == "torchvision":
        return Literal(
            lambda image: (
                torch.cat([net.class_token[0], oracles.patches(image, net.conv_proj.weight, net.conv_proj.bias)])
                + net.encoder.pos_embedding[0]
            ),
            oracles.torchvision_blocks(net),
            lambda tokens: F.linear(oracles.norm(tokens, net.encoder.ln)[0], *_pair(net.heads.head)),
            [0],
            1,
        )
    projection, blocks = net.patch_embed.proj, oracles.timm_blocks(net)

    def embed(image: Tensor) -> Tensor:
        tokens = oracles.patches(image, projection.weight, projection.bias)
        if kind == "registers":  # their positions are those of the patches alone
            return torch.cat([net.cls_token[0], net.reg_token[0], tokens + net.pos_embed[0]])
        before = {"class token": ["cls_token"], "distilled": ["cls_token", "dist_token"]}.get(kind, [])
        return torch.cat([*(getattr(net, name)[0] for name in before), tokens]) + net.pos_embed[0]

    def logits(tokens: Tensor) -> Tensor:
        if kind == "average":
            return F.linear(oracles.norm(tokens, net.norm).mean(dim=0), *_pair(net.head))
        tokens = oracles.norm(tokens, net.norm)
        if kind == "distilled":
            return (F.linear(tokens[0], *_pair(net.head)) + F.linear(tokens[1], *_pair(net.head_dist))) / 2
        return F.linear(tokens[0], *_pair(net.head))

    prefix = {"class token": 1, "distilled": 2, "registers": 5, "average": 0}[kind]
    read = {"class token": [0], "distilled": [0, 1], "registers": [0], "average": list(range(16))}[kind]
    return Literal(embed, blocks, logits, read, prefix)


def _pair(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.weight, layer.bias
