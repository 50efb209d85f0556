"""A foreign model, whatever its output, becomes a classifier that computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121

import softcam
from bench.contracts import EvidenceClassifier, UserError
from bench.given.models.adapt import adapt
from bench.given.models.sources import open_model
from bench.outputs import SIGMOID
from tests.bench.given.user_model import SIDE, LikeTransformers, UserNet, same_state, state_of, user_images
from tests.support.tiny import small_vgg, timm_model


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    output = model.eval()(images)
    if isinstance(output, dict):
        return output["out"]
    return output[0] if isinstance(output, tuple) else getattr(output, "logits", output)


@pytest.mark.parametrize(
    ("form", "said"),
    [("tensor", "a tensor"), ("tuple", "item 0"), ("dict", "item 'out'"), ("object", "attribute 'logits'")],
)
def test_logits_are_found_in_every_form_of_output(form: str, said: str) -> None:
    model, images = UserNet(form=form).train(), user_images(4)[0]
    before = state_of(model)
    classifier = adapt(model, size=SIDE)
    assert same_state(state_of(model), before)
    assert f"2 logits in {said}; feature map of 8 channels and 8×8 cells" in vars(classifier)["found"]
    torch.testing.assert_close(classifier(images), logits_of(model, images).detach())
    torch.testing.assert_close(
        classifier.forward_head(classifier.forward_features(images)), logits_of(model, images).detach()
    )


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (small_vgg, 64),
        (lambda: densenet121(num_classes=2), 64),
        (lambda: timm_model("resnet10t", num_classes=2), 64),
        (lambda: timm_model("test_vit", num_classes=2), None),
        (lambda: timm_model("swin_tiny_patch4_window7_224", num_classes=2, depths=(1, 1), embed_dim=8), None),
        (LikeTransformers, SIDE),
        (lambda: UserNet(channels=1), SIDE),
    ],
    ids=["VGG", "DenseNet", "timm CNN", "ViT", "Swin", "transformers", "one channel"],
)
def test_architectures_become_classifiers_that_compute_the_same(model, size: int | None) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = model().eval()
    classifier = adapt(net, size=size)
    side = size or net.pretrained_cfg["input_size"][-1]
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = net(images[:, :1] if isinstance(net, UserNet) else images)
    torch.testing.assert_close(classifier(images), _plain(expected), rtol=1e-4, atol=1e-5)
    features = classifier.forward_features(images)
    assert features.ndim == 4
    assert features[0, 0].numel() > 1
    if not classifier.beside_map:
        torch.testing.assert_close(classifier.forward_head(features), _plain(expected), rtol=1e-4, atol=1e-5)


def _plain(output) -> Tensor:
    return getattr(output, "logits", output).detach()


class Columns(nn.Module):
    """It never has a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(SIDE, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.sum(dim=(1, 2)))


