"""Fresh weights from the top down: which, in what order, how drawn, and nothing of the classifier itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from baselines.blackbox import BlackBox
from bench.contracts import Classifier
from bench.models.backbones import CompactResNet
from bench.seeds import seed_of
from bench.studies.cascade import cascade, stages
from tests.support.tiny import excite, small_convnext, tiny_classifiers

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained() -> Classifier:
    """A compact black box, as a cell holds it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = BlackBox().build(CompactResNet(), 2)
        excite(classifier, IMAGES)
    return classifier.eval().requires_grad_(False)


def names_of(classifier: Classifier, layers: list[nn.Module]) -> list[str]:
    return [name for name, part in classifier.named_modules() if part in layers]


def state(classifier: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in classifier.state_dict().items()}


def test_stages_of_the_compact_network() -> None:
    classifier = trained()
    found = {name: names_of(classifier, layers) for name, layers in stages(classifier, 3)}
    assert list(found) == ["head", "head + 1/3", "head + 2/3", "all"]
    assert found["head"] == ["head.fc"]
    assert {name.rpartition(".")[0] for name in found["head + 1/3"]} == {"features.stages.2"}
    assert {name.removesuffix(".shortcut").split(".")[2] for name in found["head + 2/3"]} == {"1"}
    assert {".".join(name.split(".")[1:3]) for name in found["all"]} == {"stem.0", "stem.1", "stages.0"}


def test_every_layer_is_in_one_stage_of_any_network() -> None:
    for model in (resnet18(), small_convnext()):
        classifier = BlackBox().build(model, 2)
        for blocks in (1, 2, 3, 5):
            layers = [layer for _, group in stages(classifier, blocks) for layer in group]
            parameters = [id(weight) for layer in layers for weight in layer.parameters(recurse=False)]
            assert len(set(map(id, layers))) == len(layers)
            assert sorted(parameters) == sorted(map(id, classifier.parameters()))
    sizes = [len(group) for name, group in stages(BlackBox().build(resnet18(), 2), 2) if name != "head"]
    assert max(sizes) / sum(sizes) < 0.6


def test_weights_go_from_the_top_down_and_all_in_the_end() -> None:
    classifier = trained()
    before, fresh = state(classifier), set[str]()
    for (stage, layers), (name, copy) in zip(stages(classifier, 3), cascade(classifier, IMAGES, 3, "x"), strict=True):
        assert stage == name
        fresh |= set(names_of(classifier, layers))
        for key, value in copy.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue
            assert torch.equal(value, before[key]) != (key.rpartition(".")[0] in fresh), (name, key)
    convolutions = [key for key, value in before.items() if value.ndim == 4]
    assert all(not torch.equal(copy.state_dict()[key], before[key]) for key in convolutions)


def test_fresh_weights_are_those_of_the_layers_own_initialisation() -> None:
    classifier = trained()
    torch.manual_seed(123)
    found = {name: state(copy)["head.fc.weight"] for name, copy in cascade(classifier, IMAGES, 3, "x", 1)}
    torch.manual_seed(seed_of("x", 1, "head"))
    expected = nn.Linear(64, 2)
    assert torch.equal(found["head"], expected.weight)
    assert torch.equal(found["all"], expected.weight)  # later stages leave it
    (_, other), *_ = cascade(classifier, IMAGES, 3, "x", 2)
    assert not torch.equal(state(other)["head.fc.weight"], found["head"])


def test_fresh_batch_norm_has_the_statistics_of_the_images() -> None:
    *_, (_, copy) = cascade(trained(), IMAGES, 3, "x")
    signal = copy.features.stem[0](IMAGES)
    norm = copy.features.stem[1]
    torch.testing.assert_close(norm.running_mean, signal.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, signal.transpose(0, 1).flatten(1).var(dim=1))
    normalised = norm(signal)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(16), atol=1e-3, rtol=0)


def test_layers_without_an_initialisation_keep_their_values_in_another_order() -> None:
    classifier = BlackBox().build(small_convnext(), 2).eval()
    key = next(name for name in classifier.state_dict() if name.endswith("layer_scale"))
    with torch.no_grad():
        classifier.get_parameter(key).copy_(torch.randn_like(classifier.get_parameter(key)))
    before = state(classifier)[key]
    *_, (_, copy) = cascade(classifier, IMAGES, 2, "x")
    after = state(copy)[key]
    assert after.shape == before.shape
    assert not torch.equal(after, before)
    assert torch.equal(after.flatten().sort().values, before.flatten().sort().values)


def test_nothing_of_the_classifier_changes() -> None:
    for classifier in (trained(), *tiny_classifiers().values()):
        before, logits, random = state(classifier), classifier(IMAGES), torch.get_rng_state()
        modes = [part.training for part in classifier.modules()]
        gradients = [weight.requires_grad for weight in classifier.parameters()]
        momenta = [getattr(part, "momentum", None) for part in classifier.modules()]
        for _, copy in cascade(classifier, IMAGES, 3, "x"):
            assert copy is not classifier
        assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
        assert torch.equal(classifier(IMAGES), logits)
        assert torch.equal(torch.get_rng_state(), random)
        assert [part.training for part in classifier.modules()] == modes
        assert [weight.requires_grad for weight in classifier.parameters()] == gradients
        assert [getattr(part, "momentum", None) for part in classifier.modules()] == momenta
        assert not any(part._forward_hooks or part._backward_hooks for part in classifier.modules())
