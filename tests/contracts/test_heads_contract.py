"""What every registered head and backbone of ours owes its caller."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.bcos import CompactBcos
from bench.contracts import BackboneInfo, Classifier, EvidenceClassifier
from bench.models.feature_extraction import split_classifier
from bench.registry import BACKBONES, EXPLAINERS, HEADS
from tests.support.tiny import tiny_net

PACKAGES = ("baselines", "bench", "softcam")
CLASSES = 4
OUR_HEADS = [name for name in HEADS if HEADS[name].__module__.startswith(PACKAGES)]
CONVERTING = [name for name in OUR_HEADS if HEADS[name].converts]
TRAINED = [name for name in OUR_HEADS if name not in CONVERTING]
INHERENT = [name for name in OUR_HEADS if HEADS[name].family == "inherent"]


def module_of(info: BackboneInfo) -> str:
    """The module of the builder, which may be a partial function."""
    return getattr(info.build, "func", info.build).__module__


OUR_BACKBONES = [name for name in BACKBONES if module_of(BACKBONES[name]).startswith(PACKAGES)]


def network(head: str) -> nn.Module:
    """A small network that the head fits; B-cos needs a network of its own layers."""
    if head != "bcos":
        return tiny_net()
    torch.manual_seed(0)
    return CompactBcos(widths=(4, 6, 8)).eval()


def build(name: str, seed: int = 3) -> Classifier:
    """A classifier with this head, with fresh outputs; of a converting head, the conversion of such a one."""
    head = HEADS[name]()
    if head.converts:
        return head.convert(build(head.converts, seed)).eval()
    model = network(name)
    torch.manual_seed(seed)
    return head.build(model, CLASSES).eval()


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


# --- Heads -----------------------------------------------------------------------------------------------------------


def test_heads_of_ours_are_the_ones_of_the_paper_and_its_baselines() -> None:
    assert set(OUR_HEADS) == {
        "bcos", "blackbox", "softcam-dense", "softcam-sparse", "softcam-ridge", "softcam-elastic", "tte",
    }  # fmt: skip
    assert CONVERTING == ["tte"]


@pytest.mark.parametrize("name", OUR_HEADS)
def test_head_states_its_facts(name: str) -> None:
    head = HEADS[name]
    assert head.name == name
    assert head.family in ("inherent", "black box")
    assert head.paper.startswith("arXiv:") or head.family == "black box"
    assert not head.converts or head.converts in TRAINED
    assert head.__doc__


@pytest.mark.parametrize("name", OUR_HEADS)
def test_logits_are_the_head_of_the_features(name: str) -> None:
    classifier, batch = build(name), images()
    assert classifier.num_classes == CLASSES
    with torch.no_grad():
        features, logits = classifier.forward_features(batch), classifier(batch)
        assert (features.ndim, logits.shape) == (4, (4, CLASSES))
        assert torch.equal(classifier.forward_head(features), logits)
        torch.testing.assert_close(classifier.forward_training(batch)[0], logits)
    assert logits.std(dim=0).min() > 0, "the images make no difference"


@pytest.mark.parametrize("name", INHERENT)
def test_map_of_an_inherent_head_adds_up_to_its_logit(name: str) -> None:
    """Exactly one inherent explainer reads it, and the mean of its map is the explained logit."""
    classifier, batch, targets = build(name), images(), torch.arange(4) % CLASSES
    inherent = [EXPLAINERS[one]() for one in EXPLAINERS if EXPLAINERS[one].family == "inherent"]
    (explainer,) = [one for one in inherent if one.applies_to(classifier) == ""]
    maps = explainer.explain(classifier, batch, targets)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), classifier(batch)[range(4), targets], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OUR_HEADS)
def test_evidence_is_there_where_it_is_promised(name: str) -> None:
    classifier = build(name)
    evidence = classifier.forward_training(images())[1]
    assert (evidence is not None) == isinstance(classifier, EvidenceClassifier)
    if evidence is not None:
        assert evidence.shape[:2] == (4, CLASSES)
        torch.testing.assert_close(evidence.mean(dim=(2, 3)), classifier(images()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_penalty_is_one_finite_number_that_can_be_minimised(name: str) -> None:
    evidence = torch.randn(2, CLASSES, 3, 3, requires_grad=True)
    penalty = torch.as_tensor(HEADS[name]().penalty(evidence))
    assert penalty.shape == ()
    assert penalty.isfinite()
    assert penalty >= 0
    if penalty.requires_grad and penalty > 0:
        penalty.backward()
        smaller = torch.as_tensor(HEADS[name]().penalty((evidence - 0.1 * evidence.grad.sign()).detach()))
        assert smaller < penalty
    assert (penalty > 0) == (name in ("softcam-sparse", "softcam-ridge", "softcam-elastic"))


@pytest.mark.parametrize("name", TRAINED)
def test_building_leaves_the_network_alone_and_follows_the_seed(name: str) -> None:
    model = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    HEADS[name]().build(model, CLASSES)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    first, again, other = (build(name, seed)(images()) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", TRAINED)
def test_training_lowers_the_loss(name: str) -> None:
    classifier, head, labels = build(name).train(), HEADS[name](), torch.arange(8) % CLASSES
    optimiser = torch.optim.Adam(classifier.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        logits, evidence = classifier.forward_training(images(8))
        loss = F.cross_entropy(logits, labels) + head.penalty(evidence)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("name", CONVERTING)
def test_conversion_is_exact_and_a_copy(name: str) -> None:
    head = HEADS[name]()
    trained = build(head.converts)
    converted = head.convert(trained).eval()
    torch.testing.assert_close(converted(images()), trained(images()), rtol=1e-5, atol=1e-5)
    assert not {id(one) for one in trained.parameters()} & {id(one) for one in converted.parameters()}


@pytest.mark.parametrize("name", OUR_HEADS)
def test_a_head_is_either_built_or_converted(name: str) -> None:
    head = HEADS[name]()
    with pytest.raises(NotImplementedError):
        head.build(tiny_net(), CLASSES) if head.converts else head.convert(build("blackbox"))


# --- Backbones -------------------------------------------------------------------------------------------------------


def test_backbones_of_ours_are_all_that_are_registered() -> None:
    assert set(OUR_BACKBONES) == set(BACKBONES)


@pytest.mark.parametrize("name", OUR_BACKBONES)
def test_backbone_states_its_facts(name: str) -> None:
    info = BACKBONES[name]
    assert info.name == name
    assert info.description
    assert (info.mean is None) == (info.std is None)
    assert all(0 <= mean < 1 for mean in info.mean or ())
    assert all(0 < std <= 1 for std in info.std or ())


@pytest.mark.parametrize("name", OUR_BACKBONES)
def test_backbone_is_a_classifier_that_can_be_cut(name: str) -> None:
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    model, origin = BACKBONES[name].build(False)
    assert origin.startswith("random initialisation")
    anatomy = split_classifier(model.eval())
    batch = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features, logits = anatomy.features(batch), model(batch)
        assert torch.equal(anatomy.head(features), logits)
    assert (features.ndim, logits.ndim) == (4, 2)
    assert min(features.shape[2:]) >= 2
    weight = anatomy.classifying.weight
    assert weight.shape[0] == logits.shape[1]
    assert any(weight is one for one in model.parameters())
