"""Vision transformers and their attention explanations written out from the weights, one image and head at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Block:
    """Weights of a pre-norm block: each pair is (weight, bias); scales of the two branches are 1 without LayerScale."""

    norms: tuple[Any, Any]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    scales: tuple[Tensor, Tensor]


@dataclass
class Passed:
    """Attention (heads,L,L) of every layer and the tokens (L,D) behind it, for one image."""

    attention: list[Tensor]
    tokens: list[Tensor]


def timm_blocks(model: Any) -> list[Block]:
    one = torch.ones((), dtype=torch.float64)
    return [
        Block(
            (part.norm1, part.norm2),
            (part.attn.qkv.weight, part.attn.qkv.bias),
            (part.attn.proj.weight, part.attn.proj.bias),
            (part.mlp.fc1.weight, part.mlp.fc1.bias),
            (part.mlp.fc2.weight, part.mlp.fc2.bias),
            (getattr(part.ls1, "gamma", one), getattr(part.ls2, "gamma", one)),
        )
        for part in model.blocks
    ]


def torchvision_blocks(model: Any) -> list[Block]:
    one = torch.ones((), dtype=torch.float64)
    return [
        Block(
            (part.ln_1, part.ln_2),
            (part.self_attention.in_proj_weight, part.self_attention.in_proj_bias),
            (part.self_attention.out_proj.weight, part.self_attention.out_proj.bias),
            (part.mlp[0].weight, part.mlp[0].bias),
            (part.mlp[3].weight, part.mlp[3].bias),
            (one, one),
        )
        for part in model.encoder.layers
    ]


def patches(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tokens (h·w,D) of the patches of an image (3,H,W), in raster order."""
    side, rows = weight.shape[-1], []
    for top in range(0, image.shape[1], side):
        for left in range(0, image.shape[2], side):
            rows.append(weight.flatten(1) @ image[:, top : top + side, left : left + side].flatten() + bias)
    return torch.stack(rows)


def norm(tokens: Tensor, part: Any) -> Tensor:
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + part.eps).sqrt() * part.weight + part.bias


def run(tokens: Tensor, blocks: Sequence[Block], heads: int) -> Passed:
    """Runs the blocks on the tokens (L,D) of one image; every head's matrix of attention is written out."""
    passed = Passed([], [])
    for block in blocks:
        parts = (norm(tokens, block.norms[0]) @ block.qkv[0].T + block.qkv[1]).chunk(3, dim=1)
        width = parts[0].shape[1] // heads
        matrices = []
        for head in range(heads):
            query, key = (part[:, head * width : (head + 1) * width] for part in parts[:2])
            powers = (query @ key.T / sqrt(width)).exp()
            matrices.append(powers / powers.sum(dim=1, keepdim=True))
        attention = torch.stack(matrices)
        mixed = [attention[head] @ parts[2][:, head * width : (head + 1) * width] for head in range(heads)]
        tokens = tokens + block.scales[0] * (torch.cat(mixed, dim=1) @ block.out[0].T + block.out[1])
        inner = F.gelu(norm(tokens, block.norms[1]) @ block.up[0].T + block.up[1])
        tokens = tokens + block.scales[1] * (inner @ block.down[0].T + block.down[1])
        passed.attention.append(attention)
        passed.tokens.append(tokens)
    return passed


def rollout(passed: Passed, read: Sequence[int]) -> Tensor:
    """Relevance (L,): mean of the rows ``read`` of the product of all layers."""
    length = passed.attention[0].shape[1]
    product = torch.eye(length, dtype=torch.float64)
    for attention in passed.attention:
        mean = sum(attention[head] for head in range(len(attention))) / len(attention)
        product = (0.5 * mean + 0.5 * torch.eye(length, dtype=torch.float64)) @ product
    return torch.stack([product[row] for row in read]).mean(dim=0)


def chefer(passed: Passed, logit: Tensor, read: Sequence[int]) -> Tensor:
    """Relevance (L,) of a logit of the last tokens, without the identity that it starts from."""
    length = passed.attention[0].shape[1]
    identity = torch.eye(length, dtype=torch.float64)
    relevance = identity.clone()
    for attention, gradient in zip(
        passed.attention, torch.autograd.grad(logit, passed.attention, retain_graph=True), strict=True
    ):
        weighted = torch.zeros(length, length, dtype=torch.float64)
        for head in range(len(attention)):
            weighted += (gradient[head] * attention[head]).clamp(min=0) / len(attention)
        relevance = relevance + weighted @ relevance
    return torch.stack([(relevance - identity)[row] for row in read]).mean(dim=0)


def legrad(passed: Passed, logit: Callable[[Tensor], Tensor]) -> Tensor:
    """Relevance (L,); ``logit`` computes the target logit from the tokens (L,D) of any layer."""
    length = passed.attention[0].shape[1]
    total = torch.zeros(length, dtype=torch.float64)
    for attention, tokens in zip(passed.attention, passed.tokens, strict=True):
        (gradient,) = torch.autograd.grad(logit(tokens), attention, retain_graph=True)
        for head in range(len(attention)):
            for row in range(length):
                total += gradient[head, row].clamp(min=0) / (len(attention) * length)
    return total / len(passed.attention)
