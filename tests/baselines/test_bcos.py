"""B-cos: the layer cell by cell, and the one promise of the method: contributions add up to the logit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from baselines.bcos import BcosClassifier, BcosConv2d, LinearNorm2d, SixChannels
from bench.contracts import Classifier, NotApplicable
from bench.devices import training_autocast
from bench.evaluation.metric_inputs import MetricInputs
from bench.metrics import Occluder, evidence_gap
from bench.models.factory import build_classifier, normalisation
from bench.registry import BACKBONES, EXPLAINERS, HEADS
from tests.support.tiny import tiny_bcos, tiny_classifiers

TARGETS = torch.tensor([0, 2, 1, 1])


def images(count: int = 4, side: int = 32) -> Tensor:
    """Squares of 8×8 pixels, each of one colour, and a little noise."""
    generator = torch.Generator().manual_seed(3)
    squares = torch.rand(count, 3, side // 8, side // 8, generator=generator)
    noise = torch.rand(count, 3, side, side, generator=generator)
    return 0.9 * squares.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3) + 0.1 * noise


def made(dtype: torch.dtype = torch.float32) -> BcosClassifier:
    classifier = tiny_bcos()
    assert isinstance(classifier, BcosClassifier)
    return classifier.to(dtype)


def literal_bcos(image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """arXiv:2205.10268, eq. 3 with B = 2, loop by loop: ŵ·x · |cos(x, ŵ)|, zeros around the image."""
    channels, _, kernel, _ = weight.shape
    edge = kernel // 2
    padded = torch.zeros(image.shape[0], image.shape[1] + 2 * edge, image.shape[2] + 2 * edge, dtype=image.dtype)
    padded[:, edge : edge + image.shape[1], edge : edge + image.shape[2]] = image
    rows = range(0, padded.shape[1] - kernel + 1, stride)
    columns = range(0, padded.shape[2] - kernel + 1, stride)
    out = torch.zeros(channels, len(rows), len(columns), dtype=image.dtype)
    for c in range(channels):
        unit = weight[c] / math.sqrt(float((weight[c] ** 2).sum()))
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                patch = padded[:, row : row + kernel, column : column + kernel]
                dot, norm = float((unit * patch).sum()), math.sqrt(float((patch**2).sum()))
                out[c, i, j] = dot * abs(dot / norm)
    return out


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (1, 2)])
def test_layer_equals_the_formula(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer, image = BcosConv2d(4, 3, kernel, stride).double(), torch.randn(1, 4, 7, 7, dtype=torch.float64)
    expected = literal_bcos(image[0], layer.linear.weight.detach(), stride)
    torch.testing.assert_close(layer(image)[0].detach(), expected, rtol=1e-5, atol=1e-7)


def test_layer_is_bounded_and_blind_to_the_size_of_its_weights() -> None:
    """|out| ≤ ‖x‖, reached where the weights point along the patch; doubling them changes nothing."""
    layer, patch = BcosConv2d(5, 1).double(), torch.randn(1, 5, 1, 1, dtype=torch.float64)
    assert layer(patch).abs() <= patch.norm()
    layer.linear.weight.data = 3 * patch
    torch.testing.assert_close(layer(patch).flatten(), patch.norm()[None], rtol=1e-5, atol=1e-7)
    before = layer(patch)
    layer.linear.weight.data *= 2
    torch.testing.assert_close(layer(patch), before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_contributions_add_up_to_the_logit(dtype: torch.dtype, tolerance: float) -> None:
    classifier, x = made(dtype), images().to(dtype)
    logits = classifier(x).gather(1, TARGETS[:, None])[:, 0].detach()
    contributions = classifier.contributions(x, TARGETS)
    assert contributions.shape == (4, 32, 32)
    assert logits.abs().min() > 1e-4
    torch.testing.assert_close(contributions.sum(dim=(1, 2)), logits, rtol=tolerance, atol=0)
    maps = EXPLAINERS["bcos"]().explain(classifier, x, TARGETS)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), logits, rtol=tolerance, atol=0)


def test_contributions_are_of_the_linear_map_that_the_network_is_at_this_image() -> None:
    """W(x), built column by column from unit pixels through the layers with the factors of x, gives the same map."""
    classifier, x = made(torch.float64), images(1, 16).double()
    factors: list[Tensor] = []
    layers = [part for part in classifier.modules() if isinstance(part, BcosConv2d)]

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, BcosConv2d)
        unit = layer.linear.weight / layer.linear.weight.flatten(1).norm(dim=1)[:, None, None, None]
        factors.append(out / nn.functional.conv2d(inputs[0], unit, None, layer.linear.stride, layer.linear.padding))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        classifier(x)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        column_by_column = _linear_response(classifier, SixChannels()(x), factors)
    ours = classifier.contributions(x, torch.tensor([1]))[0]
    torch.testing.assert_close(ours, column_by_column, rtol=1e-6, atol=1e-10)


def _linear_response(classifier: BcosClassifier, channels: Tensor, factors: list[Tensor]) -> Tensor:
    """Logit 1 of every channel of every pixel alone, all factors held, summed over channels -> (H,W)."""
    flat = torch.diag(channels.flatten())
    singles = flat.view(-1, *channels.shape[1:])
    kept = iter(factors)

    def hold(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        assert isinstance(layer, BcosConv2d)
        unit = layer.linear.weight / layer.linear.weight.flatten(1).norm(dim=1)[:, None, None, None]
        linear = nn.functional.conv2d(inputs[0], unit, None, layer.linear.stride, layer.linear.padding)
        return linear * next(kept)

    hooks = [p.register_forward_hook(hold) for p in classifier.modules() if isinstance(p, BcosConv2d)]
    logits = classifier.head(classifier.features[1:](singles))[:, 1]
    for hook in hooks:
        hook.remove()
    return logits.view(channels.shape[1:]).sum(dim=0)


def test_nothing_is_left_frozen() -> None:
    classifier, x = made(), images()
    classifier.contributions(x, TARGETS)
    layers = [part for part in classifier.modules() if isinstance(part, BcosConv2d)]
    assert not any(layer.frozen for layer in layers)
    last = classifier.features[-1]
    last.register_forward_hook(_raise)
    with pytest.raises(RuntimeError, match="out of order"):
        EXPLAINERS["bcos"]().explain(classifier.train(), x, TARGETS)
    assert not any(layer.frozen for layer in layers)
    assert all(part.training for part in classifier.modules())


def _raise(*anything: object) -> None:
    raise RuntimeError("out of order")


def test_evidence_gap_is_zero() -> None:
    classifier, x = made(), images()
    maps = EXPLAINERS["bcos"]().explain(classifier, x, TARGETS)
    with torch.no_grad():
        logits = classifier(x)
    inputs = MetricInputs(maps, Occluder(classifier, x, 4), TARGETS, logits, None, None, 3, True, True)
    gap = evidence_gap(inputs.get("logits"), inputs.get("targets"), inputs.get("pooled_map"))
    assert gap.max() < 1e-4


def test_norm_is_linear() -> None:
    """Channel means over each image are gone, variances over the batch are 1, and nothing is added in eval mode."""
    torch.manual_seed(0)
    norm, x = LinearNorm2d(3), torch.randn(4, 3, 5, 5, dtype=torch.float64) + 2
    norm.double()
    centred = x.clone()
    for image in centred:
        for channel in image:
            channel -= channel.sum() / 25
    squares = torch.stack([(centred[:, channel] ** 2).sum() / 100 for channel in range(3)])
    torch.testing.assert_close(norm(x), centred / (squares[None, :, None, None] + norm.eps).sqrt())
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * squares)
    norm.eval()
    torch.testing.assert_close(norm(3 * x - x.flip(0)), 3 * norm(x) - norm(x.flip(0)))


def test_network_has_no_bias_and_reads_images_as_they_are() -> None:
    assert not [name for name, _ in tiny_bcos().named_parameters() if "bias" in name]
    assert normalisation("bcos_compact", False, (0.5,) * 3, (0.2,) * 3) == ((0, 0, 0), (1, 1, 1))
    assert normalisation("compact", False, (0.5,) * 3, (0.2,) * 3) == ((0.5,) * 3, (0.2,) * 3)


def test_trains_under_autocast() -> None:
    """Gradients are finite and near those of float32."""
    classifier, x = made().train(), images(8)
    gradients = []
    for context in (training_autocast(torch.device("cpu")), torch.autocast("cpu", enabled=False)):
        classifier.zero_grad()
        with context:
            logits = classifier(x)
        nn.functional.cross_entropy(logits.float(), torch.arange(8) % 3).backward()
        found = [weight.grad for weight in classifier.parameters()]
        gradients.append(torch.cat([one.flatten() for one in found if one is not None]))
    assert gradients[0].isfinite().all()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_who_stands_on_what() -> None:
    with pytest.raises(NotApplicable, match="head 'bcos' needs a B-cos network"):
        build_classifier(("d", "compact", "bcos", 0), HEADS["bcos"](), 2, False)
    plain: Classifier = HEADS["blackbox"]().build(BACKBONES["bcos_compact"].build(False)[0], 2)
    assert plain(images()).shape == (4, 2)
    assert "not a B-cos network" in EXPLAINERS["bcos"]().applies_to(plain)
    assert "does not predict from class evidence" in EXPLAINERS["softcam"]().applies_to(tiny_classifiers()["bcos"])
    with pytest.raises(ValueError, match="above 0, not 0"):
        HEADS["bcos"](temperature=0)