class Silent(UserNet):
    """Its forward pass runs without gradients."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(images)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            UserNet(form="probabilities"),
            "are probabilities .in .0, 1., with sum 1., and logits are expected: remove its",
        ),
        (
            nn.Sequential(UserNet(outputs=1), nn.Sigmoid()),
            "one output of Sequential is a probability .*: remove its last sigmoid",
        ),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), r"returned \(2, 2, 30, 30\) for 2 images, not logits \(N,C\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), "cannot read images of 3×32×32: .* give the size that it needs"),
        (Silent(), "have no gradient: its forward pass runs under torch.no_grad"),
        (UserNet().to("meta"), "has no weights yet"),
        (Columns(), "Columns cannot be cut into features and head: .*; name the layer of its map: feature_layer="),
        ("resnet50", "the model is a str; give a torch.nn.Module"),
    ],
)
def test_a_model_that_cannot_be_explained_is_refused_with_the_remedy(model, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        adapt(model, size=SIDE)
    assert "\n" not in str(caught.value)


def test_gradients_that_are_switched_off_are_refused() -> None:
    with torch.no_grad(), pytest.raises(UserError, match="gradients are switched off here"):
        adapt(UserNet(), size=SIDE)


def test_a_named_layer_is_the_feature_map() -> None:
    model, images = LikeTransformers().eval(), user_images(2)[0]
    classifier = adapt(model, "net.body.1", SIDE)
    features = classifier.forward_features(images)
    assert features.shape == (2, 8, 16, 16)
    torch.testing.assert_close(features, model.net.body[:2](images).detach())
    torch.testing.assert_close(classifier.forward_head(features), model(images).logits.detach())
    assert not any(part._forward_hooks for part in classifier.modules())


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_output_becomes_two_classes(squeezed: bool) -> None:
    class Squeezed(UserNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, 0]

    model, images = (Squeezed if squeezed else UserNet)(outputs=1).eval(), user_images(4)[0]
    classifier, z = adapt(model, size=SIDE), model(images).detach().reshape(-1, 1)
    assert classifier.num_classes == 2
    said = "one logit z in a tensor, read as two classes (1: z, 0: −z); feature map of 8 channels and 8×8 cells"
    assert said in vars(classifier)["found"]
    torch.testing.assert_close(classifier(images), torch.cat([-z / 2, z / 2], dim=1))
    torch.testing.assert_close(classifier(images).softmax(dim=1)[:, 1:], z.sigmoid())
    torch.testing.assert_close(classifier.forward_head(classifier.forward_features(images)), classifier(images))
    if not squeezed:  # the pairing is in the last layer, so that the conversion is exact
        own = softcam.convert(classifier, image_size=SIDE)
        torch.testing.assert_close(own.forward_evidence(images).mean(dim=(2, 3)), classifier(images))
    assert model.fc.out_features == 1


def test_a_classifier_with_one_output_keeps_its_evidence() -> None:
    own, images = softcam.convert(UserNet(outputs=1).eval(), image_size=SIDE), user_images(4)[0]
    classifier = adapt(own, size=SIDE)
    assert isinstance(classifier, EvidenceClassifier)
    torch.testing.assert_close(classifier.forward_evidence(images).mean(dim=(2, 3)), classifier(images))
    torch.testing.assert_close(classifier(images)[:, 1:], own(images).detach() / 2)


def test_an_unknown_layer_names_the_candidates() -> None:
    with pytest.raises(UserError, match=r"has no layer 'layer4'; candidates: .*body"):
        adapt(UserNet(), "layer4", SIDE)


def test_a_layer_that_the_logits_bypass_is_refused() -> None:
    class Skips(UserNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + images.mean(dim=(1, 2, 3))[:, None]

    with pytest.raises(UserError, match=r"need more than the output of layer 'body.0'; name a later feature_layer"):
        adapt(Skips(), "body.0", SIDE)


def test_weights_in_half_precision_are_computed_in_single() -> None:
    model = UserNet().half()
    classifier = adapt(model, size=SIDE)
    assert {one.dtype for one in classifier.parameters()} == {torch.float32}
    assert {one.dtype for one in model.parameters()} == {torch.float16}


class XrayNet(nn.Module):
    """A model with the attributes of torchxrayvision's: one channel, calibrated probabilities, empty names."""

    def __init__(self) -> None:
        super().__init__()
        self.pathologies = ["Effusion", "", "Mass"]
        self.input_resolution = 48
        self.apply_sigmoid = False
        self.register_buffer("op_threshs", torch.tensor([0.3, 0.5, 0.6]))
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4))
        self.classifier = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.classifier(self.features(images / 1024).mean(dim=(2, 3)))
        if self.op_threshs is None:
            return logits.sigmoid() if self.apply_sigmoid else logits
        chance = logits.sigmoid()
        below = chance / self.op_threshs / 2
        return torch.where(chance < self.op_threshs, below, 1 - (1 - chance) / (1 - self.op_threshs) / 2)


@pytest.mark.parametrize("calibrated", [True, False])
def test_calibration_of_torchxrayvision_is_switched_off(calibrated: bool) -> None:
    """The copy gives logits; the model itself is not changed; size, range and findings are those that it states."""
    model = XrayNet().eval()
    if not calibrated:
        model.op_threshs, model.apply_sigmoid = None, True
    source = open_model(model)
    assert (source.size, source.classes) == (48, ("Effusion", "output 1", "Mass"))
    assert source.normalisation == ((0.5,) * 3, (1 / 2048,) * 3)
    classifier = adapt(model, size=source.size, outputs=SIGMOID)
    what = "op_threshs" if calibrated else "apply_sigmoid"
    assert f"one channel, {what} switched off" in vars(classifier)["found"]
    assert (model.op_threshs is not None) == calibrated
    images = 1024 * (2 * torch.rand(2, 3, 48, 48) - 1)
    expected = model.classifier(model.features(images[:, :1] / 1024).mean(dim=(2, 3)))
    torch.testing.assert_close(classifier(images), expected)
