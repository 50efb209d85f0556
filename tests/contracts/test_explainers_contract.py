"""What every registered explainer owes its caller, whatever its method."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Classifier, Explainer, UserError
from bench.registry import EXPLAINERS
from tests.support.tiny import tiny_classifiers

NAMES = (
    "softcam", "bcos", "gradcam", "gradcam++", "layercam", "scorecam", "hirescam", "xgradcam", "eigencam",
    "guided_backprop", "integrated_gradients", "saliency", "inputxgradient", "smoothgrad", "occlusion",
    "random", "center_gaussian", "edges", "mask_oracle", "grid_oracle",
    "gradcam@captum", "gradcam@pytorch-grad-cam", "gradcam++@pytorch-grad-cam", "layercam@pytorch-grad-cam",
    "hirescam@pytorch-grad-cam", "xgradcam@pytorch-grad-cam", "eigencam@pytorch-grad-cam", "scorecam@pytorch-grad-cam",
)  # fmt: skip
TORCHCAM = {f"{name}@torchcam" for name in ("gradcam", "gradcam++", "layercam", "scorecam")}
if importlib.util.find_spec("torchcam"):
    NAMES += tuple(sorted(TORCHCAM))
INHERENT = ("softcam", "bcos")
TRANSFORMERS = ("attention_rollout", "chefer", "legrad")
NAMES += TRANSFORMERS
SEEDED = ("smoothgrad", "random")
ORACLES = ("mask_oracle", "grid_oracle")
TARGETLESS = (
    "attention_rollout",
    "eigencam",
    "eigencam@pytorch-grad-cam",
    "random",
    "center_gaussian",
    "edges",
    *ORACLES,
)
#: Explainers that make no pass through a part; some controls only need the size of the feature map.
UNREAD = {"features": ("center_gaussian", "edges", "mask_oracle")}
UNREAD["head"] = (*UNREAD["features"], "random", "eigencam", "grid_oracle")
CASES = [
    *((name, name) for name in INHERENT),
    *((name, "transformer") for name in TRANSFORMERS),
    *((name, kind) for name in NAMES if name not in INHERENT + TRANSFORMERS for kind in ("black box", "softcam")),
]


def explained_by(name: str) -> Classifier:
    """A classifier that this explainer can explain."""
    kind = name if name in INHERENT else "transformer" if name in TRANSFORMERS else "softcam"
    return tiny_classifiers()[kind]


def batch_of(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, 32, 32, generator=generator)
    masks = torch.rand(count, 32, 32, generator=generator) > 0.8
    return Batch(images, torch.arange(count) % 3, masks, tuple(range(10, 10 + count)))


def part_of(batch: Batch, index: int) -> Batch:
    assert batch.masks is not None
    one = slice(index, index + 1)
    return Batch(batch.images[one], batch.targets[one], batch.masks[one], batch.seeds[one])


def traces(classifier: nn.Module) -> list[object]:
    """Everything that an explainer could leave behind on a model."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    left: list[object] = [len(getattr(part, kind)) for part in classifier.modules() for kind in hooks]
    left += [part.training for part in classifier.modules()]
    left += [(p.requires_grad, p.grad is None, p._version) for p in classifier.parameters()]
    return left


