"""Explanations from the attention of a transformer: rollout, gradient-weighted rollout and LeGrad.

They need attention between all patches (ViT, DeiT, DINO), so that windowed and convolutional networks are skipped. The
maps are on the grid of the patches; class, distillation and register tokens are not part of them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from baselines.token_attention import attend, attend_in_blocks, prepared, require_tokens, why_no_token_attention
from bench.contracts import Classifier, Family
from bench.models.shared_features import FeatureExplainer, SharedFeatures
from bench.registry import register_explainer


class _AttentionExplainer(FeatureExplainer):
    """Base: one number per token from the attention of some images at a time, because all of it is kept in memory.

    Args:
        batch_size: images per forward pass.
    """

    family: ClassVar[Family] = "post-hoc"
    networks: ClassVar[str] = "transformers"
    signed = False

    def __init__(self, batch_size: int = 8) -> None:
        self.batch_size = batch_size

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" for a transformer whose patches all attend to each other, otherwise the reason."""
        return why_no_token_attention(classifier)

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w), at least 0, of the shared images for targets (N,).

        Raises:
            NotApplicable: the classifier has no attention between all patches.
        """
        rows, columns = shared.features.shape[2:]
        size = self.batch_size
        parts = zip(torch.split(shared.images, size), torch.split(targets, size), strict=True)
        with prepared(shared.classifier):
            tokens = torch.cat([self.relevance(shared.classifier, *part, (rows, columns)) for part in parts])
        return tokens[:, tokens.shape[1] - rows * columns :].reshape(len(tokens), rows, columns)

    def relevance(self, classifier: Classifier, images: Tensor, targets: Tensor, grid: tuple[int, int]) -> Tensor:
        """Computes the relevance (N,L) of all tokens, without gradient, within ``prepared``; grid (h,w) of patches."""
        raise NotImplementedError


def _score(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the sum of the logits (N,C) of targets (N,), whose gradient is that of each image's own logit."""
    return logits.gather(1, targets[:, None]).sum()


def _by_head(attention: Tensor, images: int) -> Tensor:
    """Returns attention or its gradient as (N,heads,L,L), in single precision at least, without gradient."""
    values = attention.detach().reshape(images, -1, *attention.shape[-2:])
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _read_tokens(gradient: Tensor) -> Tensor:
    """Returns the tokens that the logits read, by the gradient (N,heads,L,L) of the last attention.

    Returns:
        (N,L) weights with sum 1: 1 for a class token, shared equally by the patches of a network that averages them,
        or by a class and a distillation token. All zero if the logit depends on no token.
    """
    reads = (gradient != 0).any(dim=(1, 3)).to(gradient.dtype)
    return reads / reads.sum(dim=1, keepdim=True).clamp(min=1)


def _roll(rows: Tensor, layers: list[Tensor], kept: float, added: float) -> Tensor:
    """Multiplies rows (N,L) by ``kept·1 + added·A`` of each layer A (N,L,L), from the last layer to the first."""
    for layer in reversed(layers):
        rows = kept * rows + added * torch.einsum("nl,nlm->nm", rows, layer)
    return rows


@register_explainer
class AttentionRollout(_AttentionExplainer):
    """Attention rollout: product of all layers' attention, half attention and half residual connection, mean of heads.

    The map is the row of the tokens that the logits read: the class token, or the mean over the patches of a network
    that averages them. It ignores the target: all classes have the same map.

    Source: arXiv:2005.00928, eq. 1 and sec. 3.
    """

    name, paper = "attention_rollout", "arXiv:2005.00928"

    def relevance(self, classifier: Classifier, images: Tensor, targets: Tensor, grid: tuple[int, int]) -> Tensor:
        """Computes the rollout (N,L) to all tokens, which adds up to 1."""
        logits, found = attend(classifier, images)
        require_tokens(classifier, found, len(images), grid)
        (gradient,) = torch.autograd.grad(_score(logits, targets), found[-1:])
        rows = _read_tokens(_by_head(gradient, len(images)))
        return _roll(rows, [_by_head(one, len(images)).mean(dim=1) for one in found], 0.5, 0.5)


@register_explainer
class GradientRollout(_AttentionExplainer):
    """Gradient-weighted rollout of Chefer et al.: ``R ← R + mean over heads of relu(∇A·A) R`` from the first layer on.

    The map is the row of R − 1 of the tokens that the logits read, as for ``attention_rollout``. For a class token that
    is its row of R; of a network that averages its patches, it leaves out what all of them have in common.

    Source: arXiv:2103.15679, eq. 5 and 6 (self-attention), the successor of arXiv:2012.09838 that needs no relevance
        propagation.
    """

    name, paper = "chefer", "arXiv:2103.15679"

    def relevance(self, classifier: Classifier, images: Tensor, targets: Tensor, grid: tuple[int, int]) -> Tensor:
        """Computes the relevance (N,L) of all tokens for targets (N,)."""
        logits, found = attend(classifier, images)
        require_tokens(classifier, found, len(images), grid)
        gradients = [_by_head(one, len(images)) for one in torch.autograd.grad(_score(logits, targets), found)]
        rows = _read_tokens(gradients[-1])
        pairs = zip(gradients, found, strict=True)
        layers = [(gradient * _by_head(one, len(images))).relu().mean(dim=1) for gradient, one in pairs]
        return _roll(rows, layers, 1.0, 1.0) - rows


@register_explainer
class LeGrad(_AttentionExplainer):
    """LeGrad: positive gradient with respect to the attention, averaged over heads, rows and layers.

    The score of a layer is the target logit that the network's own end (last norm, pooling, classifier) computes from
    the tokens of that layer.

    Source: arXiv:2404.03214, sec. 3.2.
    Deviation: tokens are pooled as the network pools them, where the authors' code for CLIP averages all tokens; all
        layers are used; maps are neither scaled to [0, 1] nor enlarged.
    """

    name, paper = "legrad", "arXiv:2404.03214"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" for a transformer with one block per attention layer, otherwise the reason."""
        return super().applies_to(classifier) or why_no_token_attention(classifier, in_blocks=True)

    def relevance(self, classifier: Classifier, images: Tensor, targets: Tensor, grid: tuple[int, int]) -> Tensor:
        """Computes the mean positive gradient (N,L) to each token for targets (N,)."""
        logits, found, blocks = attend_in_blocks(classifier, images)
        require_tokens(classifier, found, len(images), grid)
        (gradient,) = torch.autograd.grad(_score(logits, targets), found[-1:], retain_graph=True)
        total = _by_head(gradient, len(images)).relu().mean(dim=(1, 2))
        for number, attention in enumerate(found[:-1]):
            with blocks.ending_at(number):
                logits = classifier(images)
            (gradient,) = torch.autograd.grad(_score(logits, targets), [attention], retain_graph=True)
            total += _by_head(gradient, len(images)).relu().mean(dim=(1, 2))
        return total / len(found)