def test_every_explainer_of_ours_is_tested() -> None:
    ours = {name for name in EXPLAINERS if EXPLAINERS[name].__module__.startswith(("baselines.", "softcam."))}
    assert set(NAMES) | TORCHCAM == ours


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_maps(name: str, kind: str) -> None:
    classifier, explainer, batch = tiny_classifiers()[kind], EXPLAINERS[name](), batch_of()
    assert explainer.applies_to(classifier) == ""
    images = batch.images.clone()
    maps = explainer.explain_batch(classifier, batch)
    assert maps.ndim == 3
    assert maps.shape[0] == 3
    cells = (4, 4) if kind == "transformer" else (7, 7)
    assert maps.shape[1:] == (cells if explainer.grid == "features" else (32, 32))
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert maps.flatten(1).std(dim=1).min() > 0, "a constant map explains nothing"
    assert (maps.min() < 0) == explainer.signed
    assert torch.equal(batch.images, images)
    assert not batch.images.requires_grad


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_map_does_not_depend_on_its_batch(name: str, kind: str) -> None:
    classifier, explainer, batch = tiny_classifiers()[kind], EXPLAINERS[name](), batch_of()
    together = explainer.explain_batch(classifier, batch)
    alone = torch.cat([explainer.explain_batch(classifier, part_of(batch, i)) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_randomness_comes_from_the_seeds_alone(name: str) -> None:
    classifier, explainer, batch = explained_by(name), EXPLAINERS[name](), batch_of()
    other = Batch(batch.images, batch.targets, batch.masks, tuple(seed + 1 for seed in batch.seeds))
    state = torch.get_rng_state()
    first = explainer.explain_batch(classifier, batch)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    torch.manual_seed(99)
    assert torch.equal(explainer.explain_batch(classifier, batch), first)
    assert torch.equal(explainer.explain_batch(classifier, other), first) == (name not in SEEDED)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_nothing_is_left_behind(name: str, kind: str) -> None:
    classifier, explainer = tiny_classifiers()[kind].train(), EXPLAINERS[name]()
    norms = nn.BatchNorm2d | nn.LayerNorm
    cast(nn.Module, next(part for part in classifier.modules() if isinstance(part, norms))).eval()
    first = next(classifier.parameters())
    first.requires_grad_(False)
    last = list(classifier.parameters())[-1]
    last.grad = torch.ones_like(last)
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    before = traces(classifier)
    explainer.explain_batch(classifier, batch_of())
    assert traces(classifier) == before
    assert torch.equal(last.grad, torch.ones_like(last))
    assert all(torch.equal(state[key], value) for key, value in classifier.state_dict().items())


class Broken(nn.Module):
    """Raises in the given pass: 0 at the first call, 1 at the second ..."""

    def __init__(self, part: nn.Module, good: int) -> None:
        super().__init__()
        self.part, self.good = part, good

    def forward(self, x: Tensor) -> Tensor:
        self.good -= 1
        if self.good < 0:
            raise RuntimeError("out of order")
        return self.part(x)


def explain_broken(name: str, place: str, good: int) -> int:
    """Explains with a part that breaks after so many good passes -> passes that were left; asserts that no trace is."""
    classifier = tiny_classifiers()["transformer" if name in TRANSFORMERS else "black box"].train()
    broken = Broken(getattr(classifier, place), good).train()
    setattr(classifier, place, broken)
    before = traces(classifier)
    with suppress(RuntimeError):
        EXPLAINERS[name]().explain_batch(classifier, batch_of())
    assert traces(classifier) == before
    return broken.good


@pytest.mark.parametrize("place", ["features", "head"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in INHERENT])
def test_nothing_is_left_behind_by_a_failure(name: str, place: str) -> None:
    """In the first pass and in the second one, of those methods that need as many."""
    passes = 1000 - explain_broken(name, place, 1000)
    assert (passes == 0) == (name in UNREAD[place])
    for good in range(min(passes, 2)):
        assert explain_broken(name, place, good) == -1, "the pass that failed was not the last one"


def test_softcam_leaves_nothing_behind_by_a_failure() -> None:
    classifier = tiny_classifiers()["softcam"].train()
    classifier.features = Broken(classifier.features, good=0)
    before = traces(classifier)
    with pytest.raises(RuntimeError, match="out of order"):
        EXPLAINERS["softcam"]().explain_batch(classifier, batch_of())
    assert traces(classifier) == before


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ORACLES])
def test_explain_is_explain_batch_without_seeds(name: str) -> None:
    classifier, batch = explained_by(name), batch_of()
    explainer: Explainer = EXPLAINERS[name]()
    maps = explainer.explain(classifier, batch.images, batch.targets)
    seedless = Batch(batch.images, batch.targets, None, (0, 0, 0))
    assert torch.equal(maps, explainer.explain_batch(classifier, seedless))


@pytest.mark.parametrize("name", NAMES)
def test_maps_of_every_class_are_those_of_each(name: str) -> None:
    classifier, explainer, batch = explained_by(name), EXPLAINERS[name](), batch_of()
    together = explainer.explain_classes(classifier, batch)
    assert together.shape[:2] == (3, 3)
    for target in range(3):
        alone = explainer.explain_batch(classifier, replace(batch, targets=torch.full((3,), target)))
        torch.testing.assert_close(together[:, target], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TARGETLESS])
def test_the_target_matters_where_it_should(name: str) -> None:
    classifier, batch = explained_by(name), batch_of()
    maps = [EXPLAINERS[name]().explain(classifier, batch.images, torch.full((3,), target)) for target in (0, 1)]
    assert not torch.allclose(*maps)


def test_works_without_gradient_mode_and_with_a_frozen_model() -> None:
    for name in NAMES:
        with torch.no_grad():
            frozen = EXPLAINERS[name]().explain_batch(explained_by(name).requires_grad_(False), batch_of())
        torch.testing.assert_close(
            frozen, EXPLAINERS[name]().explain_batch(explained_by(name), batch_of()), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", ORACLES)
def test_oracles_need_masks(name: str) -> None:
    batch = batch_of()
    with pytest.raises(UserError, match=f"{name} needs lesion masks"):
        EXPLAINERS[name]().explain(tiny_classifiers()["softcam"], batch.images, batch.targets)
